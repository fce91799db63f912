"""Laws of the statistics, whatever the numbers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reports.numbers.statistics import LEVEL, Difference, Summary, holm, mcnemar, proportion
from suite.power import detectable

laws = settings(deadline=None)
ps = st.lists(st.floats(1e-12, 1) | st.just(math.nan), max_size=8)
values = st.lists(st.floats(-100, 100).map(lambda number: round(number, 2)), min_size=3, max_size=8)


def paired(ours, theirs=None):
    return Difference.paired(dict(enumerate(ours)), dict(enumerate(theirs)) if theirs else dict.fromkeys(range(len(ours)), 0.0))


@laws
@given(ps=ps, more=st.integers(0, 5))
def test_holms_p_lies_between_the_raw_one_and_bonferronis_and_keeps_the_order(ps, more):
    family = len(ps) + more
    tested = [(p, step) for p, step in zip(ps, holm(ps, family), strict=True) if not math.isnan(p)]
    for p, step in tested:
        assert p <= step.p <= min(1.0, p * family) and step.p <= 1
        assert step.rejected == (step.p < LEVEL)
        assert LEVEL / family <= step.level * (1 + 1e-12) and step.level <= LEVEL
    for p, step in tested:
        assert all(step.p <= other.p for q, other in tested if p <= q)


@laws
@given(ps=st.lists(st.floats(1e-12, 1), unique=True, max_size=7), data=st.data())
def test_holm_does_not_see_the_order_of_its_tests(ps, data):
    order = data.draw(st.permutations(range(len(ps))))
    steps = holm(ps)
    assert holm([ps[i] for i in order]) == [steps[i] for i in order]


@laws
@given(ps=ps, more=st.integers(1, 5))
def test_a_larger_family_finds_nothing_more(ps, more):
    for small, large in zip(holm(ps), holm(ps, len(ps) + more), strict=True):
        assert large.level <= small.level
        if not math.isnan(small.p):
            assert large.p >= small.p and small.rejected >= large.rejected


@laws
@given(ours=values, data=st.data())
def test_a_difference_changes_its_sign_with_its_sides_and_nothing_else(ours, data):
    theirs = data.draw(st.lists(st.floats(-100, 100).map(lambda number: round(number, 2)), min_size=len(ours), max_size=len(ours)))
    one, other = paired(ours, theirs), paired(theirs, ours)
    assert one.mean == pytest.approx(-other.mean) and one.n == other.n == len(ours) and one.testable == other.testable
    assume(one.testable and one.sd > 1e-6)
    assert one.p == pytest.approx(other.p, rel=1e-6)
    assert one.interval() == pytest.approx(tuple(-end for end in reversed(other.interval())))
    assert one.detectable() == pytest.approx(other.detectable())


@laws
@given(ours=values, data=st.data())
def test_a_difference_does_not_see_the_order_of_seeds_nor_seeds_that_one_side_alone_has(ours, data):
    order = data.draw(st.permutations(range(len(ours))))
    straight = paired(ours)
    shuffled = Difference.paired({seed: ours[seed] for seed in order} | {99: 1.0}, dict.fromkeys(order, 0.0) | {98: 5.0})
    assert shuffled == straight


@laws
@given(ours=values, shift=st.integers(-50, 50), factor=st.sampled_from([0.5, 2.0, 10.0]))
def test_what_both_sides_share_goes_and_units_are_units(ours, shift, factor):
    straight = paired(ours)
    assume(straight.testable and straight.sd > 1e-3)
    moved = paired([value + shift for value in ours], [float(shift)] * len(ours))
    scaled = paired([factor * value for value in ours])
    assert moved.mean == pytest.approx(straight.mean, abs=1e-9) and moved.p == pytest.approx(straight.p, rel=1e-6, abs=1e-12)
    assert scaled.p == pytest.approx(straight.p, rel=1e-6, abs=1e-12)
    assert scaled.interval() == pytest.approx(tuple(factor * end for end in straight.interval()))
    assert scaled.detectable() == pytest.approx(factor * straight.detectable())


@laws
@given(ours=values)
def test_the_interval_at_the_level_of_its_p_value_ends_at_0(ours):
    found = paired(ours)
    assume(found.testable and found.sd > 1e-3 and 1e-9 < found.p < 1 - 1e-9)
    ends = found.interval(found.p)
    assert min(map(abs, ends)) == pytest.approx(0, abs=1e-6 * max(map(abs, ends)))
    wide, narrow = found.interval(found.p / 2), found.interval(min(1, found.p * 1.01))
    assert wide[0] < 0 < wide[1] and (narrow[0] > 0 or narrow[1] < 0)


@laws
@given(ours=values)
def test_a_mean_lies_in_its_interval_and_that_in_the_one_of_one_more(ours):
    found = Summary.of(ours)
    assert found.n == len(ours) and found.mean == pytest.approx(np.mean(ours), abs=1e-9)
    low, high = found.one_more
    assert low <= found.mean <= high
    if found.interval:
        assert low < found.interval[0] < found.mean < found.interval[1] < high
        width = (found.interval[1] - found.interval[0]) / (high - low)
        assert width == pytest.approx(math.sqrt(1 / (found.n + 1)))  # √(1/n) ÷ √(1 + 1/n)


@pytest.mark.parametrize("count", [0, 1])
def test_no_number_and_one_have_no_spread(count):
    found = Summary.of([2.5] * count)
    assert found.n == count and math.isnan(found.sd) and found.interval is None and found.one_more is None
    assert f"{found:.2f}" == ("2.50" if count else "–")


def test_a_spread_is_written_without_a_sign():
    assert f"{Summary.of([1.0, 2.0, 3.0]):+.2f}" == "+2.00 ± 1.00"
    assert Summary.of([3.0] * 5).interval is None and Summary.of([3.0] * 5).one_more == (3.0, 3.0)


@laws
@given(one=st.integers(0, 60), other=st.integers(0, 60))
def test_mcnemar_takes_no_side_and_more_of_the_smaller_makes_it_more_likely(one, other):
    assert mcnemar(one, other) == mcnemar(other, one) and 0 < mcnemar(one, other) <= 1
    if one < other:
        assert mcnemar(one, other) <= mcnemar(one + 1, other - 1) + 1e-12


@laws
@given(images=st.integers(1, 2000), data=st.data())
def test_a_share_and_what_is_left_of_it_have_one_interval(images, data):
    count = data.draw(st.integers(0, images))
    low, high = proportion(100 * count / images, images)
    rest = proportion(100 * (images - count) / images, images)
    assert 0 <= low <= 100 * count / images + 1e-9 and 100 * count / images - 1e-9 <= high <= 100
    assert (low, high) == pytest.approx((100 - rest[1], 100 - rest[0]), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(3, 40), level=st.floats(1e-4, 0.2))
def test_what_is_told_apart_shrinks_with_seeds_and_grows_with_care(n, level):
    assert detectable(n + 1, level) < detectable(n, level) < detectable(n, level / 2)
