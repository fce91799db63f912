"""The space counts what the paper and its public code count, and genotypes say what they are."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionas import catalog
from bionas.space import PUBLISHED, SPACES, Candidate, Genotype, SearchSpace, derive, edge_stride, edges, random_genotype, uninformed

BIO = ("fa", "usf", "brsf", "frsf")


# 16 rule convs, 2 pools, 3 skips, and `none` in DARTS alone: LR-NAS's PRIMITIVES has 22.
@pytest.mark.parametrize("protocol", ["paper", "released"])
@pytest.mark.parametrize(("none", "count"), [(True, 22), (False, 21)])
def test_candidates_of_the_bio_set_as_published(protocol, none, count):
    space = SearchSpace(BIO, protocol, none=none)
    assert len(space) == count
    assert sum(space.allowed(1)) == sum(space.allowed(2)) == count


def test_repaired_space_has_no_candidate_twice_on_an_edge():
    space = SearchSpace(BIO)
    at = {stride: [str(c) for c, ok in zip(space.candidates, space.allowed(stride), strict=True) if ok] for stride in (1, 2)}
    skips = {stride: [name for name in names if name.startswith("skip")] for stride, names in at.items()}
    assert skips == {1: ["skip_connect"], 2: ["skip_connect:usf", "skip_connect:brsf", "skip_connect:frsf"]}
    assert (len(at[1]), len(at[2])) == (20, 22)


@pytest.mark.parametrize("protocol", SPACES)
@pytest.mark.parametrize(("rules", "count"), [(("bp",), 8), (("fa",), 8), (("usf",), 8)])
def test_a_single_rule_has_dartss_eight(protocol, rules, count):
    space = SearchSpace(rules, protocol)
    assert sum(space.allowed(1)) == sum(space.allowed(2)) == count


def test_bad_rule_sets_are_refused():
    with pytest.raises(ValueError, match="empty"):
        SearchSpace([])
    with pytest.raises(ValueError, match="did you mean 'usf'"):
        SearchSpace(["uSF"])


def test_edges_of_four_nodes():
    assert len(edges(4)) == 14
    assert edges(2) == [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert [edge_stride(True, source) for source, _ in edges(2)] == [2, 2, 2, 2, 1]


def test_derivation_by_hand():
    space = SearchSpace(["bp"])  # none, max, avg, skip, sep3, sep5, dil3, dil5
    rows = [
        [0.9, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0],  # none weighs most, and still says nothing
        [0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.7, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8],
    ]
    found = derive({"normal": rows, "reduce": rows}, space, nodes=2)
    named = [(str(candidate), source) for candidate, source in found.normal]
    assert named == [("avg_pool_3x3", 1), ("skip_connect", 0), ("dil_conv_5x5:bp", 2), ("sep_conv_3x3:bp", 0)]


def test_derivation_never_takes_a_barred_candidate():
    space = SearchSpace(BIO)
    heavy = [[1.0 if c.operation == "skip_connect" else 0.0 for c in space.candidates]] * 5
    found = derive({"normal": heavy, "reduce": heavy}, space, nodes=2)
    assert all(candidate.rule is None for candidate, _ in found.normal)
    assert all((candidate.rule is not None) == (source < 2) for candidate, source in found.reduce)


@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 4), protocol=st.sampled_from(SPACES), rules=st.sampled_from([BIO, ("bp",)]))
def test_random_genotypes_are_whole_of_the_space_and_survive_json(seed, nodes, protocol, rules):
    space = SearchSpace(rules, protocol, none=False)
    found = random_genotype(space, nodes, seed)
    assert found == random_genotype(space, nodes, seed) == Genotype.from_json(found.to_json())
    for kind, genes in found.cells():
        assert len(genes) == 2 * nodes and all(genes[i][1] != genes[i + 1][1] for i in range(0, 2 * nodes, 2))
        for candidate, source in genes:
            assert space.allowed(edge_stride(kind == "reduce", source))[space.candidates.index(candidate)]
    paths = space.paths(found)
    assert all(sum(choice is not None for choice in path) == 2 * nodes for path in paths.values())


@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 4), none=st.booleans(), protocol=st.sampled_from(SPACES))
def test_an_uninformed_genotype_is_of_the_space_and_another_for_another_seed(seed, nodes, none, protocol):
    space = SearchSpace(BIO, protocol, none=none)
    stream = random.Random(seed)
    mixtures = {kind: [[stream.random() * ok for ok in row] for row in allowed(space, kind, nodes)] for kind in ("normal", "reduce")}
    found = [uninformed(mixtures, space, nodes, n) for n in (0, 0, 1, 2)]
    assert found[0] == found[1] and (len(set(found)) > 1)
    for kind, genes in found[3].cells():
        for candidate, source in genes:
            assert space.allowed(edge_stride(kind == "reduce", source))[space.candidates.index(candidate)]


def allowed(space, kind, nodes):
    return [space.allowed(edge_stride(kind == "reduce", source)) for source, _ in edges(nodes)]


def test_an_uninformed_genotype_takes_every_candidate_alike_often_however_sure_the_search_was():
    space = SearchSpace(["usf"])  # none, max, avg, skip (plain at stride 1), skip:usf (at stride 2), four convs
    sure = [1.0 if c == Candidate("sep_conv_3x3", "usf") else 0.0 for c in space.candidates]
    mixtures = {kind: [sure] * 2 for kind in ("normal", "reduce")}
    (candidate, _), *_ = derive(mixtures, space, 1).normal
    assert str(candidate) == "sep_conv_3x3:usf"
    taken = Counter(str(uninformed(mixtures, space, 1, seed).normal[0][0]) for seed in range(4000))
    # A node has two edges, both are kept, the one with the heavier candidate first; where `none` drew the weight, ties go to the first.
    heavy = {str(c) for c in space.candidates if c.operation != "none" and c.rule in (None, "usf") and str(c) != "skip_connect:usf"}
    assert taken.keys() == heavy
    shares = [taken[name] / 4000 for name in sorted(heavy - {"max_pool_3x3"})]
    # (1 − 1/64) of the time some edge's weight lies on an operation: each of the seven alike often.
    assert shares == pytest.approx([(1 - 1 / 64) / 7] * 6, abs=0.02)


@pytest.mark.parametrize("rule", catalog.RULES)
def test_a_single_rule_reaches_every_gene_that_has_weights(rule):
    single = PUBLISHED["biodarts"].assigned(rule)
    # By hand: four separable convs; one dilated conv and one skip of stride 2.
    assert single.carriers() == [("normal", 2), ("normal", 3), ("normal", 4), ("normal", 6), ("reduce", 1), ("reduce", 7)]
    assert {getattr(single, kind)[i][0].rule for kind, i in single.carriers()} == {rule}


def test_published_genotypes_are_the_catalogs():
    assert tuple(PUBLISHED) == catalog.GENOTYPES
    assert all(len(genes) == 8 for genotype in PUBLISHED.values() for _, genes in genotype.cells())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not one"),
        ("[]", "not one"),
        ('{"normal": []}', "not one"),
        ('{"normal": [], "reduce": []}', "two a node"),
        ('{"normal": [["sep_conv_3x3", 0], ["sep_conv_3x4", 1]], "reduce": []}', "did you mean"),
        ('{"normal": [["max_pool_3x3:fa", 0], ["skip_connect", 1]], "reduce": []}', "no weights"),
        ('{"normal": [["skip_connect", 0], ["skip_connect", 2]], "reduce": []}', r"normal\.1: from 2; allowed: 0\.\.1"),
        ('{"normal": [["none", 0], ["skip_connect", 1]], "reduce": []}', "'none'"),
    ],
)
def test_bad_genotypes_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        Genotype.from_json(text)


@pytest.mark.parametrize("text", ["sep_conv_3x3:usf", "max_pool_3x3", "skip_connect"])
def test_candidates_are_written_as_they_are_read(text):
    assert str(Candidate.parse(text)) == text
