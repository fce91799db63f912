"""To be the one that works on a result, and to stop when asked."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite import store

STOPPED = 143  # 128 + SIGTERM, as shells say it


class StopFlag:
    """Says whether somebody asked the job to end; asking a second time ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: Any) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self.asked


def ask_to_go_on(id: str) -> None:
    """End a job that was asked to stop."""
    print(f"{id}: stopped on request; run the same command again to go on", flush=True)
    sys.exit(STOPPED)


def checkpoint_of(out: Path) -> Path:
    """Return where the checkpoint of a result lies: beside it, under a name that the workflow does not know."""
    return out.with_suffix(".checkpoint")


@contextmanager
def turn(out: Path, id: str, params: dict[str, Any], stop: StopFlag, made_by: str) -> Iterator[bool]:
    """Be the one process that works on a result; yield whether it is still to be made.

    Raises ValueError if another run's result lies there.
    """
    with store.locked(out.parent, stop) as got:
        if not got:
            ask_to_go_on(id)
        if finished := store.finished(out, params, made_by):
            checkpoint_of(out).unlink(missing_ok=True)
            print(f"{out}: finished already, and left as it is; --out makes it once more, elsewhere")
        else:
            _refuse_foreign(out, id)
        yield not finished


def _refuse_foreign(out: Path, id: str) -> None:
    try:
        found = store.read(out).id
    except ValueError:
        return
    if found != id:
        raise ValueError(f"{out}: holds run {found}; {id} belongs elsewhere")
