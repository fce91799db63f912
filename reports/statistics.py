"""What is said of several seeds: means with their spread, and differences paired by seed with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats


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

    def __format__(self, digits: str) -> str:
        if not self.n:
            return "–"
        return f"{self.mean:{digits}}" + (f" ± {self.sd:{digits}}" if self.n > 1 else "")


@dataclass(frozen=True)
class Difference:
    """A mean of differences paired by seed; from three seeds on with its 95 % interval (t, over seeds).

    An interval from two seeds would say more of the test set's grid than of what is compared.
    """

    mean: float
    half: float  # of the interval; NaN where there is none
    n: int

    @classmethod
    def paired(cls, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference:
        summary = Summary.of(ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))
        half = stats.t.ppf(0.975, summary.n - 1) * summary.sd / math.sqrt(summary.n) if summary.n > 2 else math.nan
        return cls(summary.mean, float(half), summary.n)

    def __str__(self) -> str:
        if not self.n:
            return "–"
        return f"{self.mean:+.2f}" + (f" [{self.mean - self.half:+.2f}, {self.mean + self.half:+.2f}]" if self.n > 2 else "")

    @property
    def reading(self) -> str:
        """Say in words whether the interval leaves 0 out."""
        if self.n < 3:
            return "too few seeds" if self.n else "–"
        if abs(self.mean) <= self.half:
            return "tie: the interval holds 0"
        return "more" if self.mean > 0 else "less"
