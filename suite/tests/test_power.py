"""Which difference a number of seeds would have told apart, against a textbook's table, an integral, and made-up experiments."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS, LEVEL, POWER, detectable, detectable_ratio


def test_the_numbers_are_those_that_the_pages_promise():
    assert (INTERVAL_SEEDS, CLAIM_SEEDS, LEVEL, POWER) == (3, 5, 0.05, 0.8)


@pytest.mark.parametrize(("effect", "n"), [(0.5, 34), (0.8, 15), (0.2, 199)])
def test_it_is_the_textbooks(effect, n):
    """Cohen's small, medium and large effect want 199, 34 and 15 pairs for 80 % at 0.05, two-sided (G*Power's manual, and many tables)."""
    assert detectable(n) <= effect < detectable(n - 1)


def power(effect, n, level):
    """Integrate the power over the spread that a sample may have: no noncentral t."""
    bound, shift, df = stats.t.isf(level / 2, n - 1), effect * math.sqrt(n), n - 1
    return integrate.quad(lambda s: stats.norm.sf(bound * math.sqrt(s / df) - shift) * stats.chi2.pdf(s, df), 0, np.inf)[0]


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("level", [0.05, 0.05 / 7, 0.05 / 200])
def test_it_has_its_power_at_a_corrected_level_too(n, level):
    assert power(detectable(n, level), n, level) == pytest.approx(POWER, abs=1e-6)


def test_of_made_up_experiments_so_many_see_it():
    samples = np.random.default_rng(0).normal(detectable(5, 0.01), 1, size=(20_000, 5))
    assert (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.01).mean() == pytest.approx(POWER, abs=0.01)


def test_more_seeds_see_more_and_more_comparisons_see_less():
    assert detectable(3) > detectable(5) > detectable(10)
    assert detectable(5, 0.05 / 10) > detectable(5)


@pytest.mark.parametrize(("groups", "size"), [(8, 3), (5, 2), (12, 4)])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_of_made_up_layouts_so_many_see_what_lies_between_groups(groups, size, level):
    stream = np.random.default_rng(1)
    between = math.sqrt(detectable_ratio(groups, groups * size, size, level))
    draws = between * stream.normal(size=(20_000, groups, 1)) + stream.normal(size=(20_000, groups, size))
    p = stats.f_oneway(*np.moveaxis(draws, 1, 0), axis=1).pvalue
    assert (p < level).mean() == pytest.approx(POWER, abs=0.01)


def test_more_groups_and_more_members_see_smaller_ratios():
    assert detectable_ratio(5, 15, 3) > detectable_ratio(8, 24, 3) > detectable_ratio(8, 48, 6)
