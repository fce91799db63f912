"""Variance components: by hand, by a published table, by scipy, and by simulation."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports import render, summary
from reports.numbers import spread, tables
from reports.numbers.spread import variance_components
from reports.tests.test_reports import metrics, retrained, trial  # noqa: F401  # a fixture


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


def test_the_share_that_would_be_seen_is_seen_in_four_of_five_experiments():
    """Eight assignments of three trainings each, as benchmarks/assignment.yaml has them, with just that share between them."""
    stream = np.random.default_rng(0)
    share = variance_components(stream.normal(size=(8, 3))).detectable
    assert 0.4 < share < 0.7
    draws = math.sqrt(share) * stream.normal(size=(20_000, 8, 1)) + math.sqrt(1 - share) * stream.normal(size=(20_000, 8, 3))
    p = stats.f_oneway(*np.moveaxis(draws, 1, 0), axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.01)  # its standard error is 0.003


def test_share_and_smallest_share_by_hand():
    """Means 2, 3 and 7 as above: 20/3 of 20/3 + 1.

    F(2, 6) is 5.1433 at 0.05 by a table, and lies below 3 (0.8^(−1/3) − 1) = 0.2317 in one case of five: 22.2 times as much, which is
    1 + 3 · 7.07.
    """
    found = variance_components([[1, 2, 3], [2, 3, 4], [6, 7, 8]])
    assert found.explained == pytest.approx(20 / 23)
    ratio = (5.1433 / (3 * (0.8 ** (-1 / 3) - 1)) - 1) / 3
    assert found.detectable == pytest.approx(ratio / (1 + ratio), abs=1e-4) and found.detectable_sd == pytest.approx(
        math.sqrt(ratio), abs=1e-3
    )


def of_one_cell(rules, errors, genotypes=None):
    """Trials of one search's cell under every seed's assignment."""
    found = []
    for entry, train, evaluation in retrained(rules, errors):
        seed = entry.get("of_seed", entry["seed"])
        entry |= {"network": "darts-bio-seed0", "parent": "digits/darts-bio/seed0-0"}
        own = {"genotype": (genotypes or {}).get(seed, f"assignment {seed}"), "carriers": 8}
        found.append((entry, replace(train, metrics={**train.metrics, **own}), evaluation))
    return found


ERRORS = {0: [1.0, 2.0, 3.0], 1: [2.0, 3.0, 4.0], 2: [6.0, 7.0, 8.0]}


def test_of_one_cell_under_several_assignments_it_is_the_assignment_that_explains(metrics, capsys):  # noqa: F811
    """F(2, 6) = 21 has p = (1 + 2 · 21 / 6)^−3 = 8⁻³ = 0.00195; the interval is that of 21 over F's quantiles 7.2599 and 0.025433."""
    path = metrics(of_one_cell("shuffled", ERRORS))
    (row,) = spread.spreads(tables.read(path))
    assert row.unit.name == "assignment" and row.components.p == pytest.approx(1 / 512) and row.words == "3 assignments: no claim"
    page = render.render(tables.read(path)).partition("Where the spread comes from")[2].partition("<h2")[0]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert text.startswith(": assignment or retraining") and " the assignment explains, % " in text
    assert "search" not in text
    ends = [100 * (21 / q - 1) / (21 / q + 2) for q in (7.2599, 0.025433)]
    shown = f"87 [{ends[0]:.0f}, {ends[1]:.0f}] F(2, 6) = 21.00 0.002 88 sd 2.66 3 assignments: no claim"
    assert f"digits darts-bio-seed0 shuffled 3 9 2.58 1.00 {shown}" in text
    summary.main([str(path)])
    out = capsys.readouterr().out
    assert "| assignment or retraining | on | assignments | trainings |" in out
    share = f"87 % [{ends[0]:.0f}, {ends[1]:.0f}] | F(2, 6) = 21.00 | 0.002 | 3 assignments: no claim | 88 %, sd 2.66 |"
    assert f"| darts-bio-seed0, shuffled | digits | 3 | 9 | 2.58 | 1.00 | {share}" in out


def test_a_claim_wants_five_of_them_and_a_tie_is_called_one(metrics):  # noqa: F811
    apart = {seed: [error + 10 * seed for error in (1.0, 2.0, 3.0)] for seed in range(5)}
    alike = {seed: [1.0, 2.0, 3.0] for seed in range(5)}
    for errors, words in (
        (apart, "told apart: the assignment moves the error"),
        (alike, "tie: the assignment is not told apart from training"),
    ):
        (row,) = spread.spreads(tables.read(metrics(of_one_cell("shuffled", errors))))
        assert row.words == words


def test_seeds_that_came_to_one_assignment_are_one(metrics):  # noqa: F811
    (row,) = spread.spreads(tables.read(metrics(of_one_cell("shuffled", ERRORS, {0: "same", 2: "same"}))))
    assert (row.components.groups, row.components.members) == (2, 9)


def test_what_seeds_differ_in_is_named_for_what_it_is(metrics):  # noqa: F811
    def named(trials):
        (row,) = spread.spreads(tables.read(metrics(trials)))
        return row.unit.name

    assert named(retrained("searched", ERRORS)) == "search" and named(retrained("shuffled", ERRORS)) == "search and shuffle"
    assert named(retrained("random", ERRORS)) == "genotype" and named(of_one_cell("searched", ERRORS)) == "seed"
    own = {"parent": None, "network": "biodarts", "settings": {"cells": 3}}
    published = [(entry | own, *runs) for entry, *runs in of_one_cell("shuffled", ERRORS)]
    assert named(published) == "assignment"
