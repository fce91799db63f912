"""Kendall's τ between a supernet's order and training's: by hand, and of the pairs that belong together."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports import render, summary
from reports.numbers import ranking, tables
from reports.tests.test_reports import metrics, search, trial  # noqa: F401  # a fixture


def genotype(i):
    """The i-th of some genotypes, as runs write them."""
    cell = [["max_pool_3x3", 0], [f"sep_conv_{3 + 2 * (i % 2)}x{3 + 2 * (i % 2)}:{('fa', 'usf', 'brsf', 'frsf')[i // 2]}", 1]]
    return json.dumps({"normal": cell, "reduce": cell})


def judged(seed, accuracies):
    """A search whose supernet judged as many genotypes."""
    entry, run = search(seed)
    arrays = {"ranking/genotypes": [genotype(i) for i in range(len(accuracies))], "ranking/accuracies": np.array(accuracies, float)}
    return entry, replace(run, arrays={**run.arrays, **arrays})


def trained(seed, errors, rules=("searched", "uninformed", "random", "fa", "usf"), again=0, **settings):
    """Trials of its genotypes, in that order, under as many assignments; None is a training that went wrong."""
    found = []
    for i, (rule, error) in enumerate(zip(rules, errors, strict=False)):
        entry, train, evaluation = trial(rule, seed + 1000 * again, error or 0.0, parent="darts", status="ok" if error else "diverged")
        entry |= {"parent": f"digits/darts-bio/seed{seed}-0", "settings": {"lr": 0.1, **settings}}
        entry |= {"of_seed": seed} if again else {}
        for word in settings.values():
            entry["id"] += f"-{word}"
        runs = (replace(run, id=entry["id"]) for run in (replace(train, metrics={**train.metrics, "genotype": genotype(i)}), evaluation))
        found.append((entry, *runs))
    return found


def rows(metrics, searches, trials):  # noqa: F811
    return ranking.rankings(tables.read(metrics(trials, searches=searches)))


def test_one_swap_in_four_by_hand(metrics):  # noqa: F811
    """Errors 40, 20, 30, 10 of what the supernet gives 50, 60, 70, 80: of six pairs one is turned round, so (5 − 1) / 6."""
    (row,) = rows(metrics, [judged(0, [50, 60, 70, 80])], trained(0, [40.0, 20.0, 30.0, 10.0]))
    assert row.pairs == {0: [(50, 60), (60, 80), (70, 70), (80, 90)]}
    assert row.taus == {0: pytest.approx(4 / 6)} and row.genotypes == "4" and row.words == "1 seed: no interval"


def test_ties_are_allowed_for_by_hand(metrics):  # noqa: F811
    """One tie on one side: five pairs of the same order, over √(5 · 6)."""
    (row,) = rows(metrics, [judged(0, [50, 60, 60, 80])], trained(0, [40.0, 30.0, 20.0, 10.0]))
    assert row.taus[0] == pytest.approx(5 / math.sqrt(30))


def test_of_a_genotype_that_was_trained_again_it_is_the_mean(metrics):  # noqa: F811
    again = trained(0, [10.0], rules=["searched"], again=1)  # 40 and 10: 25, beside 30 and 20
    (row,) = rows(metrics, [judged(0, [50, 60, 70])], [*trained(0, [40.0, 30.0, 20.0]), *again])
    assert row.pairs[0] == [(50, 75), (60, 70), (70, 80)] and row.taus[0] == pytest.approx(1 / 3)


def test_pairs_are_of_one_search_and_one_seed_and_of_trainings_that_ended_well(metrics):  # noqa: F811
    """The same genotypes of another seed, of another search, or on other data are no partners; neither is what diverged."""
    other_search = trained(0, [1.0, 2.0, 3.0, 4.0])
    for entry, *_ in other_search:
        entry |= {"parent": "digits/eg-bio/seed0-0", "network": "eg-bio"}
    moved = trained(0, [1.0, 2.0, 3.0, 4.0], place="moved")
    for entry, *_ in moved:
        entry["dataset"] = "elsewhere"
    for i, (entry, *runs) in enumerate(other_search):
        entry["id"] = entry["id"].replace("darts-bio", "eg-bio")
        other_search[i] = (entry, *(replace(run, id=entry["id"]) for run in runs))
    trials = [*trained(0, [40.0, 30.0, 20.0, None]), *trained(1, [1.0, 2.0, 3.0, 4.0]), *other_search, *moved]
    (row,) = rows(metrics, [judged(0, [50, 60, 70, 80]), search(1)], trials)
    assert row.pairs == {0: [(50, 60), (60, 70), (70, 80)]} and row.judged == {0: 4}


def test_trainings_by_other_settings_are_ranked_apart(metrics):  # noqa: F811
    long = trained(0, [10.0, 20.0, 30.0], epochs=60)
    short = trained(0, [30.0, 20.0, 10.0], epochs=6)
    short[1][0]["settings"]["scale"] = "rms"  # of one rule alone, and no other way to be trained
    first, second = rows(metrics, [judged(0, [50, 60, 70])], [*long, *short])
    assert (first.told_by, second.told_by) == ("epochs 60", "epochs 6") and (first.taus, second.taus) == ({0: -1}, {0: 1})


def test_too_few_pairs_have_no_tau_and_say_why(metrics):  # noqa: F811
    (row,) = rows(metrics, [judged(0, [50, 60, 70])], trained(0, [40.0, 20.0]))
    assert row.taus == {} and row.words == "not computed: of 3 genotypes judged, 2 were trained, too; 3 are needed" and row.genotypes == "2"
    (row,) = rows(metrics, [judged(0, [50, 60, 70])], [])
    assert "0 were trained" in row.words
    (row,) = rows(metrics, [judged(0, [50, 50, 50])], trained(0, [40.0, 20.0, 10.0]))
    assert row.taus == {} and "the same accuracy" in row.words


ORDERS = {1.0: [3.0, 2.0, 1.0], 1 / 3: [3.0, 1.0, 2.0], -1 / 3: [2.0, 1.0, 3.0], -1.0: [1.0, 2.0, 3.0]}  # errors, by their τ


@pytest.mark.parametrize(
    ("taus", "words"),
    [
        ([1.0, 1.0, 1 / 3, 1.0, 1.0], "of two networks, the supernet puts the better one first more often than not"),
        ([-1.0, -1.0, -1 / 3, -1.0, -1.0], "of two networks, the supernet puts the worse one first more often than not"),
        ([1.0, -1.0, 1 / 3, -1 / 3, 1 / 3], "not told apart from an order by chance"),
        ([1.0, 1.0, 1 / 3, 1.0], "4 seeds: no claim"),
        ([1.0, 1.0, 1.0, 1.0, 1.0], "the same in every seed: no claim"),
        ([1.0, 1 / 3], "2 seeds: no interval"),
    ],
)
def test_what_it_says_over_seeds(metrics, taus, words):  # noqa: F811
    """The interval is scipy's, as far as a τ can go."""
    searches = [judged(seed, [50, 60, 70]) for seed in range(len(taus))]
    trials = [one for seed, tau in enumerate(taus) for one in trained(seed, ORDERS[tau])]
    (row,) = rows(metrics, searches, trials)
    assert list(row.taus.values()) == pytest.approx(taus) and row.words == words
    if len(set(taus)) > 1 and len(taus) > 2:
        ends = stats.t.interval(0.95, len(taus) - 1, np.mean(taus), stats.sem(taus))
        assert row.interval == pytest.approx((max(ends[0], -1), min(ends[1], 1)))
    else:
        assert row.interval is None


def test_page_and_summary_show_it(metrics, capsys):  # noqa: F811
    searches = [judged(seed, [50, 60, 70]) for seed in range(3)]
    path = metrics([one for seed, tau in enumerate((1.0, 1 / 3, -1 / 3)) for one in trained(seed, ORDERS[tau])], searches=searches)
    page = render.render(tables.read(path))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("rank networks as training")[2]))
    # mean 1/3, sd 2/3, half-width 4.3027 · (2/3) / √3 = 1.656
    assert "darts-bio digits 3 3 +0.33 ± 0.67 [-1.00, +1.00] 3 seeds: no claim 0: +1.00, 1: +0.33, 2: -0.33" in text
    summary.main([str(path)])
    assert "| darts-bio | digits | 3 | 3 | +0.33 ± 0.67 | [-1.00, +1.00] | 3 seeds: no claim |" in capsys.readouterr().out


def test_searches_that_were_not_asked_for_it_have_no_section(metrics):  # noqa: F811
    path = metrics(trained(0, [40.0, 20.0, 10.0]), searches=[search(0)])
    assert ranking.rankings(tables.read(path)) == []
    assert "Kendall" not in render.render(tables.read(path)) + summary.summary(tables.read(path))
