"""One writer a run."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bionas.files import sweep
from suite.store.origin import now


@contextmanager
def locked(directory: Path, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Be the one process that works on a run. Who comes second waits, and says for whom.

    A killed Snakemake leaves its jobs alive; the lock is the kernel's, so it ends with its holder, however that dies. Yields whether
    the lock was got; it is not if `should_stop` says so first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as file:
        got = _try_lock(file)
        if not got:
            file.seek(0)
            print(f"{directory}: {file.read().strip() or 'another process'} works on this run; waiting for it", flush=True)
        while not got and not should_stop():
            time.sleep(0.2)
            got = _try_lock(file)
        if got:
            with suppress(OSError):  # on a full disk nobody hears who holds it
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}, since {now()}".encode())
            sweep(directory)
        yield got


def holder(directory: Path) -> str:
    """Say who works on a run at this moment; nothing if nobody does."""
    try:
        with (directory / ".lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except OSError:
        pass
    return ""


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
