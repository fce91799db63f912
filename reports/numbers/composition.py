"""What the cells that searches found are made of: skips, pools, and genes whose weights follow a rule.

A search that ends in skips has collapsed, as DARTS is known to do (Zela et al. 2020); two of them in one normal cell are where DARTS+ stops
a search (Liang et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.numbers.statistics import Summary
from reports.numbers.tables import Results, SearchGroup

KINDS = ("normal", "reduce")
WHAT = ("skips", "pools", "carriers")
COLLAPSED = 2  # skips in a normal cell


@dataclass(frozen=True)
class Spread:
    """A number of genes over seeds."""

    counts: Sequence[int]

    def __str__(self) -> str:
        """Mean, and range where it is one: 1.5 (0 to 3)."""
        mean, least, most = Summary.of(self.counts).mean, min(self.counts), max(self.counts)
        return f"{mean:.1f} ({least} to {most})" if least < most else f"{mean:.1f}"


@dataclass(frozen=True)
class Composition:
    """A search, and by (cell, what) how many of such genes its cells have."""

    search: SearchGroup
    seeds: int
    genes: int  # of one cell
    counts: Mapping[tuple[str, str], Spread]

    @property
    def collapsed(self) -> int:
        """In how many seeds the normal cell has as many skips as DARTS+ lets no search go on with."""
        return sum(count >= COLLAPSED for count in self.counts["normal", "skips"].counts)


def compositions(results: Results) -> list[Composition]:
    """Return a row for every search that found a genotype."""
    return [_row(group) for group in results.searches if group.genotypes()]


def _row(group: SearchGroup) -> Composition:
    found = list(group.genotypes().values())
    space = group.settings.get("space", "")
    each = [{kind: _counted(cells[kind], kind == "reduce", space) for kind in KINDS} for cells in found]
    counts = {(kind, what): Spread([one[kind][what] for one in each]) for kind in KINDS for what in WHAT}
    return Composition(group, len(found), len(found[0]["normal"]), counts)


def _counted(genes: Sequence[Sequence[Any]], reduction: bool, space: str) -> dict[str, int]:
    """Count one cell's genes, [operation[:rule], source] each; a skip has weights where it halves the resolution."""
    operations = [(gene.partition(":")[0], source) for gene, source in genes]
    skips = [source for operation, source in operations if operation == "skip_connect"]
    pools = sum(operation.endswith("_pool_3x3") for operation, _ in operations)
    weighed = sum(source < 2 for source in skips) if reduction and space != "released" else 0  # there they learn by BP whatever they say
    return {"skips": len(skips), "pools": pools, "carriers": len(operations) - len(skips) - pools + weighed}
