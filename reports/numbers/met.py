"""A published table that was selected on its own test images, met in both ways: by the epoch that did best there, and by the last one.

The first is what the source did, and may be compared with it; the second is the honest number. One training gives both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.numbers.paper import Comparison

SELECTED, LAST = "test_error", "test_error_last"


@dataclass(frozen=True)
class Met:
    """One row of such a table and ours, for the selected and for the last epoch."""

    selected: Comparison
    last: Comparison

    @property
    def both(self) -> tuple[Comparison, Comparison]:
        return self.selected, self.last


def split(comparisons: Iterable[Comparison]) -> tuple[list[Met], list[Comparison]]:
    """Return the rows that have both numbers, and all comparisons that are in none of them."""
    comparisons = list(comparisons)
    last = {_key(c): c for c in comparisons if c.cited.metric == LAST}
    met = [Met(c, last[_key(c)]) for c in comparisons if c.cited.metric == SELECTED and _key(c) in last]
    taken = {id(c) for row in met for c in row.both}
    return met, [c for c in comparisons if id(c) not in taken]


def where(comparison: Comparison) -> str:
    """Say whether the printed number lies where one more of ours would."""
    if comparison.within is None:
        return "too few seeds"
    return "inside" if comparison.within else "outside"


def _key(comparison: Comparison) -> tuple[str, str, str, int]:
    cited = comparison.cited
    return cited.table, cited.row, cited.dataset, id(comparison.found)
