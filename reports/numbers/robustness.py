"""Robustness as tables and lines, by block: within each budget, attack by attack, against size, by distance, as released."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.numbers.attacked import (
    KINDS,
    Attack,
    Budget,
    Network,
    Share,
    attacks,
    budgets,
    clean,
    curves,
    left_by,
    networks_of,
    outcome_of,
    percent,
)
from reports.numbers.statistics import Summary
from reports.numbers.tables import Block, Results, Variant


@dataclass(frozen=True)
class Row:
    """A variant within one budget: what each kind of way leaves, and the worst case of each image over all of them."""

    variant: Variant
    clean: Share
    by_kind: Mapping[str, Share]
    worst: Share
    plain: bool
    reach: Mapping[str, Budget]  # of each kind: the largest budget of its attacks


@dataclass(frozen=True)
class Table:
    """The variants of one block within one budget, the attacks that count there, and the kinds of way that they took."""

    budget: Budget
    attacks: tuple[Attack, ...]
    kinds: tuple[str, ...]
    rows: tuple[Row, ...]

    def smaller(self, kind: str = "", row: Row | None = None) -> Budget | None:
        """The largest budget of the attacks of a kind, or of all, on one row or on all, where that is smaller than this table's."""
        reach = [budget for one in ([row] if row else self.rows) for of, budget in one.reach.items() if kind in ("", of)]
        found = max(reach, default=self.budget)
        return None if found == self.budget else found

    @property
    def columns(self) -> tuple[str, tuple[str, ...], list[int]]:
        """What tables share that can stand side by side: norm, kinds of way, and variants."""
        return self.budget.norm, self.kinds, [id(row.variant) for row in self.rows]


@dataclass(frozen=True)
class Line:
    """One attack by one way: what it leaves of each variant of the block."""

    attack: Attack
    way: str
    shares: tuple[Share, ...]
    own_is_true: tuple[bool, ...]  # where nothing stands because the true gradient's line has it


@dataclass(frozen=True)
class Distance:
    """How far the nearest wrong image lay, by an attack that looks for it."""

    variant: Variant
    attack: Attack
    way: str
    median: Summary  # over seeds, of the images that were right; infinite where more than half were never broken
    left: Share  # at the budget


@dataclass(frozen=True)
class Released:
    """What the public evaluator would have printed, beside what the same attack leaves by ours."""

    variant: Variant
    attack: Attack
    clean: Share
    own: Share
    printed: Summary


@dataclass(frozen=True)
class Part:
    """What attacks made of one block."""

    block: Block
    planned: tuple[Attack, ...]
    by_variant: tuple[tuple[Variant, tuple[Network, ...]], ...]

    @property
    def seeds(self) -> list[int]:
        """How many seeds of each variant were attacked."""
        return [len({network.unit for network in networks}) for _, networks in self.by_variant]

    @property
    def images(self) -> str:
        """How many images each network was attacked on: 25 images, 25 to 100 images."""
        counts = sorted({network.images for _, networks in self.by_variant for network in networks})
        few = f"{counts[0]:,} to " if counts[0] < counts[-1] else ""
        return f"{few}{counts[-1]:,} image{'s' if counts[-1] != 1 else ''}"

    @cached_property
    def _tables(self) -> tuple[list[Table], list[Table]]:
        compared, others = ([table for budget in each if (table := self._table(budget))] for each in budgets(self.planned))
        return compared, others

    def tables(self, points: bool = False) -> list[Table]:
        """Return a table for every budget; with `points`, for those that only points of curves have."""
        return self._tables[points]

    def grouped(self) -> list[list[Table]]:
        """Return the tables, those that follow each other together where they need one column each: pixels by their number."""
        groups: list[list[Table]] = []
        for table in self.tables():
            before = groups[-1][-1] if groups else None
            if before and before.columns == table.columns and len(table.kinds) == 1:
                groups[-1].append(table)
            else:
                groups.append([table])
        return groups

    def _table(self, budget: Budget) -> Table | None:
        rows, ran = [], set()
        for variant, found in self.by_variant:
            attacked = [network for network in found if network.within(budget)]
            if attacked:
                kinds = {kind: Share.of(attacked, left_by(budget, kind)) for kind in KINDS}
                worst = Share.of(attacked, left_by(budget))
                plain = all(network.plain for network in attacked)
                rows.append(Row(variant, Share.of(attacked, clean), kinds, worst, plain, _reach(attacked, budget)))
                ran |= {attack for network in attacked for attack, _ in network.within(budget)}
        took = tuple(kind for kind in KINDS if any(row.by_kind[kind].over.n for row in rows))
        return Table(budget, tuple(attack for attack in self.planned if attack in ran), took, tuple(rows)) if rows else None

    def _ways(self) -> list[tuple[Attack, str]]:
        return [(attack, way) for attack in self.planned for way in attack.ways]

    def curves(self) -> list[tuple[Attack, ...]]:
        return curves(self.planned)

    def single(self) -> list[Attack]:
        """Return the attacks of the budgets that are compared, without the points that only draw a curve."""
        compared, _ = budgets(self.planned)
        return [attack for attack in self.planned if attack.budget in compared]

    def minimal(self) -> list[tuple[Attack]]:
        """Return the attacks that seek the nearest wrong image: each a curve of its own."""
        return [(attack,) for attack in self.planned if attack.minimal]

    def against_size(self, curve: Sequence[Attack], found: Sequence[Network]) -> dict[str, tuple[list[float], list[float]]]:
        """Return {kind of way: (sizes, robust accuracy)} along a curve, from no attack on; mean over networks. In L∞ in 1/255."""
        points = _beyond if curve[0].minimal else _along
        drawn = {kind: points(curve, found, kind) for kind in KINDS}
        return {kind: ([size for size, _ in line], [left for _, left in line]) for kind, line in drawn.items() if line}

    def lines(self) -> list[Line]:
        """Return what every attack left by every way."""
        found = []
        for attack, way in self._ways():
            shares = tuple(Share.of(networks, outcome_of(attack, way)) for _, networks in self.by_variant)
            if any(share.over.n for share in shares):
                elsewhere = [way == "rule" and any(n.plain and (attack, "true") in n.outcomes for n in ns) for _, ns in self.by_variant]
                found.append(Line(attack, way, shares, tuple(elsewhere)))
        return found

    def distances(self) -> list[Distance]:
        """Return the minimal-norm attacks' distances."""
        rows = []
        for attack, way in self._ways():
            for variant, networks in self.by_variant:
                found = [network for network in networks if (attack, way) in network.distances]
                if found:
                    medians: dict[int, list[float]] = {}
                    for network in found:
                        right = network.distances[attack, way][network.distances[attack, way] > 0]
                        medians.setdefault(network.unit, []).append(float(np.median(right)) if len(right) else 0.0)
                    median = Summary.of(sum(each) / len(each) for each in medians.values())
                    rows.append(Distance(variant, attack, way, median, Share.of(found, outcome_of(attack, way))))
        return rows

    def released(self) -> list[Released]:
        """Return a row for every network and attack that the released way of counting was asked of."""
        rows = []
        for attack, (variant, found) in ((attack, pair) for attack in self.planned for pair in self.by_variant):
            printed = variant.metric(f"released_accuracy_{attack.label}")
            if printed.n:
                ways = ("rule", "none", "true") if any(network.plain for network in found) else ("rule", "none")
                rows.append(Released(variant, attack, Share.of(found, clean), Share.of(found, outcome_of(attack, *ways)), printed))
        return rows


def _reach(found: Iterable[Network], budget: Budget) -> dict[str, Budget]:
    """Return {kind of way: the largest budget of its attacks} within a budget."""
    sizes: dict[str, set[Budget]] = {}
    for network in found:
        for attack, way in network.within(budget):
            sizes.setdefault(network.kind(way), set()).add(attack.budget)
    return {kind: max(each) for kind, each in sizes.items()}


def _along(curve: Sequence[Attack], found: Sequence[Network], kind: str) -> list[tuple[float, float]]:
    """Return (size, robust accuracy) of an attack that ran at several sizes, from no attack on."""
    scale = 255 if curve[0].budget.norm == "linf" else 1
    arrays = [(attack.budget.size * scale, [network.under(attack, kind) for network in found]) for attack in curve]
    points = [
        (size, np.mean([percent(each) for each in left if each is not None])) for size, left in arrays if any(e is not None for e in left)
    ]
    return [(0.0, float(np.mean([clean(network) for network in found]))), *((size, float(mean)) for size, mean in points)] if points else []


def _beyond(curve: Sequence[Attack], found: Sequence[Network], kind: str) -> list[tuple[float, float]]:
    """Return (size, share of images that nothing within it breaks) of an attack that seeks the nearest wrong image."""
    arrays = [d for network in found for (attack, way), d in network.distances.items() if attack in curve and network.kind(way) == kind]
    sizes = np.linspace(0, 2 * curve[0].budget.size, 41) if arrays else np.array([])
    return [(float(size), float(np.mean([percent(distances > size) for distances in arrays]))) for size in sizes]


def parts(results: Results) -> list[Part]:
    """Return the blocks that were attacked."""
    planned = attacks(results)
    found = [Part(block, planned, tuple((v, networks_of(v, planned)) for v in block.variants)) for block in results.blocks]
    return [part for part in found if any(networks for _, networks in part.by_variant)]


def same_images(found: Iterable[Part]) -> bool:
    """Whether all networks of each data set were attacked on the same images, as their files say."""
    ids: dict[str, set[bytes]] = {}
    for network in (network for part in found for _, networks in part.by_variant for network in networks):
        array = network.run.arrays.get("attacks/image_ids")
        ids.setdefault(network.variant.dataset, set()).add(b"" if array is None else array.tobytes())
    return all(len(each) == 1 and b"" not in each for each in ids.values())
