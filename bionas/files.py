"""Files that are whole or not there. Imports no torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it takes the place of `path` at once, on failure nothing is left.

    Raises ValueError for a folder or a device, OSError where nothing can be written.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no ordinary file, and is left alone")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial")
    _sweep_dead(path.parent)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed writers left; for who holds the folder's lock."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def _sweep_dead(folder: Path) -> None:
    """Remove what writers on this machine left that are no more: a folder of results has no lock, and others may write there."""
    for partial in folder.glob(f".*.{platform.node()}.*.partial"):
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
