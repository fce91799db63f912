"""The rate that a network is trained with, by hand."""

import math

import pytest

from suite.store import Run, rates


def grid(**by_rate):
    """Rates with the held-out accuracies of their runs; None diverged, and "skipped" never ran."""
    tuning, runs = [], {}
    for name, accuracies in by_rate.items():
        ids = [f"{name}/{i}" for i in range(len(accuracies))]
        tuning.append([float(name.replace("lr", "0.")), ids])
        for id, accuracy in zip(ids, accuracies, strict=True):
            status = {None: "diverged", "skipped": "skipped(parent diverged)"}.get(accuracy, "ok")
            runs[id] = Run("train", id, {}, status, {} if status != "ok" else {"val_accuracy": accuracy})
    return rates(tuning, runs)


@pytest.mark.parametrize(
    ("by_rate", "chosen", "on_edge"),
    [
        ({"lr1": [70.0], "lr2": [80.0], "lr3": [75.0]}, 0.2, False),
        ({"lr1": [70.0], "lr2": [80.0], "lr3": [85.0]}, 0.3, True),
        ({"lr1": [90.0], "lr2": [80.0], "lr3": [85.0]}, 0.1, True),
        ({"lr1": [70.0], "lr2": [80.0], "lr3": [80.0]}, 0.2, False),  # a tie: the smaller one
        ({"lr3": [80.0], "lr2": [80.0], "lr1": [70.0]}, 0.2, False),  # in whatever order they stand
        ({"lr1": [80.0, 60.0], "lr2": [71.0, 71.0], "lr3": [69.0, 72.0]}, 0.2, False),  # means 70, 71 and 70.5
        ({"lr1": [50.0, 50.0], "lr2": [90.0, None], "lr3": [10.0, 20.0]}, 0.1, True),  # 50 beats (90 + 0) / 2
        ({"lr1": [50.0, 50.0], "lr2": [90.0, 30.0], "lr3": [None, None]}, 0.2, False),
        ({"lr1": ["skipped", 40.0], "lr2": [10.0, 10.0], "lr3": [1.0, 1.0]}, 0.1, True),
        ({"lr1": [0.0], "lr2": [None]}, 0.1, True),  # to learn nothing is not to diverge
    ],
)
def test_the_best_mean_is_chosen(by_rate, chosen, on_edge):
    found = grid(**by_rate)
    assert (found.chosen, found.on_edge) == (chosen, on_edge)


def test_means_do_not_depend_on_the_order_of_seeds():
    assert grid(lr1=[0.1, 0.2, 0.3]).accuracies[0.1] == grid(lr1=[0.3, 0.1, 0.2]).accuracies[0.1]


def test_an_accuracy_is_the_mean_and_who_diverged_has_none_of_it():
    assert grid(lr1=[70.0, 80.0], lr2=[90.0, None]).accuracies == {0.1: 75.0, 0.2: 45.0}


def test_where_no_rate_trains_a_network_none_is_chosen():
    found = grid(lr1=[None, "skipped"], lr2=[None, None])
    assert found.chosen is None and not found.on_edge and all(map(math.isnan, found.accuracies.values()))


def test_a_missing_run_is_said():
    with pytest.raises(ValueError, match="depends on run lr1/0, which is missing"):
        rates([[0.1, ["lr1/0"]]], {})
