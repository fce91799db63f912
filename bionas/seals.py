"""Files that say so when they are not what was written. Imports no torch.

A sealed file begins with a line of text in a block of 512 bytes: the SHA-256 of all that follows. HDF5 leaves such a block to its users
and skips it, so that any program reads the file; whatever bit flips behind it is found before anything is parsed. Files without a seal,
as older ones are, are taken as they come.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bionas.files import replacing

if TYPE_CHECKING:
    import h5py

SEAL = 512  # bytes; the smallest block that HDF5 skips
MARK = b"sealed by bionas, sha256 of what follows byte 512: "


@contextmanager
def sealing(path: Path) -> Iterator[Path]:
    """Give a name to write to, as `replacing` does; its first 512 bytes are to be left empty, and hold the seal in the end."""
    with replacing(path) as partial:
        yield partial
        with partial.open("r+b") as file:
            assert file.read(SEAL) == bytes(SEAL)
            digest = digest_of(file)
            file.seek(0)
            file.write(block(digest))


@contextmanager
def sealed_hdf5(path: Path) -> Iterator[h5py.File]:
    """Give an HDF5 file to write to, which takes the place of `path` sealed.

    HDF5 does not survive that a write fails: it says so in many lines, again when it closes the file and when Python ends, or crashes.
    So it never hears of it, and what failed is raised when it is done.
    """
    import h5py

    with sealing(path) as partial, partial.open("w+b", buffering=0) as raw:
        output = _Output(raw)
        try:
            with h5py.File(output, "w", userblock_size=SEAL) as file:
                yield file
        finally:
            if output.failed:
                raise output.failed


def whole(file: IO[bytes]) -> bool:
    """Say whether a sealed file is what was written, and go to where its content begins; of one without a seal nothing is known.

    Of that it says yes, and its content begins at the start.
    """
    file.seek(0)
    beginning = file.read(SEAL)
    if not beginning.startswith(MARK):
        file.seek(0)
        return True
    kept = beginning == block(digest_of(file))
    file.seek(SEAL)
    return kept


def digest_of(file: IO[bytes]) -> str:
    """Hash what is left of a file; hashlib.file_digest would take all of one that lies in memory."""
    found = hashlib.sha256()
    while part := file.read(2**20):
        found.update(part)
    return found.hexdigest()


def block(digest: str) -> bytes:
    return (MARK + digest.encode() + b"\n").ljust(SEAL, b"\0")


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
