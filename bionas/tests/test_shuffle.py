"""Shuffles are as far from the searched rules as can be, held against every permutation there is."""

import itertools
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bionas import shuffle
from bionas.shuffle import shuffled
from bionas.space import PUBLISHED, SearchSpace, random_genotype

BIO = ("fa", "usf", "brsf", "frsf")


def rules_of(genotype, carriers):
    return tuple(getattr(genotype, kind)[i][0].rule or "bp" for kind, i in carriers)


def distance(old, new):
    return sum(a != b for a, b in zip(old, new, strict=True))


def weights_moved(old, new, weights):
    """The share of weights, by summing each rule's before and after."""

    def total(rules, rule):
        return sum(weight for r, weight in zip(rules, weights, strict=True) if r == rule)

    return sum(abs(total(new, rule) - total(old, rule)) for rule in set(old)) / 2 / sum(weights)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rules=st.sampled_from([BIO, ("fa", "bp"), ("usf", "frsf", "bp")]),
    nodes=st.integers(1, 2),
    released=st.booleans(),
    weigh=st.lists(st.integers(1, 50), min_size=8, max_size=8),
)
def test_a_shuffle_is_as_far_as_can_be_and_moves_the_fewest_weights(seed, rules, nodes, released, weigh):
    found = random_genotype(SearchSpace(rules), nodes, seed)
    carriers = found.carriers(released)
    weights = dict(zip(carriers, weigh, strict=False))
    old, own = rules_of(found, carriers), list(weights.values())
    assume(len(set(old)) > 1)
    permutations = set(itertools.permutations(old))
    greatest = max(distance(old, new) for new in permutations)
    commonest = max(Counter(old).values())
    assert greatest == (len(old) if 2 * commonest <= len(old) else 2 * (len(old) - commonest))
    far = [new for new in permutations if distance(old, new) == greatest]
    assert Counter(shuffle.farthest(old)) == Counter(far)  # every one of them, once
    made = [shuffled(found, weights, n, released) for n in range(min(len(far), 5))]
    assert shuffled(found, weights, len(far), released) == made[0]
    assert len({one.genotype for one in made}) == len(made)
    assert all((one.carriers, one.rules_changed) == (len(old), greatest) for one in made)
    assert all(distance(old, rules_of(one.genotype, carriers)) == greatest for one in made)
    fewest = sorted(weights_moved(old, new, own) for new in far)[:5]
    assert [one.weights_moved for one in made] == pytest.approx(fewest)
    assert [weights_moved(old, rules_of(one.genotype, carriers), own) for one in made] == pytest.approx(fewest)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shuffle_seed=st.integers(0, 100), released=st.booleans())
def test_operations_sources_and_the_multiset_of_rules_are_kept(seed, shuffle_seed, released):
    found = random_genotype(SearchSpace(BIO), 4, seed)
    carriers = found.carriers(released)
    assume(len(set(rules_of(found, carriers))) > 1)
    made = shuffled(found, dict.fromkeys(carriers, 1), shuffle_seed, released).genotype
    for (kind, before), (_, after) in zip(found.cells(), made.cells(), strict=True):
        assert [(c.operation, source) for c, source in before] == [(c.operation, source) for c, source in after]
        assert all(before[i] == after[i] for i in range(len(before)) if (kind, i) not in carriers)
    assert Counter(rules_of(made, carriers)) == Counter(rules_of(found, carriers))


@settings(max_examples=25, deadline=None)
@given(old=st.lists(st.sampled_from(BIO), min_size=12, max_size=16))
def test_of_many_shuffles_different_ones_of_the_greatest_distance_are_drawn(old):
    made = shuffle.farthest(old)
    commonest = max(Counter(old).values())
    greatest = len(old) if 2 * commonest <= len(old) else 2 * (len(old) - commonest)
    assert len(set(made)) == len(made) and {distance(old, new) for new in made} == {greatest}
    assert all(Counter(new) == Counter(old) for new in made)


def test_many_are_drawn_the_same_ones_every_time():
    old = list(BIO) * 4
    assert len(shuffle.farthest(old)) == shuffle.DRAWN and shuffle.farthest(old) == shuffle.farthest(old)


def test_the_published_cell_by_hand():
    """Its carriers are convs under frSF, uSF and frSF, a skip of stride 2 and a dilated conv under uSF: frsf usf usf frsf | usf usf."""
    cell = PUBLISHED["biodarts"]
    carriers = cell.carriers()
    assert rules_of(cell, carriers) == ("frsf", "usf", "usf", "frsf", "usf", "usf")
    # Four of six follow uSF, so that four change: both frSF, and two of four uSF, one pair of C(4, 2) after the other.
    made = [shuffled(cell, dict.fromkeys(carriers, 1), seed) for seed in range(7)]
    assert len({one.genotype for one in made[:6]}) == 6 and made[6] == made[0]
    assert {(one.carriers, one.rules_changed, one.weights_moved) for one in made} == {(6, 4, 0.0)}
    # The skip is BP's in the public code: of five genes that are left, two frSF and two of three uSF change.
    made = [shuffled(cell, dict.fromkeys(carriers, 1), seed, released=True) for seed in range(3)]
    assert len({one.genotype for one in made}) == 3 and {(one.carriers, one.rules_changed) for one in made} == {(5, 4)}
    assert {str(one.genotype.reduce[1][0]) for one in made} == {"skip_connect:usf"}


@pytest.mark.parametrize("name", ["darts_v1", "darts_v2"])
def test_shuffling_one_rule_changes_nothing_and_says_so(name):
    """Plain skips of stride 2 are BP's, as the convs."""
    cell = PUBLISHED[name]
    with pytest.raises(ValueError, match="changes nothing"):
        shuffled(cell, dict.fromkeys(cell.carriers(), 1), 0)
