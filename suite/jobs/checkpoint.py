"""The state of a job between its steps: to go on from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite import code, image
from suite.jobs import tensors
from suite.jobs.stopping import ask_to_go_on, checkpoint_of


class Checkpoint:
    """A job's checkpoint. It is believed only if it belongs to the same parameters, device and image.

    `made_by` is the fingerprint of the code that made the state: of several if it was made by others' before, which the run then says.
    """

    def __init__(
        self, out: Path, id: str, params: dict[str, Any], seconds: float, stop: Callable[[], bool], made_by: str = "unknown"
    ) -> None:
        self.path, self.id, self.seconds, self.stop = checkpoint_of(out), id, seconds, stop
        self.owner = json.dumps([params, image.chosen()], sort_keys=True)
        self.made_by = made_by
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Say whether to save now: after so many seconds, and when the job is asked to stop."""
        return self.stop() or time.monotonic() - self.saved >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Save the state; then end the job if it is asked to stop."""
        tensors.write(self.path, {"owner": self.owner, "made_by": self.made_by, "state": state}, sealed=True)
        self.saved = time.monotonic()
        if self.stop():
            ask_to_go_on(self.id)

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, on the CPU, or nothing if there is none that can be used; says so if one cannot."""
        if not self.path.exists():
            return None
        try:
            saved = tensors.read(self.path)
            made_by = code.joined(saved.get("made_by", "unknown"), self.made_by)
            if saved["owner"] == self.owner and (made_by == self.made_by or not code.demanded()):
                self.made_by = made_by
                return dict(saved["state"])
            reason = "it belongs to other parameters, another device, another image or other code"
        except (ValueError, OSError) as error:
            reason = str(error)
        except (AttributeError, KeyError, TypeError) as error:
            reason = f"no checkpoint, {type(error).__name__}"
        print(f"{self.path}: checkpoint not used ({reason}); starting anew", flush=True)
        return None

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Take up the state that `load` returned. Raises ValueError if it is none of this job."""
        try:
            yield
        except Exception as error:  # whatever a state makes of a loop that another made
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{self.path}: not a state of this job ({type(error).__name__}: {reason}); remove it and run again") from None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
