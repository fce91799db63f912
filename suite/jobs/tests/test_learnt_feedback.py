"""A rule whose feedback learns, as the workflow runs it: chosen by a search, trained, killed and gone on with, watched, and attacked."""

import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from bionas import dataset
from bionas.rules import feedback_owners
from suite import plan, store
from suite.definition import spec
from suite.jobs import network

DEFINITION = """
name: learnt
about: Kolen–Pollack through every stage
datasets: [digits]
device: cpu
search:
  methods: [darts]
  rule_sets: {kp: [kp]}
  settings: {epochs: 1, batch_size: 256, channels: 2, cells: 3, nodes: 1}
cells: {rules: [searched], settings: {epochs: 1, channels: 4, cells: 3, cutout: 0, aux_weight: 0.0}}
models: {names: [resnet20], rules: [kp], settings: {epochs: 3, batch_size: 64, weight_decay: 0.01}}
attacks: {names: [fgsm], images: 30}
analyses: [alignment]
"""


def run(*args, killed_at=""):
    process = subprocess.Popen(
        [sys.executable, "-m", "suite.run", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if killed_at and killed_at in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == (-signal.SIGKILL if killed_at else 0), "".join(said)


@pytest.fixture(scope="module")
def planned():
    return plan.plan(spec.parse(DEFINITION))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.h5"
    subprocess.run([sys.executable, "-m", "data_prep", "digits", "--out", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits, planned):
    """ResNet-20's folder, trained and attacked without a disturbance, and both commands."""
    folder = tmp_path_factory.mktemp("resnet20")
    (trial,) = (trial for trial in planned.trials.values() if trial.network == "resnet20")
    train = ["train", "--params", json.dumps(trial.params), "--data", digits, "--checkpoint-seconds", "0", "--out"]
    run(*train, folder)
    evaluation = folder / f"evaluation-{trial.evaluation.id}.h5"
    run("evaluate", "--params", json.dumps(trial.evaluation.params), "--trial", folder, "--data", digits, "--out", evaluation)
    return folder, train, evaluation


def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path, trained):
    folder, train, _ = trained
    run(*train, tmp_path / "again", killed_at="epoch    2/3")
    assert list((tmp_path / "again").glob("*.checkpoint"))
    run(*train, tmp_path / "again")
    assert store.digest(tmp_path / "again/train.h5") == store.digest(folder / "train.h5")


def test_its_feedback_is_recorded_apart_and_saved_with_the_weights_as_training_left_it(trained, digits):
    folder, *_ = trained
    found = store.read(folder / "train.h5")
    assert found.metrics["num_feedback"] == found.metrics["weights_kp"] and found.metrics["layers_kp"] == 20
    model = network.build(found.params, dataset.read(digits), None)
    drawn = {name: owner.feedback().clone() for name, owner in feedback_owners(model)}
    network.load_weights(model, folder / "weights.pt", found)
    for name, owner in feedback_owners(model):
        start, end = ((owner.weight.detach() - B).norm() for B in (drawn[name], owner.feedback()))
        assert end < start and not torch.equal(owner.feedback(), drawn[name])


def test_its_angle_to_the_weights_is_watched_and_closes(trained):
    """From a right angle; the exponent of the distance is the sum of the rates times the decay, ten times over for a momentum of 0.9."""
    folder, *_ = trained
    angles = store.read(folder / "train.h5").arrays["analyses/alignment/angle"]
    assert angles.shape == (4, 20) and angles[0].mean() == pytest.approx(90, abs=3)
    assert (np.diff(angles.mean(1)) < 0).all()


def test_it_is_attacked_through_its_own_gradient_and_through_the_true_one(trained):
    *_, evaluation = trained
    found = store.read(evaluation)
    assert found.status == "ok" and {"attacks/fgsm/rule/robust_correct", "attacks/fgsm/true/robust_correct"} <= found.arrays.keys()
    assert 0 < found.metrics["gradient_cosine"] < 1


def test_a_search_chooses_it_and_what_is_found_is_trained(tmp_path, digits, planned):
    (search,) = planned.searches.values()
    (trial,) = (trial for trial in planned.trials.values() if trial.network != "resnet20")
    run("search", "--params", json.dumps(search.params), "--data", digits, "--out", tmp_path / "search")
    found = store.read(tmp_path / "search/search.h5")
    assert found.status == "ok" and found.metrics["num_feedback"] > 0
    run(
        "train",
        "--params",
        json.dumps(trial.params),
        "--data",
        digits,
        "--search",
        tmp_path / "search/search.h5",
        "--out",
        tmp_path / "trial",
    )
    made = store.read(tmp_path / "trial/train.h5")
    assert made.status == "ok" and math.isfinite(made.metrics["test_error"])
    assert ":kp" in made.metrics["genotype"] or not made.metrics.get("layers_kp")
