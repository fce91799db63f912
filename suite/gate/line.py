"""One line of the gate, and how lines are told: as a table, as GitHub's annotations, as Markdown. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What was judged, and how it came out. `doubt`: kept, though so few seeds or images could hardly have told."""

    kept: bool
    what: str  # a run, or a network over its seeds
    said: str
    doubt: bool = False

    @property
    def word(self) -> str:
        return ("kept  " if self.kept else "MISSED") if not self.doubt else "kept ?"


def table(lines: Sequence[Line]) -> str:
    """Return plain fixed-width lines, failures last so that they are seen."""
    width = max((len(line.what) for line in lines), default=0)
    return "\n".join(f"{line.word}  {line.what:{width}s}  {line.said}" for line in sorted(lines, key=lambda line: not line.kept))


def github(lines: Sequence[Line]) -> list[str]:
    """Return GitHub's workflow commands: an error for each miss, a warning for each doubt."""
    kinds = {"error": [line for line in lines if not line.kept], "warning": [line for line in lines if line.doubt]}
    return [f"::{kind} title={_property(line.what)}::{_data(line.said)}" for kind, found in kinds.items() for line in found]


def markdown(verdict: str, lines: Sequence[Line]) -> str:
    """Return a short summary for a pull request: the verdict, what was missed, and what was kept, folded."""
    missed, kept = [line for line in lines if not line.kept], [line for line in lines if line.kept]
    parts = [f"**{_cell(verdict)}**", *_rows(missed)]
    if kept:
        parts += ["", f"<details><summary>{len(kept)} kept</summary>", "", *_rows(kept), "", "</details>"]
    return "\n".join(parts) + "\n"


def _rows(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return []
    head = ["", "| | what | how |", "| --- | --- | --- |"]
    return head + [f"| {line.word.strip()} | {_cell(line.what)} | {_cell(line.said)} |" for line in lines]


def _data(text: str) -> str:
    """Escape a message as GitHub's runner reads it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    """Escape what would end a cell of a table, or be HTML."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, written)
    return text
