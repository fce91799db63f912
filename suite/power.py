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
