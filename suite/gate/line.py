"""One line of the gate, and how lines are told: as a table, as GitHub's annotations, as Markdown. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 10  # annotations of a kind that GitHub shows of a step
LONGEST = 100  # lines of a Markdown table: a comment holds 65,536 characters, a job's summary 1 MiB


@dataclass(frozen=True)
class Line:
    """What was judged, and how it came out.

    `doubt`: kept, though so few seeds or images could hardly have told. `note`: nothing was judged, and this is why.
    """

    kept: bool
    what: str  # a run, or a network over its seeds
    said: str
    doubt: bool = False
    note: bool = False

    @property
    def word(self) -> str:
        return "MISSED" if not self.kept else "note" if self.note else "kept ?" if self.doubt else "kept"


def table(lines: Sequence[Line]) -> str:
    """Return plain fixed-width lines, failures last so that they are seen."""
    width = max((len(line.what) for line in lines), default=0)
    return "\n".join(f"{line.word:6s}  {line.what:{width}s}  {line.said}" for line in sorted(lines, key=lambda line: not line.kept))


def github(lines: Sequence[Line]) -> list[str]:
    """Return GitHub's workflow commands: an error for each miss, a warning for each doubt, as many as it shows."""
    kinds = {"error": [line for line in lines if not line.kept], "warning": [line for line in lines if line.doubt]}
    told = []
    for kind, found in kinds.items():
        shown = found if len(found) <= SHOWN else found[: SHOWN - 1]
        told += [f"::{kind} title={_property(line.what)}::{_data(line.said)}" for line in shown]
        if len(found) > len(shown):
            told.append(f"::{kind} title=and {len(found) - len(shown)} more::The job's log and its summary have all {len(found)}.")
    return told


def markdown(verdict: str, lines: Sequence[Line]) -> str:
    """Return a short summary for a pull request: the verdict, what was missed, and all the rest, folded."""
    missed, rest = [line for line in lines if not line.kept], [line for line in lines if line.kept]
    parts = [f"**{_text(verdict)}**", *_rows(missed)]
    if rest:
        parts += ["", f"<details><summary>{len(rest)} that did not fail</summary>", "", *_rows(rest), "", "</details>"]
    return "\n".join(parts) + "\n"


def _rows(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return []
    rows = [f"| {line.word} | {_text(line.what)} | {_text(line.said)} |" for line in lines[:LONGEST]]
    more = [f"| … | and {len(lines) - LONGEST} more | the job's log has all |"] if len(lines) > LONGEST else []
    return ["", "| | what | how |", "| --- | --- | --- |", *rows, *more]


def _data(text: str) -> str:
    """Escape a message as GitHub's runner reads it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _text(text: str) -> str:
    """Escape what would end a cell of a table, be HTML or Markdown, or call on somebody."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_~|\[\]])", r"\\\1", text)
    return re.sub(r"([@#])(?=\w)", "\\1\N{ZERO WIDTH NON-JOINER}", text)
