"""The statistics, against scipy's, a hand calculation, and what they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from reports.numbers.statistics import LEVEL, Difference, Summary, holm, mcnemar, proportion


def difference(*values):
    return Difference.paired(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


def test_a_difference_is_paired_by_seed_and_tested_by_t_as_scipy_does():
    ours, theirs = {0: 9.0, 1: 8.0, 2: 7.5, 4: 1.0}, {0: 5.0, 1: 2.0, 2: 2.0, 3: 7.0}
    found = Difference.paired(ours, theirs)
    scipys = stats.ttest_rel([9.0, 8.0, 7.5], [5.0, 2.0, 2.0])
    assert found.n == 3 and found.p == pytest.approx(scipys.pvalue)
    for level in (0.05, 0.01):
        wide = scipys.confidence_interval(1 - level)
        assert found.interval(level) == pytest.approx((wide.low, wide.high))


def test_two_seeds_have_neither_interval_nor_p_value():
    found = difference(1.0, 2.0)
    assert found.interval() is None and math.isnan(found.p) and math.isnan(found.detectable()) and str(found) == "+1.50"
    assert str(difference()) == "–"


def test_a_difference_is_written_with_its_interval():
    # 1, 2, 3: t of 2 degrees of freedom 4.30265, standard error 1 / √3
    assert str(difference(1.0, 2.0, 3.0)) == "+2.00 [-0.48, +4.48]"


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_a_mean_has_an_interval_from_three_seeds_on_unless_all_agree(size):
    # as above: 4.30265 standard deviations / √3
    assert Summary.of([size, 2 * size, 3 * size]).interval == pytest.approx(((2 - 2.48414) * size, (2 + 2.48414) * size), rel=1e-5)
    # t of 4 degrees of freedom 2.77645, of 1 to 5 √2.5 / √5
    assert Summary.of([size * i for i in range(1, 6)]).interval == pytest.approx(((3 - 1.96324) * size, (3 + 1.96324) * size), rel=1e-5)
    assert Summary.of([size, 2 * size]).interval is None and Summary.of([size] * 5).interval is None


@pytest.mark.parametrize("values", [[0.0] * 5, [0.3] * 5, [1 - 0.9, 0.1, 2.1 - 2.0]])
def test_differences_that_are_all_equal_prove_nothing(values):
    """The test set's grid makes them so; t would be infinite."""
    found = difference(*values)
    assert found.sd == 0 and not found.testable and found.interval() is None and math.isnan(found.p) and math.isnan(found.detectable())


def test_the_smallest_difference_is_in_the_units_of_the_metric():
    # By the integral of suite/tests/test_power.py: 5 seeds at 0.025 see 2.0500 standard deviations; this one is √2.5.
    assert difference(1.0, 2.0, 3.0, 4.0, 5.0).detectable(0.025) == pytest.approx(2.0500 * math.sqrt(2.5), rel=1e-4)


def test_holm_by_hand():
    """Holm's steps of 0.001, 0.01, 0.02, 0.04 have the levels 0.0125, 0.0167, 0.025 and 0.05; the one at 0.03 stops them."""
    steps = holm([0.03, 0.001, 0.04, 0.01])
    assert [step.p for step in steps] == pytest.approx([0.06, 0.004, 0.06, 0.03])
    assert [step.rejected for step in steps] == [False, True, False, True]
    assert [step.level for step in steps] == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])
    assert [step.rejected for step in holm([0.02, 0.04])] == [True, True]
    assert holm([]) == []


def test_tests_that_could_not_be_made_count_in_the_family():
    (step,) = holm([0.02], family=3)
    assert (step.p, step.level, step.rejected) == (pytest.approx(0.06), pytest.approx(0.05 / 3), False)
    first, second = holm([math.nan, 0.02])
    assert math.isnan(first.p) and not first.rejected and second.p == 0.04 and second.rejected


def test_an_interval_at_its_steps_level_leaves_0_out_exactly_where_holm_rejects():
    random = np.random.default_rng(1)
    rejected = 0
    for _ in range(200):
        found = [difference(*random.normal(random.choice([0, 3]), 1, size=random.integers(3, 8))) for _ in range(6)]
        for one, step in zip(found, holm([one.p for one in found]), strict=True):
            low, high = one.interval(step.level)
            assert step.rejected == (low > 0 or high < 0) == (step.p < LEVEL)
            rejected += step.rejected
    assert 100 < rejected < 1100


def test_of_many_families_of_nothing_one_in_twenty_has_a_finding():
    """Five networks, none better: without Holm every fifth family had one."""
    random = np.random.default_rng(2)
    families = [[difference(*random.normal(0, 1, size=5)).p for _ in range(5)] for _ in range(2000)]
    corrected = np.mean([any(step.rejected for step in holm(ps)) for ps in families])
    naive = np.mean([min(ps) < LEVEL for ps in families])
    assert naive > 0.18 and corrected < 0.06


def test_mcnemar_is_a_fair_coins():
    # 1 of 10: (1 + 10) / 2¹⁰, twice; 0 of 6: 1 / 2⁶, twice; and what differs nowhere differs in nothing.
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1.0
    for one, other in ((3, 11), (40, 61), (400, 520), (7, 7), (0, 1000)):
        assert mcnemar(one, other) == pytest.approx(stats.binomtest(one, one + other, 0.5).pvalue)


@pytest.mark.parametrize(("wrong", "images"), [(0, 10), (10, 10), (1, 364), (514, 10_000), (3, 7)])
def test_a_share_has_clopper_and_pearsons_interval(wrong, images):
    exact = stats.binomtest(wrong, images).proportion_ci(0.95, "exact")
    assert proportion(100 * wrong / images, images) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1e-6)


def test_where_one_more_run_would_lie_by_hand():
    # 1, 2, 6: mean 3, sd √7; t of 2 degrees of freedom 4.30265; √(1 + 1/3)
    low, high = Summary.of([1.0, 2.0, 6.0]).one_more
    assert (high - 3) == pytest.approx(4.30265 * 7**0.5 * (4 / 3) ** 0.5, rel=1e-5) and 3 - low == pytest.approx(high - 3)
    assert Summary.of([1.0, 2.0]).one_more is None


def test_one_more_of_normal_runs_lies_there_in_95_of_100_cases():
    drawn = np.random.default_rng(0).standard_normal((4000, 6))
    inside = [low <= row[5] <= high for row in drawn for low, high in [Summary.of(row[:5]).one_more]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)  # three and a half standard errors
