"""Ways to damage a file, for tests of those who read it."""

import io
from pathlib import Path

from bionas.seals import SEAL, block, digest_of, whole


def unseal(path: Path) -> None:
    """Take the seal off, so that what a test writes into the file is taken as it is."""
    with path.open("r+b") as file:
        if file.read(1) == b"s":
            file.seek(0)
            file.write(bytes(SEAL))


def reseal(content: bytes) -> bytes:
    """The content of a sealed file under the seal that it should have: damage that no seal tells of."""
    return block(digest_of(io.BytesIO(content[SEAL:]))) + content[SEAL:]


def sealed(path: Path) -> bool:
    """Whether a file has a seal, and it is the right one."""
    with path.open("rb") as file:
        return whole(file) and file.tell() == SEAL


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
