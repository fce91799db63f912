"""Everything that can be done to a trained trial, as the workflow runs it: other networks' images, analyses, and a kill in between."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bionas import analyses, dataset
from bionas.rules import true_gradient
from suite import plan, store
from suite.definition import spec
from suite.jobs import network

DEFINITION = """
name: evaluations
about: a small cell under two rules
datasets: [digits]
device: cpu
cells: {rules: [bp, fa], genotypes: [biodarts], settings: {epochs: 4, batch_size: 64, channels: 4, cells: 3, cutout: 0, lr: 0.1}}
attacks:
  - {names: [fgsm, {name: square, n_queries: 5}, {name: fgsm, eps: 0.05}], transfer_from: [bp], images: 130, released: true}
  - {names: [{name: cw, steps: 3}], preset: standard, gradients: [true]}
analyses: ANALYSES
"""
NEITHER, ALL = "[weights, gradients]", "[weights, gradients, alignment]"
LABELS = ("fgsm", "fgsm@eps0.05", "square@n_queries5")


def trials(which=ALL):
    return {t.rules: t for t in plan.plan(spec.parse(DEFINITION.replace("ANALYSES", which))).trials.values()}


class Job:
    """The jobs of one trial in a folder of its own."""

    def __init__(self, trial, folder, digits, *sources):
        common = [sys.executable, "-m", "suite.run"]
        rest = ["--data", str(digits), "--checkpoint-seconds", "0"]
        self.folder, self.evaluation = folder, folder / f"evaluation-{trial.evaluation.id}.h5"
        self.train = [*common, "train", "--params", json.dumps(trial.params), "--out", str(folder), *rest]
        what = ["--params", json.dumps(trial.evaluation.params), "--trial", str(folder), "--out", str(self.evaluation)]
        self.evaluate = [*common, "evaluate", *what, *rest, *(["--sources", *map(str, sources)] if sources else [])]

    def run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self, command, word):
        """Kill the job once it has printed `word`."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        said = []
        for line in process.stdout:
            said.append(line)
            if word in line:
                process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "".join(said)

    def fails(self, command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    """Both trials, trained, and the one under FA attacked."""
    folder = tmp_path_factory.mktemp("made")
    jobs = {rules: Job(trial, folder / rules, digits, folder / "bp") for rules, trial in trials().items()}
    for job in jobs.values():
        job.run(job.train)
    jobs["fa"].run(jobs["fa"].evaluate)
    return jobs


def trained(job, content):
    run = store.read(job.folder / "train.h5")
    model = network.build(run.params, content, run.metrics["genotype"])
    network.load_weights(model, network.weights_of(job.folder / "train.h5"), run)
    return model.eval()


def test_images_are_made_on_the_bp_net_through_its_true_gradient_and_given_to_this_one(made, digits):
    """FGSM by hand: x + ε sign(∂L/∂x), clamped."""
    evaluation, content = store.read(made["fa"].evaluation), dataset.read(digits)
    bp, fa = (trained(made[rules], content) for rules in ("bp", "fa"))
    ids = evaluation.arrays["attacks/image_ids"]
    x = (torch.from_numpy(content.test_images[ids]).float() / 255).requires_grad_()
    y = torch.from_numpy(content.test_labels[ids])
    for label, eps in (("fgsm", 0.35), ("fgsm@eps0.05", 0.05)):
        (gradient,) = torch.autograd.grad(F.cross_entropy(bp(x), y), x)
        with torch.no_grad():
            right, after = (fa(images).argmax(1) == y for images in (x, (x + eps * gradient.sign()).clamp(0, 1)))
        found = torch.from_numpy(evaluation.arrays[f"attacks/{label}/from-bp/robust_correct"])
        assert right.sum() > 65 and (found != (right & after)).sum() <= 1  # a network of other batches may round otherwise
        with true_gradient(fa):
            (gradient,) = torch.autograd.grad(F.cross_entropy(fa(x), y), x)
        with torch.no_grad():
            after = fa((x + eps * gradient.sign()).clamp(0, 1)).argmax(1) == y
        assert (torch.from_numpy(evaluation.arrays[f"attacks/{label}/true/robust_correct"]) != (right & after)).sum() <= 1


def test_what_an_evaluation_records(made):
    run = store.read(made["fa"].evaluation)
    attacked = {name.removeprefix("attacks/").rpartition("/")[0] for name in run.arrays if name.endswith("/robust_correct")}
    assert attacked == {
        *(f"{label}/{way}" for label in LABELS[:2] for way in ("from-bp", "rule", "true")),
        "square@n_queries5/none",
        "cw@standard-steps3/true",
    }
    robust = {name: run.arrays[f"attacks/{name}/robust_correct"] for name in attacked}
    clean, distance = run.arrays["attacks/clean_correct"], run.arrays["attacks/cw@standard-steps3/true/distance"]
    assert distance.dtype == np.float32 and (distance[~clean] == 0).all()
    assert (robust["cw@standard-steps3/true"] == (distance > 0.5)).all()
    worst = {
        "linf_0.0314": robust["square@n_queries5/none"],
        "l2_0.5": robust["cw@standard-steps3/true"],
    }
    worst["linf_0.05"] = worst["linf_0.0314"] & np.all([robust[f"fgsm@eps0.05/{way}"] for way in ("from-bp", "rule", "true")], axis=0)
    worst["linf_0.35"] = worst["linf_0.05"] & np.all([robust[f"fgsm/{way}"] for way in ("from-bp", "rule", "true")], axis=0)
    names = {name for name in run.metrics if name.startswith("worst_case")}
    assert names == {f"worst_case_accuracy_{budget}" for budget in worst}
    assert all(run.metrics[f"worst_case_accuracy_{b}"] == pytest.approx(100 * array.mean()) for b, array in worst.items())
    cosine = run.arrays["attacks/gradient_cosine"]
    assert cosine.shape == (130,) and run.metrics["gradient_cosine"] == pytest.approx(cosine.mean())
    assert {name for name in run.metrics if name.startswith("released")} == {f"released_accuracy_{label}" for label in LABELS}
    planned = trials()["fa"].evaluation
    assert set(planned.metrics) == {name for name in run.metrics if "accuracy" in name} | {"gradient_cosine"}
    assert run.params["sources"] == {"bp": trials()["bp"].id} and "left_out" not in run.metrics


def test_analyses_of_the_trained_network_lie_beside_the_attacks(made, digits):
    run, content = store.read(made["fa"].evaluation), dataset.read(digits)
    by_hand = analyses.weights(trained(made["fa"], content))
    for key, array in by_hand.items():
        stored = run.arrays[f"analyses/weights/{key}"]
        same = np.allclose(stored, array) if array.dtype.kind == "f" else np.array_equal(stored, array)  # jobs keep to fewer instructions
        assert same, key
    gradients = {name.rpartition("/")[2]: array for name, array in run.arrays.items() if name.startswith("analyses/gradients/")}
    used = ~np.isnan(gradients["norm_true"])
    assert used.any() and (gradients["variance_rule"][used] > 0).all() and set(gradients["rules"]) == {"bp", "fa"}


def test_alignment_is_watched_from_before_the_first_epoch_on_and_moves_nothing(made, digits, tmp_path):
    run, content = store.read(made["fa"].folder / "train.h5"), dataset.read(digits)
    found = {name.rpartition("/")[2]: array for name, array in run.arrays.items() if name.startswith("analyses/alignment/")}
    untrained = network.build(run.params, content, run.metrics["genotype"])
    (layer, *_) = [layer for layer in untrained.modules() if getattr(layer, "rule", "") == "fa"]
    B, W = layer.feedback().flatten().double(), layer.weight.detach().flatten().double()
    angle = torch.rad2deg(torch.acos(B @ W / (B.norm() * W.norm())))
    at = list(found["rules"]).index("fa")
    assert found["angle"].shape == (4 + 1, len(found["names"])) and found["angle"][0, at] == pytest.approx(float(angle))
    assert (found["angle"][0, at] != found["angle"][1:, at]).all()  # W has moved, B has not

    alone = Job(trials(NEITHER)["fa"], tmp_path / "alone", digits)
    alone.run(alone.train)
    unwatched = store.read(alone.folder / "train.h5")
    assert unwatched.id != run.id and unwatched.metrics["weights_sha256"] == run.metrics["weights_sha256"]
    assert not any(name.startswith("analyses/") for name in unwatched.arrays)


def test_killed_while_it_is_watched_and_while_it_is_attacked_it_ends_with_the_same_bits(made, digits, tmp_path):
    job = Job(trials()["fa"], tmp_path / "fa", digits, made["bp"].folder)
    job.kill(job.train, "epoch    2/4")
    assert "going on after epoch" in job.run(job.train)
    job.kill(job.evaluate, "through from-bp")
    assert "done before" in job.run(job.evaluate)
    for name in ("train.h5", job.evaluation.name):
        assert store.digest(job.folder / name) == store.digest(made["fa"].folder / name), name
    assert not list(job.folder.glob("*.checkpoint"))


def test_whose_images_they_are_is_checked(made, digits, tmp_path):
    fa, bp = trials()["fa"], trials()["bp"]
    job = Job(fa, made["fa"].folder, digits)
    again = [*job.evaluate, "--out", str(tmp_path / "e.h5")]
    assert f"--sources: {bp.id} is missing; images from bp are made on it" in job.fails(again)
    assert f"--sources: {bp.id} is missing" in job.fails([*again, "--sources", str(made["fa"].folder)])

    other = shutil.copytree(made["bp"].folder, tmp_path / "bp")
    weights = torch.load(other / "weights.pt", weights_only=True)
    weights["classifier.bias"] += 1
    torch.save(weights, other / "weights.pt")
    assert f"not the weights that {bp.id} was trained to" in job.fails([*again, "--sources", str(other)])


def test_where_the_other_network_came_to_nothing_the_other_attacks_run_and_it_is_said(made, digits, tmp_path):
    bp = store.read(made["bp"].folder / "train.h5")
    store.write(tmp_path / "bp/train.h5", replace(bp, status="diverged", timings={}, arrays={}))
    job = Job(trials()["fa"], made["fa"].folder, digits)
    job.run([*job.evaluate, "--out", str(tmp_path / "e.h5"), "--sources", str(tmp_path / "bp")])
    whole, run = store.read(made["fa"].evaluation), store.read(tmp_path / "e.h5")
    assert run.metrics["left_out"] == "from-bp: source diverged"
    assert {name for name in whole.arrays if name not in run.arrays} == {f"attacks/{one}/from-bp/robust_correct" for one in LABELS[:2]}
    assert all(np.array_equal(run.arrays[name], whole.arrays[name], equal_nan=whole.arrays[name].dtype.kind == "f") for name in run.arrays)


def test_parameters_of_an_evaluation_that_make_no_sense_are_one_line(made, digits):
    params = trials()["fa"].evaluation.params
    job = Job(trials()["fa"], made["fa"].folder, digits)
    for wrong, words in (
        ({"preset": "paper"}, "allowed: a mapping with attacks, images, numerics"),
        ({"attacks": []}, "not those of an evaluation"),
        ({"attacks": {"x": {"attack": "fgsm"}}}, "not those of an evaluation"),
        ({"attacks": {"x": {"attack": "fgms", "parameters": {}, "gradients": ["rule"]}}}, "did you mean 'fgsm'"),
        ({"attacks": {"x": {"attack": "fgsm", "parameters": {"epss": 1}, "gradients": ["rule"]}}}, "did you mean 'eps'"),
        ({"attacks": {"x": {"attack": "fgsm", "parameters": {"eps": 1}, "gradients": ["from-fa"]}}}, "x: gradients from-fa unknown"),
        ({"released": ["apgd"]}, "released: 'apgd' is unknown"),
        ({"analyses": ["weight"]}, "did you mean 'weights'"),
    ):
        assert words in job.fails([*job.evaluate, "--params", json.dumps({**params, **wrong})])
