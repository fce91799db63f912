"""Where the spread of a network comes from: what its seeds differ in (a search, an assignment of rules), or the training of that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.numbers.tables import Block, Results, Variant
from suite.power import CLAIM_SEEDS, LEVEL, detectable_ratio


@dataclass(frozen=True)
class Components:
    """Variances of a one-way layout with random effects: between groups, and within them.

    `between` is the ANOVA estimator, negative where groups lie closer together than their members' spread makes likely. `share` is
    the interval (95 %) of between ÷ (between + within): exact for groups of one size, else that of their mean size n0 (Searle,
    Casella & McCulloch 1992, §3.6). Where no group has a spread, there is neither F nor p nor share (NaN).
    """

    between: float
    within: float
    groups: int
    members: int  # of all groups
    f: float
    p: float  # of the F-test that nothing lies between the groups
    share: tuple[float, float]
    size: float  # of a group: n0

    @property
    def explained(self) -> float:
        """The share of the variance that is estimated to lie between the groups; no less than 0."""
        between = max(self.between, 0.0)
        return between / (between + self.within) if between + self.within else math.nan

    @property
    def detectable(self) -> float:
        """The smallest share that the F-test would have told from none in four of five such experiments; NaN where there is no test."""
        ratio = self._detectable_ratio
        return ratio / (1 + ratio)

    @property
    def detectable_sd(self) -> float:
        """The same as a standard deviation between the groups, were the one within them the one found here."""
        return math.sqrt(self._detectable_ratio) * self.within_sd

    @property
    def _detectable_ratio(self) -> float:
        return detectable_ratio(self.groups, self.members, self.size) if self.p == self.p else math.nan

    @property
    def between_sd(self) -> float:
        """A variance is no less than 0: neither is what is shown of it."""
        return math.sqrt(max(self.between, 0.0))

    @property
    def within_sd(self) -> float:
        return math.sqrt(self.within)


def variance_components(groups: Iterable[Sequence[float]]) -> Components | None:
    """Return the components of variance; None without two groups, or without two members of one."""
    arrays = [np.asarray(group, dtype=float) for group in groups if len(group)]
    sizes = np.array([len(array) for array in arrays])
    total = int(sizes.sum())
    if len(arrays) < 2 or total == len(arrays):
        return None
    means = np.array([array.mean() for array in arrays])
    grand = np.concatenate(arrays).mean()
    free = len(arrays) - 1, total - len(arrays)
    between_ms = float((sizes * (means - grand) ** 2).sum()) / free[0]
    within_ms = float(sum(((array - mean) ** 2).sum() for array, mean in zip(arrays, means, strict=True))) / free[1]
    n0 = (total - float((sizes**2).sum()) / total) / free[0]
    between = (between_ms - within_ms) / n0
    if not any(np.ptp(array) for array in arrays):
        return Components(between, 0.0, len(arrays), total, math.nan, math.nan, (math.nan, math.nan), n0)
    f = between_ms / within_ms

    def share(level: float) -> float:
        ratio = f / float(stats.f.ppf(level, *free))
        return max(0.0, (ratio - 1) / (ratio + n0 - 1))

    return Components(between, within_ms, len(arrays), total, f, float(stats.f.sf(f, *free)), (share(0.975), share(0.025)), n0)


@dataclass(frozen=True)
class Unit:
    """What the seeds of a variant differ in, beside their training."""

    name: str
    plural: str
    about: str


UNITS = {
    unit.name: unit
    for unit in (
        Unit(
            "search",
            "searches",
            "Each seed is a search of its own; what it found was trained more than once. Between searches: what a search moves.",
        ),
        Unit(
            "search and shuffle",
            "searches, each shuffled",
            "Each seed is a search of its own, and a shuffle of the rules in what it found, which was trained more than once. Between "
            "them: what both move together.",
        ),
        Unit(
            "assignment",
            "assignments",
            "One cell, whose genes were given the same rules in several ways, each of them trained more than once. Between assignments: "
            "what it moves where a rule stands. They are those that shuffles make, as far from the cell's own as can be and with nearly "
            "as many weights for each rule, and the share speaks of such ones.",
        ),
        Unit(
            "genotype",
            "genotypes",
            "Each seed is a genotype by chance, which was trained more than once. Between genotypes: what a genotype moves.",
        ),
        Unit("seed", "seeds", "One network, trained more than once from every seed: nothing but training lies between the seeds."),
    )
}


@dataclass(frozen=True)
class Row:
    """A variant that was retrained, what its seeds differ in, and where the spread of its test error comes from."""

    block: Block
    variant: Variant
    unit: Unit
    components: Components

    @property
    def words(self) -> str:
        c = self.components
        if c.p != c.p:
            return "no spread to test by: no claim"
        if c.groups < CLAIM_SEEDS:
            return f"{c.groups} {self.unit.plural}: no claim"
        if c.p < LEVEL:
            return f"told apart: the {self.unit.name} moves the error"
        return f"tie: the {self.unit.name} is not told apart from training"


def unit(variant: Variant) -> Unit:
    """Return what the seeds of a variant differ in."""
    one = bool(variant.parents) and len(set(variant.parents.values())) == 1  # one search's cell, or a published one
    if variant.rules in ("random", "uninformed"):
        return UNITS["genotype"]
    if variant.rules == "shuffled":
        return UNITS["assignment" if one else "search and shuffle"]
    return UNITS["seed" if one else "search"]


def spreads(results: Results) -> list[Row]:
    """Return a row for every variant whose seeds were trained more than once."""
    found = [(block, variant, variance_components(_groups(variant))) for block in results.blocks for variant in block.variants]
    return [Row(block, variant, unit(variant), components) for block, variant, components in found if components]


def _groups(variant: Variant) -> list[list[float]]:
    """Return the test errors of every seed; seeds that came to the same assignment are one."""
    by_seed = variant.by_retraining("test_error")
    if unit(variant).name != "assignment":
        return list(by_seed.values())
    groups: dict[str, list[float]] = {}
    for seed, errors in by_seed.items():
        genotype = str(variant.trains[seed].metrics.get("genotype", seed)) if seed in variant.trains else str(seed)
        groups.setdefault(genotype, []).extend(errors)
    return list(groups.values())
