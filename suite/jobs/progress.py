"""Progress of one job: a bar on a terminal, plain fixed-width lines in a log."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """Counts `total` units of work; `line` prints a line above the bar."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.progress.add_task(title, total=total)

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def at(self, done: int) -> None:
        """Show that `done` of the units are done."""
        self.progress.update(self.task, completed=done)

    def line(self, text: str) -> None:
        self.console.print(text)
        self.console.file.flush()


def epoch_line(curves: Mapping[str, Sequence[float]], epoch: int, epochs: int, seconds: float) -> str:
    """Say how an epoch of a training or a search went, without what nobody measured."""
    last = {name: column[-1] for name, column in curves.items()}
    said = [f"epoch {epoch:4d}/{epochs}  lr {last['lr']:.5f}  loss {last['train_loss']:8.4f}  train {last['train_accuracy']:6.2f} %"]
    said += [] if math.isnan(last["val_accuracy"]) else [f"val {last['val_accuracy']:6.2f} %"]
    said += [f"α span {last['alpha_span']:.4f}"] if "alpha_span" in last else []
    return "  ".join([*said, f"{seconds:7.2f} s"])
