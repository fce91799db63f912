"""Where the spread of a network comes from: the search that found it, or the training of what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.tables import Block, Results, Variant


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
        return Components(between, 0.0, len(arrays), total, math.nan, math.nan, (math.nan, math.nan))
    f = between_ms / within_ms

    def share(level: float) -> float:
        ratio = f / float(stats.f.ppf(level, *free))
        return max(0.0, (ratio - 1) / (ratio + n0 - 1))

    return Components(between, within_ms, len(arrays), total, f, float(stats.f.sf(f, *free)), (share(0.975), share(0.025)))


@dataclass(frozen=True)
class Row:
    """A variant that was retrained, and where the spread of its test error comes from."""

    block: Block
    variant: Variant
    components: Components


def spreads(results: Results) -> list[Row]:
    """Return a row for every variant whose seeds were trained more than once."""
    found = [(block, variant, variant.by_retraining("test_error")) for block in results.blocks for variant in block.variants]
    rows = [(block, variant, variance_components(groups.values())) for block, variant, groups in found]
    return [Row(block, variant, components) for block, variant, components in rows if components]
