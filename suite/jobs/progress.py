"""Progress of one job: a bar on a terminal, plain fixed-width lines in a log."""

from __future__ import annotations

import sys
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
