"""Files that are whole or not there. Imports no torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it takes the place of `path` at once, on failure nothing is left.

    Raises ValueError for a folder or a device, OSError with a line that names the file where it cannot be written.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no ordinary file, and is left alone")
    partial = path.with_name(f".{path.name}.{_here()}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_dead(path.parent)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), str(path.parent)):
            raise
        raise OSError(f"{path}: cannot be written: {os.strerror(error.errno)}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def sweep(folder: Path) -> None:
    """Remove what killed writers left; for who holds the folder's lock."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def _here() -> str:
    """Name the machine and its space of process numbers, of which a container may have its own under the machine's name."""
    with suppress(OSError):
        return f"{platform.node()}-{Path('/proc/self/ns/pid').stat().st_ino}"
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
