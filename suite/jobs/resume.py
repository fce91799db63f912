"""To be alone, to stop when asked, and to go on from a checkpoint."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bionas.files import replacing
from suite import image, store

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


@contextmanager
def turn(out: Path, id: str, params: dict[str, Any], stop: StopFlag) -> Iterator[bool]:
    """Be the one process that works on a result; yield whether it is still to be made.

    Raises ValueError if another run's result lies there.
    """
    with store.locked(out.parent, stop) as got:
        if not got:
            ask_to_go_on(id)
        if finished := store.finished(out, params):
            _checkpoint_of(out).unlink(missing_ok=True)
            print(f"{out}: finished already")
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


def _checkpoint_of(out: Path) -> Path:
    return out.with_suffix(".checkpoint")


class Checkpoint:
    """The state of a job between its steps, beside its result, under a name that the workflow does not know."""

    def __init__(self, out: Path, id: str, params: dict[str, Any], seconds: float, stop: Callable[[], bool]) -> None:
        self.path, self.id, self.seconds, self.stop = _checkpoint_of(out), id, seconds, stop
        self.owner = json.dumps([params, image.chosen()], sort_keys=True)
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Say whether to save now: after so many seconds, and when the job is asked to stop."""
        return self.stop() or time.monotonic() - self.saved >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Save the state; then end the job if it is asked to stop."""
        import torch

        with replacing(self.path) as partial:
            torch.save({"owner": self.owner, "state": state}, partial)
        self.saved = time.monotonic()
        if self.stop():
            ask_to_go_on(self.id)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, on the CPU, or nothing if there is none that can be used; says so if one cannot."""
        import torch

        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if saved["owner"] == self.owner:
                return dict(saved["state"])
            reason = "it belongs to other parameters, another device or another image"
        except Exception as error:  # a damaged file makes torch raise almost anything
            reason = f"not readable, {type(error).__name__}"
        print(f"{self.path}: checkpoint not used ({reason}); starting anew", flush=True)
        return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
