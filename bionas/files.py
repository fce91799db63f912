"""Files that are whole or not there, and that say so when they are not what was written. Imports no torch.

A sealed file begins with a line of text in a block of 512 bytes: the SHA-256 of all that follows. HDF5 leaves such a block to its users
and skips it, so that any program reads the file; whatever bit flips behind it is found before anything is parsed. Files without a seal,
as older ones are, are taken as they come.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

SEAL = 512  # bytes; the smallest block that HDF5 skips
MARK = b"sealed by bionas, sha256 of what follows byte 512: "


@contextmanager
def replacing(path: Path, sealed: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it takes the place of `path` at once, on failure nothing is left.

    Of what is to be sealed, the first 512 bytes are to be left empty. Raises ValueError for a folder or a device, OSError with a line
    that names the file where it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no ordinary file, and is left alone")
    partial = path.with_name(f".{path.name}.{_here()}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_dead(path.parent)
        yield partial
        with partial.open("r+b" if sealed else "rb") as file:
            if sealed:
                _seal(file)
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), str(path.parent)):
            raise
        raise OSError(f"{path}: cannot be written: {os.strerror(error.errno)}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def sealed_hdf5(path: Path) -> Iterator[h5py.File]:
    """Give an HDF5 file to write to, which takes the place of `path` as by `replacing`, sealed.

    HDF5 does not survive that a write fails: it says so in many lines, again when it closes the file and when Python ends, or crashes.
    So it never hears of it, and what failed is raised when it is done.
    """
    import h5py

    with replacing(path, sealed=True) as partial, partial.open("w+b", buffering=0) as raw:
        output = _Output(raw)
        try:
            with h5py.File(output, "w", userblock_size=SEAL) as file:
                yield file
        finally:
            if output.failed:
                raise output.failed


class _Output:
    """A file for HDF5 to write to. The first failure is kept; what would follow it goes into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.failed: OSError | None = None

    def write(self, block: bytes) -> int:
        try:
            view = memoryview(block)
            while len(view):  # a disk that is nearly full takes a part
                view = view[self.file.write(view) :]
        except OSError as error:
            self._fail(error)
            self.file.write(block)
        return len(block)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self.file.truncate(size)
        except OSError as error:
            self._fail(error)
            return self.file.truncate(size)

    def _fail(self, error: OSError) -> None:
        """Go on in memory, from what was written so far."""
        place = self.file.tell()
        self.file.seek(0)
        self.file = io.BytesIO(self.file.read())
        self.file.seek(place)
        self.failed = error

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def readinto(self, block: bytearray) -> int:
        return int(self.file.readinto(block))  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        pass  # it has no buffer


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


def _here() -> str:
    """Name the machine and its space of process numbers, of which a container may have its own under the machine's name."""
    with suppress(OSError):
        return f"{platform.node()}-{os.stat('/proc/self/ns/pid').st_ino}"
    return platform.node()


def _sweep_dead(folder: Path) -> None:
    """Remove what writers on this machine left that are no more: a folder of results has no lock, and others may write there."""
    for partial in folder.glob(f".*.{_here()}.*.partial"):
        pid = partial.name.split(".")[-2]
        if pid.isdecimal() and not _lives(int(pid)):
            partial.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
