"""Files that are whole or not there, and that say so when they are not what was written. Imports no torch.

A sealed file begins with a line of text in a block of 512 bytes: the SHA-256 of all that follows. HDF5 leaves such a block to its users
and skips it, so that any program reads the file; whatever bit flips behind it is found before anything is parsed. Files without a seal,
as older ones are, are taken as they come.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SEAL = 512  # bytes; the smallest block that HDF5 skips
MARK = b"sealed by bionas, sha256 of what follows byte 512: "


@contextmanager
def replacing(path: Path, sealed: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it takes the place of `path` at once, on failure nothing is left.

    Of what is to be sealed, the first 512 bytes are to be left empty. Raises ValueError for a folder or a device, OSError, with
    the file's name, where nothing can be written.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no ordinary file, and is left alone")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("r+b" if sealed else "rb") as file:
            if sealed:
                _seal(file)
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def whole(file: IO[bytes]) -> bool:
    """Say whether a sealed file is what was written, and go to where its content begins; of one without a seal nothing is known.

    Of that it says yes, and its content begins at the start.
    """
    file.seek(0)
    block = file.read(SEAL)
    if not block.startswith(MARK):
        file.seek(0)
        return True
    kept = block == _block(_digest(file))
    file.seek(SEAL)
    return kept


def sweep(folder: Path) -> None:
    """Remove what killed writers left; for who holds the folder's lock."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def _seal(file: IO[bytes]) -> None:
    assert file.read(SEAL) == bytes(SEAL)
    digest = _digest(file)
    file.seek(0)
    file.write(_block(digest))
    file.flush()


def _digest(file: IO[bytes]) -> str:
    """Hash what is left of a file; hashlib.file_digest would take all of one that lies in memory."""
    found = hashlib.sha256()
    while block := file.read(2**20):
        found.update(block)
    return found.hexdigest()


def _block(digest: str) -> bytes:
    return (MARK + digest.encode() + b"\n").ljust(SEAL, b"\0")
