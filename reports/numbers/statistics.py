"""What is said of several seeds, and of one: means with their spread, differences paired by seed, and how many are tested at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special, stats

from suite.power import INTERVAL_SEEDS, LEVEL, detectable


@cache
def quantile(level: float, n: int) -> float:
    """Return t's upper quantile for a two-sided interval of n numbers at a level; thousands of intervals share a few."""
    return float(stats.t.isf(level / 2, n - 1))


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and number of seeds; of no numbers at all, `n` is 0 and the rest NaN."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        array = np.array(list(values), dtype=float)
        n = len(array)
        return cls(float(array.mean()) if n else math.nan, float(array.std(ddof=1)) if n > 1 else math.nan, n)

    @property
    def one_more(self) -> tuple[float, float] | None:
        """Where one more run like these would lie in 95 of 100 cases: mean ± t·s·√(1 + 1/n); None where too few seeds bound nothing."""
        if self.n < INTERVAL_SEEDS:
            return None
        half = quantile(LEVEL, self.n) * self.sd * math.sqrt(1 + 1 / self.n)
        return self.mean - half, self.mean + half

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's t-interval (95 %); None where too few seeds bound nothing, or where all agree and there is no spread to go by."""
        if self.n < INTERVAL_SEEDS or self.sd < 1e-9:
            return None
        half = quantile(LEVEL, self.n) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def __format__(self, digits: str) -> str:
        if not self.n:
            return "–"
        return f"{self.mean:{digits}}" + (f" ± {self.sd:{digits.lstrip('+')}}" if self.n > 1 else "")


@dataclass(frozen=True)
class Difference:
    """Differences paired by seed: the seed is the unit between networks. Tested by t, from three seeds on.

    Where all of them are equal, t has no spread to measure with: there is no interval then and no p-value, whatever the mean.
    """

    mean: float
    sd: float
    n: int

    @classmethod
    def paired(cls, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
        found = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
        summary = Summary.of(found)
        equal = summary.n > 1 and max(found) - min(found) < 1e-9  # but for the last bits
        return cls(summary.mean, 0.0 if equal else summary.sd, summary.n)

    @property
    def testable(self) -> bool:
        return self.n >= INTERVAL_SEEDS and self.sd > 0

    @property
    def p(self) -> float:
        """The two-sided p-value of the paired t-test; NaN where there is none."""
        return float(2 * stats.t.sf(abs(self.mean) / (self.sd / math.sqrt(self.n)), self.n - 1)) if self.testable else math.nan

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the t-interval that leaves 0 out where p < `level`; None where there is none."""
        if not self.testable:
            return None
        half = quantile(level, self.n) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def detectable(self, level: float = LEVEL) -> float:
        """Return the smallest difference that this test would have seen in four of five such experiments, were the spread the one seen."""
        return detectable(self.n, level) * self.sd if self.testable else math.nan

    def __str__(self) -> str:
        if not self.n:
            return "–"
        interval = self.interval()
        return f"{self.mean:+.2f}" + (f" [{interval[0]:+.2f}, {interval[1]:+.2f}]" if interval else "")


@dataclass(frozen=True)
class Step:
    """One test among several (Holm, 1979): its p-value corrected for their number, the level of its step, and whether it is rejected."""

    p: float
    level: float
    rejected: bool


def holm(ps: Sequence[float], family: int | None = None) -> list[Step]:
    """Correct p-values for their number, or for that of their family, some of which have none: NaN, or not here at all.

    A step's level is LEVEL / (number of tests that are not rejected before it); after the first that is not rejected, all have its
    level. So the interval at a test's level leaves 0 out exactly where the test is rejected.
    """
    family = len(ps) if family is None else family
    assert family >= sum(not math.isnan(p) for p in ps)
    steps: dict[int, Step] = {}
    level, corrected, rejecting = LEVEL / max(family, 1), 0.0, True
    for rank, i in enumerate(sorted((i for i, p in enumerate(ps) if not math.isnan(p)), key=lambda i: ps[i])):
        corrected = max(corrected, min(1.0, ps[i] * (family - rank)))
        if rejecting:
            level = LEVEL / (family - rank)
            rejecting = ps[i] < level
        steps[i] = Step(corrected, level, rejecting)
    return [steps.get(i, Step(math.nan, level, False)) for i in range(len(ps))]


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: of the pairs in which one alone holds, is it as often one as the other?"""
    return min(1.0, 2 * float(special.bdtr(min(only_one, only_other), only_one + only_other, 0.5)))  # binomtest takes 200 times as long


def proportion(percent: float, images: int) -> tuple[float, float]:
    """Return the exact 95 % interval (Clopper & Pearson, 1934) of a share of so many images, in percent.

    It is what the test images say of one network; of networks that other seeds would make it says nothing.
    """
    count = round(percent * images / 100)
    lower = special.betaincinv(count, images - count + 1, LEVEL / 2) if count else 0.0
    upper = special.betaincinv(count + 1, images - count, 1 - LEVEL / 2) if count < images else 1.0
    return 100 * float(lower), 100 * float(upper)
