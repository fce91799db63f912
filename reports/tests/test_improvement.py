"""Relative improvement over random genotypes, by hand; and over which ones."""

import re

import pytest

from reports import render, summary
from reports.numbers import improvement, tables
from reports.tests.test_reports import metrics, search, trial  # noqa: F401  # a fixture


def cell(rules, seed, error, method="darts", **settings):
    entry, *runs = trial(rules, seed, error, parent=method)
    entry["settings"] = {"lr": 0.1, **settings}
    entry["id"] += "".join(f"-{word}" for word in settings.values())
    return entry, *(tables.store.Run(run.stage, entry["id"], {}, run.status, run.metrics, run.arrays) for run in runs)


def rows(metrics, trials, searches):  # noqa: F811
    found = improvement.improvements(tables.read(metrics(trials, searches=searches)))
    return [(row.variant.name, row.random.name, row.by_seed) for row in found]


def test_by_hand_on_page_and_in_summary(metrics, capsys):  # noqa: F811
    """Accuracies 90, 84, 88 over 80 each: 12.5, 5 and 10 %; mean 9.17, sd √(43.75 / 3) = 3.82, half-width 4.3027 · 3.82 / √3 = 9.49."""
    trials = [cell("searched", seed, error) for seed, error in enumerate((10.0, 16.0, 12.0))]
    trials += [cell("random", seed, 20.0) for seed in range(3)]
    path = metrics(trials, searches=[search(seed) for seed in range(3)])
    (row,) = improvement.improvements(tables.read(path))
    assert row.by_seed == {0: pytest.approx(12.5), 1: pytest.approx(5), 2: pytest.approx(10)}
    page = render.render(tables.read(path)).partition("Relative improvement")[2]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "digits darts-bio searched darts-bio 3 +9.17 ± 3.82 [-0.32, +18.65]" in words
    summary.main([str(path)])
    assert "| darts-bio, searched | darts-bio | digits | 3 | +9.17 ± 3.82 | [-0.32, +18.65] |" in capsys.readouterr().out


def test_a_method_without_random_genotypes_of_its_own_is_held_against_those_of_its_space(metrics):  # noqa: F811
    trials = [cell("searched", 0, 10.0, "eg"), cell("random", 0, 20.0), cell("random", 0, 60.0, "eg")]
    searches = [search(0), search(0, "eg")]
    assert rows(metrics, trials, searches) == [("eg-bio", "eg-bio", {0: pytest.approx(125)})]
    assert rows(metrics, trials[:2], searches) == [("eg-bio", "darts-bio", {0: pytest.approx(12.5)})]


def test_random_genotypes_of_another_space_or_of_another_training_are_no_measure(metrics):  # noqa: F811
    trials = [cell("searched", 0, 10.0, "eg"), cell("random", 0, 20.0)]
    others = [search(0), search(0, "eg")]
    others[0][0]["rule_set"] = ["bp"]
    assert rows(metrics, trials, others) == []
    longer = [cell("searched", 0, 10.0, "eg", epochs=60), cell("random", 0, 20.0, epochs=6)]
    assert rows(metrics, longer, [search(0), search(0, "eg")]) == []


def test_what_one_of_them_has_no_use_for_is_no_other_training(metrics):  # noqa: F811
    trials = [cell("searched", 0, 10.0), cell("random", 0, 20.0, scale="rms")]
    assert rows(metrics, trials, [search(0)]) == [("darts-bio", "darts-bio", {0: pytest.approx(12.5)})]


def test_pairs_are_of_one_seed(metrics):  # noqa: F811
    trials = [cell("searched", 0, 10.0), cell("searched", 1, 10.0), cell("random", 1, 20.0)]
    ((_, _, by_seed),) = rows(metrics, trials, [search(0), search(1)])
    assert by_seed == {1: pytest.approx(12.5)}
