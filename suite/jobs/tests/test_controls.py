"""Controls, as the workflow trains them: what a trial makes of its search's file, and what it records."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bionas import catalog
from bionas.space import Genotype, SearchSpace, derive, edges, random_genotype
from suite import plan, store
from suite.definition import cost, spec
from suite.jobs import task
from suite.jobs.search import _multiply_adds

DEFINITION = """
name: controls
about: one short search and what is trained beside it
datasets: [digits]
device: cpu
search:
  {methods: [darts], rule_sets: {bio: [fa, usf]}, ranking: true, settings: {epochs: 1, batch_size: 256, channels: 2, cells: 3, nodes: 2}}
cells: {rules: [searched, shuffled, uninformed, random], settings: {epochs: 1, channels: 4, cells: 3, cutout: 0, aux_weight: 0.0}}
"""


def job(*args):
    done = subprocess.run([sys.executable, "-m", "suite.run", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def planned():
    return plan.plan(spec.parse(DEFINITION))


@pytest.fixture(scope="module")
def searched(tmp_path_factory, digits, planned):
    folder = tmp_path_factory.mktemp("search")
    (search,) = planned.searches.values()
    job("search", "--params", json.dumps(search.params), "--data", digits, "--out", folder)
    return folder / "search.h5"


def trial(planned, rules):
    return next(t for t in planned.trials.values() if t.rules == rules).params


def test_each_control_is_trained_like_the_searched_cell(searched, planned, digits, tmp_path):
    found = {}
    for rules in catalog.ASSIGNMENTS:
        folder = tmp_path / rules
        job("train", "--params", json.dumps(trial(planned, rules)), "--data", digits, "--search", searched, "--out", folder)
        found[rules] = store.read(folder / "train.h5")
    assert {run.status for run in found.values()} == {"ok"} and all("test_error" in run.metrics for run in found.values())
    assert found["random"].metrics["genotype"] == random_genotype(SearchSpace(["fa", "usf"]), 2, "trial 0").to_json()
    shuffled = found["shuffled"].metrics
    before, after = (Genotype.from_json(found[rules].metrics["genotype"]) for rules in ("searched", "shuffled"))
    carriers = before.carriers()
    changed = sum(getattr(before, kind)[i] != getattr(after, kind)[i] for kind, i in carriers)
    assert (shuffled["carriers"], shuffled["rules_changed"]) == (len(carriers), changed)
    # Held against what the built networks have: a rule's weights that moved to the other one.
    moved = abs(shuffled["weights_fa"] - found["searched"].metrics["weights_fa"])
    ruled = shuffled["weights_fa"] + shuffled["weights_usf"]
    assert shuffled["weights_moved"] == pytest.approx(moved / ruled)
    assert "carriers" not in found["searched"].metrics
    judged = store.read(searched).arrays["ranking/genotypes"]
    assert {found[rules].metrics["genotype"] for rules in ("searched", "uninformed", "random")} <= set(judged)
    assert len(store.read(searched).arrays["ranking/accuracies"]) == len(judged)


def test_uninformed_is_derived_from_the_searchs_last_alpha(searched, planned, tmp_path):
    """A file whose α says one thing as surely as can be, and another one whose last α says nothing else than its first."""
    run = store.read(searched)
    space = SearchSpace(["fa", "usf"])
    assert [str(c) for c in space.candidates] == list(run.arrays["alphas/candidates"])
    last = np.zeros((2, len(edges(2)), len(space)), dtype=np.float32)
    last[1, :, 1] = 1.0  # max_pool_3x3, which every stride allows
    arrays = {**run.arrays, "alphas/normal": last, "alphas/reduce": last}
    store.write(tmp_path / "sure.h5", replace(run, arrays=arrays))
    sure = {kind: last[1].tolist() for kind in ("normal", "reduce")}
    assert {str(c) for _, genes in derive(sure, space, 2).cells() for c, _ in genes} == {"max_pool_3x3"}
    taken = set()
    for seed in range(20):
        found = task.of({**trial(planned, "uninformed"), "seed": seed}, tmp_path / "sure.h5", [])
        taken |= {str(c) for _, genes in Genotype.from_json(found.genotype).cells() for c, _ in genes}
    assert {f"sep_conv_3x3:{rule}" for rule in ("fa", "usf")} < taken


def test_of_a_search_that_diverged_only_the_random_genotype_is_trained(searched, planned, tmp_path):
    run = store.read(searched)
    metrics = {name: value for name, value in run.metrics.items() if name != "genotype"}
    store.write(tmp_path / "search.h5", replace(run, status="diverged", metrics=metrics))
    for rules in catalog.ASSIGNMENTS:
        if rules == "random":
            assert task.of(trial(planned, rules), tmp_path / "search.h5", []).genotype
        else:
            with pytest.raises(task.Skipped, match=r"^parent diverged$"):
                task.of(trial(planned, rules), tmp_path / "search.h5", [])


def test_skips_of_the_public_code_take_no_part_in_its_shuffles(searched, planned, tmp_path):
    cell = Genotype.from_json(
        json.dumps(
            {
                "normal": [["sep_conv_3x3:usf", 0], ["sep_conv_3x3:fa", 1]] * 2,
                "reduce": [["skip_connect:usf", 0], ["skip_connect:usf", 1]] * 2,
            }
        )
    )
    run = store.read(searched)
    store.write(tmp_path / "search.h5", replace(run, metrics={**run.metrics, "genotype": cell.to_json()}))
    params = trial(planned, "shuffled")
    for skip_rules, carriers in ((True, 8), (False, 4)):
        settings = {**params["settings"], "skip_rules": skip_rules}
        told = task.of({**params, "settings": settings}, tmp_path / "search.h5", []).metrics
        assert (told["carriers"], told["rules_changed"]) == (carriers, 4)


def test_a_search_says_what_an_edge_offers_at_most(searched):
    """none, two pools and eight convs beside one skip: plain at stride 1, uSF's at stride 2. Both stand in α's columns, none has both."""
    run = store.read(searched)
    assert run.metrics["candidates"] == 12 and len(run.arrays["alphas/candidates"]) == 13


@pytest.mark.parametrize(("protocol", "at_most"), [("paper", 22), ("repaired", 22)])
def test_the_papers_edge_offers_22(protocol, at_most):
    space = SearchSpace(("fa", "usf", "brsf", "frsf"), protocol)
    assert max(sum(space.allowed(stride)) for stride in (1, 2)) == at_most


def test_multiply_adds_of_a_search_by_hand(searched):
    """1,433 images: halves of 717 and 716 or so; each weight step and α step three passes, and one to validate."""
    run = store.read(searched)
    each = cost.supernet(SearchSpace(["fa", "usf"]), cost.Images(1, 8, 10), 2, 3, 2).flops
    trained, judged = run.metrics["images_trained"], run.metrics["images_judged"]
    assert trained + judged == pytest.approx(3 * 1433 / 2, abs=10)
    assert run.metrics["multiply_adds"] == (3 * trained + judged) * each
    size = {"channels": 2, "cells": 3, "nodes": 2}
    space = SearchSpace(["fa", "usf"], none=False)
    path = _multiply_adds({"trained": 2, "judged": 1}, space, False, cost.Images(1, 8, 10), size)
    assert path == 7 * cost.mean_network(space, 2, cost.Images(1, 8, 10), 2, 3).flops < 7 * each / 4
