"""Comparisons: named before anything runs, resolved to data sets, protocols and seeds; a mistake is one line."""

import pytest

from suite import plan
from suite.definition import spec
from suite.definition.tests.test_spec import GOOD
from suite.plan.__main__ import main

CELLS = """
name: moved
about: cells that were searched here and elsewhere
datasets: [digits, fashion_mnist]
seeds: [0, 1, 2]
device: cpu
search: {methods: [darts, random], rule_sets: {bio: [fa, usf]}}
cells: {rules: [searched, shuffled], train_on: [digits]}
models: {names: [resnet20], rules: [bp, usf]}
comparisons: COMPARISONS
"""


def planned(comparisons, text=CELLS):
    return plan.plan(spec.parse(text.replace("COMPARISONS", comparisons)))


def test_one_entry_is_a_comparison_with_each_on_every_data_set_where_both_are_trained():
    found = planned("[{of: resnet20/bp, against: [resnet20/usf], about: What uSF costs}]").comparisons
    assert [(c.of, c.against, c.dataset, c.metric, c.about, c.seeds) for c in found] == [
        ("resnet20/bp", "resnet20/usf", dataset, "test_error", "What uSF costs", (0, 1, 2)) for dataset in ("digits", "fashion_mnist")
    ]
    found = planned("[{of: darts-bio/searched, against: [darts-bio/shuffled, resnet20/bp]}]").comparisons
    assert [(c.against, c.dataset) for c in found] == [("darts-bio/shuffled", "digits"), ("resnet20/bp", "digits")]


def test_a_cell_that_was_moved_has_another_name_than_one_that_was_searched_here():
    moved, own = "darts-bio@fashion_mnist/searched", "darts-bio/searched"
    (found,) = planned(f"[{{of: {own}, against: [{moved}]}}]").comparisons
    assert (found.of, found.against) == (own, moved)
    trials = planned("[]").trials
    assert {moved, own} <= {trial.name for trial in trials.values()}
    assert all(f"digits/{trial.name}/seed{trial.seed}" in id for id, trial in trials.items() if trial.dataset == "digits")


def test_one_entry_is_a_comparison_under_every_protocol_unless_they_share_their_runs():
    """Under `paper` uSF has no scale, so it is another run; BP and FA have none to begin with."""
    text = GOOD.replace("device:", "protocols: [repaired, paper]\ndevice:").replace("[bp, fa]", "[bp, fa, usf]")
    found = planned("", text + "comparisons: [{of: resnet20/bp, against: [resnet20/fa, resnet20/usf]}]").comparisons
    assert [(c.against, c.protocols) for c in found] == [
        ("resnet20/fa", ("repaired", "paper")),
        ("resnet20/usf", ("repaired",)),
        ("resnet20/usf", ("paper",)),
    ]


def test_the_plan_holds_them_and_no_run_knows_of_them():
    without, with_one = planned("[]"), planned("[{of: resnet20/bp, against: [resnet20/usf], metric: test_loss}]")
    assert without.trials.keys() == with_one.trials.keys() and without.to_dict()["comparisons"] == []
    first = with_one.to_dict()["comparisons"][0]
    assert first == {
        "dataset": "digits",
        "protocols": ("repaired",),
        "of": "resnet20/bp",
        "against": "resnet20/usf",
        "metric": "test_loss",
        "about": "",
        "seeds": (0, 1, 2),
    }


def test_tiny_compares_nothing():
    text = CELLS.replace("COMPARISONS", "[{of: random-bio/searched, against: [darts-bio@fashion_mnist/searched]}]")
    assert not plan.plan(plan.cut(spec.parse(text))).comparisons


MISTAKES = {
    "a name of nothing": (
        "[{of: resnet20/bq, against: [resnet20/usf]}]",
        ["comparisons.0.of", "'resnet20/bq'", "did you mean 'resnet20/bp'"],
    ),
    "against nothing": (
        "[{of: resnet20/bp, against: [resnet20/fa]}]",
        ["comparisons.0.against.0", "'resnet20/fa'", "allowed: resnet20/bp, resnet20/usf"],
    ),
    "without rules": ("[{of: darts-bio, against: [resnet20/bp]}]", ["comparisons.0.of", "'darts-bio'", "darts-bio/searched"]),
    "with itself": ("[{of: resnet20/bp, against: [resnet20/bp]}]", ["comparisons.0.against.0", "itself"]),
    "nowhere together": (
        "[{of: darts-bio@digits/searched, against: [resnet20/bp]}]",
        ["comparisons.0.against.0", "'resnet20/bp'", "nowhere", "'darts-bio@digits/searched'"],
        CELLS.replace("train_on: [digits]", "train_on: [cifar10]"),
    ),
    "an unknown metric": (
        "[{of: resnet20/bp, against: [resnet20/usf], metric: test_eror}]",
        ["comparisons.0.metric", "did you mean 'test_error'"],
    ),
    "twice": (
        "[{of: resnet20/bp, against: [resnet20/usf]}, {of: resnet20/usf, against: [resnet20/bp]}]",
        ["comparisons.1.against.0", "twice"],
    ),
    "an unknown key": ("[{of: resnet20/bp, with: [resnet20/usf]}]", ["comparisons.0", "unknown key 'with'", "against"]),
    "against nobody": ("[{of: resnet20/bp, against: []}]", ["comparisons.0.against", "empty"]),
    "one alone": ("[{of: resnet20/bp}]", ["comparisons.0", "'against' is missing"]),
    "several settings": (
        "[{of: biodarts/searched, against: [biodarts/fa]}]",
        ["comparisons.0.against.0", "'biodarts/searched' on digits", "several settings: epochs"],
        CELLS.replace(
            "cells: {rules: [searched, shuffled], train_on: [digits]}",
            "cells: [{genotypes: [biodarts], rules: [searched, fa]}, {genotypes: [biodarts], rules: [searched], settings: {epochs: 9}}]",
        ),
    ),
    "nothing trained": (
        "[{of: darts-bio/searched, against: [random-bio/searched]}]",
        ["comparisons", "no trials"],
        CELLS.replace("cells: {rules: [searched, shuffled], train_on: [digits]}\nmodels: {names: [resnet20], rules: [bp, usf]}\n", ""),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_where_and_what_is_allowed(mistake):
    comparisons, words, *text = MISTAKES[mistake]
    with pytest.raises(ValueError) as error:
        planned(comparisons, *text)
    line = str(error.value)
    assert "\n" not in line and [word for word in words if word not in line] == [], line


def test_a_metric_that_one_side_alone_has_is_a_mistake():
    """BP is not attacked through its rule, whose gradient is the true one."""
    text = GOOD + "comparisons: [{of: resnet20/fa, against: [resnet20/bp], metric: METRIC}]"
    with pytest.raises(ValueError, match=r"comparisons\.0\.metric: 'robust_accuracy_fgsm_rule' is unknown; allowed: test_error"):
        planned("", text.replace("METRIC", "robust_accuracy_fgsm_rule"))
    assert planned("", text.replace("METRIC", "robust_accuracy_fgsm_true")).comparisons


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("[0, 1]", "2 comparisons, each with too few seeds for an interval, which takes 3"),
        # By the integral of suite/tests/test_power.py at 0.05 / 2: 4.6248, and below 2.0500.
        (
            "[0, 1, 2]",
            "2 of them corrected together (Holm): with 3 seeds a difference is seen if it is 4.6 times its own standard deviation; that",
        ),
        ("[0, 1, 2, 3, 4]", "with 5 seeds a difference is seen if it is 2.1 times its own standard deviation\n"),
    ],
)
def test_the_plan_says_what_so_many_seeds_can_see(seeds, words, tmp_path, capsys):
    text = CELLS.replace("COMPARISONS", "[{of: resnet20/bp, against: [resnet20/usf]}]").replace("[0, 1, 2]", seeds)
    (tmp_path / "moved.yaml").write_text(text)
    main([str(tmp_path / "moved.yaml")])
    printed = capsys.readouterr().out
    assert words in printed and "darts-bio@fashion_mnist" in printed
