"""What a number of seeds can tell apart: from how many on something is said at all, and which difference a test would have seen."""

from __future__ import annotations

import math

INTERVAL_SEEDS = 3  # fewer bound nothing: a t-interval of two would say more of the test set's grid than of what is compared
CLAIM_SEEDS = 5
LEVEL = 0.05
POWER = 0.8


def detectable(n: int, level: float = LEVEL) -> float:
    """Return the smallest mean of `n` paired differences that a two-sided t-test at `level` tells from 0 with probability POWER.

    In standard deviations of the differences: a root of noncentral t's tail (Cohen, 1988); the tail of the wrong sign is left out.
    """
    from scipy import optimize, stats  # a second, which no driver pays that compares nothing

    bound = float(stats.t.isf(level / 2, n - 1))
    shift = optimize.brentq(lambda shift: stats.nct.sf(bound, n - 1, shift) - POWER, 0, 4 * bound)
    return float(shift) / math.sqrt(n)


def detectable_ratio(groups: int, members: int, size: float, level: float = LEVEL) -> float:
    """Return the smallest variance between ÷ within groups that the F-test of a one-way layout finds with probability POWER.

    With random effects F is (1 + size · ratio) times a central F (Scheffé, 1959, §7.2), so that there is nothing to solve. `size`: of a
    group; exact where all have it, else their mean size n0 approximates.
    """
    from scipy import stats

    free = groups - 1, members - groups
    return float(stats.f.isf(level, *free) / stats.f.isf(POWER, *free) - 1) / size
