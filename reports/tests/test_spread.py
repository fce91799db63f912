"""Variance components: by hand, by a published table, by scipy, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.spread import variance_components


def test_by_hand():
    # means 2, 3 and 7 around 4: between groups 3 · (4 + 1 + 9) / 2 = 21 a degree of freedom, within (2 + 2 + 2) / 6 = 1
    found = variance_components([[1, 2, 3], [2, 3, 4], [6, 7, 8]])
    assert (found.groups, found.members, found.f) == (3, 9, pytest.approx(21))
    assert (found.between, found.within) == (pytest.approx(20 / 3), pytest.approx(1))
    assert found.between_sd == pytest.approx(math.sqrt(20 / 3)) and found.within_sd == pytest.approx(1)


def test_groups_of_unequal_size_by_hand():
    # means 1, 4 and 6 around 20/6; n0 = (6 − (4 + 9 + 1) / 6) / 2 = 11/6
    found = variance_components([[0, 2], [3, 4, 5], [6]])
    between_ms = (2 * (7 / 3) ** 2 + 3 * (2 / 3) ** 2 + (8 / 3) ** 2) / 2
    assert found.within == pytest.approx(4 / 3)
    assert found.between == pytest.approx((between_ms - 4 / 3) / (11 / 6))


def test_shrout_and_fleiss_1979():
    """Their six targets and four judges: ICC(1,1) is 0.17, F(5, 18) = 1.8; its 95 % interval is [−0.13, 0.72]."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = variance_components(ratings)
    assert found.between / (found.between + found.within) == pytest.approx(0.17, abs=0.005)
    assert found.f == pytest.approx(1.79, abs=0.01) and found.within == pytest.approx(6.26, abs=0.01)
    assert found.share == (0.0, pytest.approx(0.72, abs=0.005))  # a share is no less than 0


def test_the_test_is_scipys():
    groups = [[3.1, 2.9], [2.2, 2.7, 2.4], [3.3, 3.0]]
    found = variance_components(groups)
    f, p = stats.f_oneway(*groups)
    assert (found.f, found.p) == (pytest.approx(f), pytest.approx(p))


def test_groups_that_lie_closer_than_their_members_estimate_less_than_nothing():
    found = variance_components([[0, 10], [1, 9]])
    assert found.between < 0 and found.between_sd == 0.0 and found.share[0] == 0.0


def test_means_of_estimates_and_coverage_in_simulation():
    """Variances 4 between and 1 within, so a share of 0.8: unbiased, and in 95 of 100 intervals."""
    stream = np.random.default_rng(0)
    draws = 2 * stream.normal(size=(2000, 5, 1)) + stream.normal(size=(2000, 5, 2))
    found = [variance_components(draw) for draw in draws]
    assert np.mean([c.between for c in found]) == pytest.approx(4, abs=0.2)  # its standard error is 0.07
    assert np.mean([c.within for c in found]) == pytest.approx(1, abs=0.05)
    assert np.mean([c.share[0] <= 0.8 <= c.share[1] for c in found]) == pytest.approx(0.95, abs=0.015)


def test_what_cannot_be_told_apart_is_not():
    assert variance_components([]) is None
    assert variance_components([[1, 2, 3]]) is None  # one search
    assert variance_components([[1], [2], []]) is None  # none retrained
    alike = variance_components([[0.1, 0.1], [0.3, 0.3]])  # nothing to measure a spread with
    assert alike.within == 0 and math.isnan(alike.p) and all(map(math.isnan, alike.share))
