"""Analyses in the report: numbers by hand from small arrays, equation 9's bounds, and a section only where there is something to show."""

import json
import math
import re

import h5py
import numpy as np
import pytest

from reports import render
from reports.charts import analyses as analysis_charts
from reports.numbers import analyses, tables, transfers
from reports.numbers.statistics import Summary
from reports.tests.test_reports import without_scripts
from suite import store

EDGES = np.linspace(-2, 2, 5)
THREE = {"names": ["stem", "cells.0.a", "cells.0.b"], "sizes": [100, 300, 600]}


def gradients(rules, variance_rule, **changes):
    """Stored gradients of three layers."""
    arrays = THREE | {"rules": rules, "variance_rule": variance_rule, "variance_true": [1.0, 1.0, 1.0]}
    arrays |= {"norm_rule": [3.0, 4.0, 0.0], "norm_true": [3.0, 4.0, 12.0], "bias": [0.0, 1.0, 1.0], "cosine": [1.0, 0.5, 0.0]}
    arrays |= {"delta_rule": [1e-3, 1e-2, 1e-1], "delta_true": [1e-1, 1e-2, 1e-3]}
    return {key: np.array(value, dtype=object if key in ("names", "rules") else float) for key, value in (arrays | changes).items()}


def weights(rules, variance):
    arrays = THREE | {"rules": rules, "variance": variance, "mean": [0.0, 1.0, 0.0], "kurtosis": [-1.2, 0.0, 1.0], "edges": EDGES}
    arrays["histogram"] = [[0, 50, 50, 0], [0, 0, 150, 150], [150, 150, 150, 150]]
    return {key: np.array(value, dtype=object if key in ("names", "rules") else float) for key, value in arrays.items()}


def alignment(rules, angles):
    """A row an epoch, the first one before training; names and rules once."""
    numbers = {key: np.array(angles, dtype=float) for key in ("angle", "ratio", "gradient_angle")}
    return {"names": np.array(THREE["names"], dtype=object), "rules": np.array(rules, dtype=object)} | numbers


def trial(rules, seed=0, error=10.0, evaluation=None, train=None, metrics=None, status="ok", of_seed=None, network="darts-bio"):
    """One trial's plan entry and its two runs; `evaluation` and `train` are {analysis: arrays}."""
    id = f"digits/{network}/{rules}/seed{seed}-0000000{seed}"
    entry = {"id": id, "dataset": "digits", "network": network, "parent": f"digits/{network}/seed0-0", "rules": rules, "seed": seed}
    entry |= {"settings": {"lr": 0.1}, "threads": 1, "protocols": ["repaired"], "overrides": [], "evaluation": None}
    entry |= {} if of_seed is None else {"of_seed": of_seed}
    stored = {f"analyses/{name}/{key}": array for name, arrays in (evaluation or {}).items() for key, array in arrays.items()}
    watched = {f"analyses/{name}/{key}": array for name, arrays in (train or {}).items() for key, array in arrays.items()}
    curves = {f"curves/{column}": np.array([2.0, 1.0]) for column in ("lr", "train_loss", "train_accuracy")}
    found = {"test_error": error, "genotype": "{}"} if status == "ok" else {}
    trained = store.Run("train", id, {}, status, found, curves | watched)
    return entry, trained, store.Run("evaluation", id, {}, "ok", {"clean_accuracy": 90.0, **(metrics or {})}, stored)


@pytest.fixture
def metrics(tmp_path):
    def make(*trials):
        path = tmp_path / "metrics.h5"
        with h5py.File(path, "w") as file:
            for entry, trained, evaluation in trials:
                for stage, run in (("train", trained), ("evaluation", evaluation)):
                    store.write_group(file.create_group(f"trial/{entry['id']}/{stage}"), run)
            plan = {"benchmark": "demo", "about": "a", "datasets": ["digits"], "trials": [entry for entry, *_ in trials], "searches": []}
            file["plan"] = json.dumps(plan | {"skipped": [], "comparisons": []})
            file["definition"], file["verdict"] = "about: a", "[]"
        return path

    return make


def only_block(path):
    (block,) = tables.read(path).blocks
    return block


def page_of(path):
    return render.render(tables.read(path))


MIXED = ["bp", "fa", "usf"]  # of 100, 300 and 600 weights: a third of those that follow a rule follow FA


def test_a_networks_variance_is_the_mean_over_its_weights_without_layers_that_it_does_not_use(metrics):
    found = gradients(MIXED, [8.0, 4.0, math.nan], variance_true=[2.0, 2.0, math.nan])
    (row,) = analyses.rows(only_block(metrics(trial("searched", evaluation={"gradients": found}))))
    assert row.variance_rule.mean == pytest.approx((100 * 8 + 300 * 4) / 400) and row.variance_true.mean == 2
    assert row.noise.mean == pytest.approx(math.sqrt(100 * 8 + 300 * 4) / 5)  # the mean gradient's norm is √(3² + 4²)


def test_bias_and_cosine_are_those_of_all_layers_in_one_vector(metrics):
    """(3, 0 | 4, 0 | 12) true; by the rule the first layer is right, the second one at 60°, the third one 0."""
    true = np.array([3, 0, 4, 0, 12])
    rule = np.array([3, 0, 2, 2 * math.sqrt(3), 0])
    (row,) = analyses.rows(only_block(metrics(trial("searched", evaluation={"gradients": gradients(MIXED, [1.0, 1.0, 1.0])}))))
    assert row.bias.mean == pytest.approx(np.linalg.norm(rule - true) / np.linalg.norm(true))
    assert row.cosine.mean == pytest.approx(rule @ true / np.linalg.norm(rule) / np.linalg.norm(true))


def test_variance_of_weights_is_that_of_all_of_them(metrics):
    """By numpy, of ones and zeros around each layer's mean: 100 weights of variance 1, 300 of mean 1, 600 of variance 4."""
    everything = np.concatenate([[-1.0, 1.0] * 50, [1.0] * 300, [-2.0, 2.0] * 300])
    (row,) = analyses.rows(only_block(metrics(trial("searched", evaluation={"weights": weights(MIXED, [1.0, 0.0, 4.0])}))))
    assert row.weight_variance.mean == pytest.approx(everything.var())
    assert row.kurtosis.mean == pytest.approx((100 * -1.2 + 600) / 1000)


def test_a_seed_counts_once_and_only_if_it_ended_well(metrics):
    def of(variance):
        return {"gradients": gradients(MIXED, [variance] * 3)}

    path = metrics(
        trial("searched", 0, evaluation=of(1.0)),
        trial("searched", 1, evaluation=of(3.0), of_seed=0),
        trial("searched", 2, evaluation=of(4.0)),
        trial("searched", 3, evaluation=of(99.0), status="diverged"),
    )
    (row,) = analyses.rows(only_block(path))
    assert (row.variance_rule.mean, row.variance_rule.n) == (3.0, 2)  # of 2 and 4


def equation_nine(*mixed):
    """A mixed network beside the same one under FA (6 and 9) and under uSF (3 and 1); its own variance is given by seed and layer."""
    trials = [trial("searched", seed, evaluation={"gradients": gradients(MIXED, variance)}) for seed, variance in enumerate(mixed)]
    for rule, variances in (("fa", (6.0, 9.0)), ("usf", (3.0, 1.0))):
        for seed, variance in enumerate(variances):
            alone = gradients(["bp", rule, rule], [100.0, variance, variance])
            trials.append(trial(rule, seed, evaluation={"gradients": alone}))
    return trials


def test_equation_9_by_hand(metrics):
    """Over the weights that follow a rule, a third of them FA: (6 + 2 · 3) / 3 = 4 of seed 0, (9 + 2 · 1) / 3 = 11/3 of seed 1."""
    (mixture,) = analyses.mixtures(only_block(metrics(*equation_nine([100.0, 3.0, 1.5], [100.0, 3.0, 3.0]))))
    assert mixture.equation == pytest.approx({0: 4.0, 1: 11 / 3}) and mixture.least == {0: 3.0, 1: 1.0} and mixture.best == "usf"
    assert mixture.measured == pytest.approx({0: 2.0, 1: 3.0}) and mixture.below == 1
    fa, usf = mixture.parts
    assert (fa.rule, fa.share.mean, fa.here.mean, fa.alone.mean) == ("fa", pytest.approx(1 / 3), 3.0, 7.5)
    assert (usf.rule, usf.share.mean, usf.here.mean, usf.alone.mean) == ("usf", pytest.approx(2 / 3), 2.25, 2.0)


def test_equation_9_lies_between_the_single_rules_whatever_they_are(metrics):
    stream = np.random.default_rng(0)
    for _ in range(5):
        trials = [trial("searched", evaluation={"gradients": gradients(MIXED, stream.uniform(0, 9, 3))})]
        alone = {rule: float(stream.uniform(0, 9)) for rule in ("fa", "usf")}
        for rule, variance in alone.items():
            trials.append(trial(rule, evaluation={"gradients": gradients(["bp", rule, rule], [0.0, variance, variance])}))
        (mixture,) = analyses.mixtures(only_block(metrics(*trials)))
        assert min(alone.values()) == pytest.approx(mixture.least[0])
        assert min(alone.values()) <= mixture.equation[0] <= max(alone.values())


def test_the_page_says_what_equation_9_cannot_do(metrics):
    page = page_of(metrics(*equation_nine([100.0, 3.0, 1.5], [100.0, 3.0, 3.0])))
    assert "by that equation mixing cannot bring the variance below the best single rule's" in page
    # least: 3 and 1; equation: 4 and 11/3; measured: 2 and 3
    assert "(uSF on average) has 2.00 ± 1.41, the equation gives 3.83 ± 0.24, and the mixed network itself has 2.50 ± 0.71" in page
    assert "below the best single rule's in 1 of 2 networks" in page


def test_without_single_rule_networks_there_is_nothing_to_compare_with(metrics):
    page = page_of(metrics(trial("searched", evaluation={"gradients": gradients(MIXED, [1.0, 1.0, 1.0])})))
    assert "have to be compared with are not all here" in page and "on average) has" not in page


def test_networks_under_one_rule_are_no_mixtures(metrics):
    assert not analyses.mixtures(only_block(metrics(*equation_nine())))


def test_rank_correlation_wants_five_variants(metrics):
    """Errors 1 to 5 against variances in the same order, but for one pair: Spearman's ρ is 1 − 6 · 2 / (5 · 24) = 0.9."""
    variances = {"bp": 1.0, "fa": 2.0, "usf": 4.0, "brsf": 3.0, "frsf": 5.0}
    trials = [
        trial(rule, error=error, evaluation={"gradients": gradients(["bp", rule, rule], [variance] * 3)})
        for error, (rule, variance) in enumerate(variances.items(), 1)
    ]
    assert analyses.rank_correlations(analyses.rows(only_block(metrics(*trials)))) == {"gradients": pytest.approx(0.9)}
    assert "+0.90 for gradients." in page_of(metrics(*trials))
    assert not analyses.rank_correlations(analyses.rows(only_block(metrics(*trials[:4]))))


def test_transfers_make_a_matrix_an_attack(metrics):
    def of(**found):
        return {f"robust_accuracy_{name}": value for name, value in found.items()}

    label = "pgd@standard-n_restarts5"
    path = metrics(
        trial(
            "usf", metrics={f"robust_accuracy_{label}_from-fa": 60.0, f"robust_accuracy_{label}_true": 10.0, "robust_accuracy_x_true": 1.0}
        ),
        trial("searched", metrics={f"robust_accuracy_{label}_from-bp": 70.0, f"robust_accuracy_{label}_from-fa": 80.0}),
        trial("bp", metrics=of(fgsm_true=5.0)),
    )
    (transfer,) = transfers.transfers(only_block(path))
    assert (transfer.attack, transfer.sources) == (label, ("bp", "fa"))
    rows = {variant.rules: [cell.mean for cell in cells] for variant, cells in transfer.rows}
    assert rows == {"usf": pytest.approx([10.0, math.nan, 60.0], nan_ok=True), "searched": pytest.approx([math.nan, 70, 80], nan_ok=True)}
    page = page_of(path)
    assert f"Do attacks carry over? {label}" in page and ">80.0</td>" in page and "What learning made" in page


def test_an_attacks_name_is_escaped(metrics):
    page = without_scripts(page_of(metrics(trial("fa", metrics={"robust_accuracy_<script>_from-bp": 1.0}))))
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_a_report_without_analyses_has_no_section(metrics):
    page = page_of(metrics(trial("fa"), trial("bp")))
    assert "#analyses" not in page and "What learning made" not in page


@pytest.mark.parametrize("which", ["weights", "gradients", "alignment", "all"])
def test_each_analysis_is_shown_by_itself(metrics, which):
    evaluation = {"weights": weights(MIXED, [1.0, 2.0, 3.0]), "gradients": gradients(MIXED, [1.0, 2.0, 3.0])}
    train = {"alignment": alignment(MIXED, [[0.0, 90.0, 30.0], [0.0, 60.0, 40.0]])}
    evaluation = evaluation if which == "all" else {which: evaluation[which]} if which in evaluation else {}
    page = page_of(metrics(trial("searched", evaluation=evaluation, train=train if which in ("alignment", "all") else {})))
    titles = {"weights": "Weights by layer", "gradients": "Norm of δ by depth", "alignment": "Alignment by epoch"}
    assert {name for name, title in titles.items() if title in page} == (set(titles) if which == "all" else {which})
    assert '<a href="#analyses">' in page


def test_every_figure_says_what_it_shows_and_is_the_same_every_time(metrics):
    evaluation = {"weights": weights(MIXED, [1.0, 2.0, 3.0]), "gradients": gradients(MIXED, [1.0, 2.0, 3.0])}
    path = metrics(trial("searched", evaluation=evaluation, train={"alignment": alignment(MIXED, [[0.0, 90.0, 30.0]])}))
    page = page_of(path)
    section = page[page.index('id="analyses"') : page.index('id="provenance"')]
    figures = re.findall(r"<figure>.*?</figure>", section, re.DOTALL)
    assert len(figures) == 6 and all(figure.count("<figcaption>") == 1 for figure in figures)
    assert page == page_of(path)


def test_ids_are_unique_across_tables(metrics):
    found = {"gradients": gradients(MIXED, [1.0, 2.0, 3.0])}
    path = metrics(trial("searched", evaluation=found), trial("searched", evaluation=found, network="eg-bio"))
    ids = re.findall(r'\bid="([^"]+)"', page_of(path))
    assert len(ids) == len(set(ids))


def test_alignment_is_the_mean_over_layers_that_follow_a_rule():
    arrays = alignment(MIXED, [[0.0, 90.0, 30.0], [0.0, 60.0, math.nan]])
    assert analysis_charts._mean_of_learning(arrays, "angle") == pytest.approx([60.0, 60.0])  # BP's 0° would only pull


def test_layers_of_a_cell_are_one_place_by_their_geometric_mean():
    arrays = gradients(MIXED, [1.0, 1.0, 1.0])
    assert analysis_charts._along(arrays, "delta_rule", analysis_charts._geometric) == pytest.approx([1e-3, math.sqrt(1e-3)])
    assert analysis_charts._along(arrays, "cosine", np.ma.mean) == pytest.approx([1.0, 0.25])


def test_a_layer_that_is_not_used_has_no_place():
    arrays = gradients(MIXED, [1.0, 1.0, 1.0], norm_true=[math.nan, 1.0, 1.0], cosine=[math.nan, 1.0, 0.0])
    assert analysis_charts._along(arrays, "cosine", np.ma.mean) == pytest.approx([0.5])


def test_a_layer_without_a_gradient_leaves_a_gap():
    arrays = gradients(MIXED, [1.0, 1.0, 1.0], cosine=[math.nan, 1.0, 0.0])
    assert analysis_charts._along(arrays, "cosine", np.ma.mean) == pytest.approx([math.nan, 0.5], nan_ok=True)


def test_a_dead_network_has_no_ratio_and_a_page_all_the_same(metrics):
    dead = {key: [0.0, 0.0, 0.0] for key in ("norm_rule", "norm_true", "variance_true", "delta_rule", "delta_true")}
    dead |= {key: [math.nan] * 3 for key in ("bias", "cosine")}
    path = metrics(trial("fa", evaluation={"gradients": gradients(["bp", "fa", "fa"], [0.0, 0.0, 0.0], **dead)}))
    (row,) = analyses.rows(only_block(path))
    assert [summary.n for summary in (row.variance_rule, row.noise, row.bias, row.cosine)] == [1, 0, 0, 0]
    page = without_scripts(page_of(path))
    assert "What learning made" in page and not re.search(r"\bnan\b", page)


def test_quantiles_by_the_histogram():
    """Halves of the first layer lie evenly in [−1, 0] and [0, 1]; the third one is even over [−2, 2]."""
    arrays = weights(MIXED, [1.0, 1.0, 1.0])
    assert analysis_charts._quantiles(arrays, 0.25) == pytest.approx([-0.5, 0.5, -1.0])
    assert analysis_charts._quantiles(arrays, 0.95) == pytest.approx([0.9, 1.9, 1.8])


def test_small_numbers_are_written_with_a_power_of_ten():
    assert (
        analyses.scientific(Summary(1.234e-6, 4.5e-7, 3)) == "(1.2 ± 0.5)·10⁻⁶"
        and analyses.scientific(Summary(5e-10, math.nan, 1)) == "5.0·10⁻¹⁰"
    )
    assert (
        analyses.scientific(Summary(0.0284, 0.0001, 2)) == "0.0284 ± 0.0001" and analyses.scientific(Summary(12.34, math.nan, 1)) == "12.3"
    )
    assert analyses.scientific(Summary(0.0, 0.0, 2)) == "0.00 ± 0.00" and analyses.scientific(Summary.of([])) == "–"
