"""Jobs, as the workflow runs them: real processes, really killed."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from suite import plan, store
from suite.definition import runs, spec

DEFINITION = """
name: job
about: one short trial
datasets: [digits]
device: cpu
models: {names: [resnet20], rules: [brsf], settings: {epochs: 2, batch_size: 64, holdout: 0.1, selection: best_val}}
attacks: {names: [fgsm, pgd, onepixel], images: 30}
"""


class Job:
    """One trial's two jobs in a folder of their own."""

    def __init__(self, folder, digits, **changes):
        (trial,) = plan.plan(spec.parse(DEFINITION)).trials.values()
        shaping = {key: value for key, value in {**trial.params, **changes}.items() if key != "id"}
        self.folder, self.params = folder, {"id": runs.run_id("trial", shaping), **shaping}
        common = [sys.executable, "-m", "suite.run"]
        checkpoints = ["--data", str(digits), "--checkpoint-seconds", "0"]
        self.evaluation = folder / f"evaluation-{trial.evaluation.id}.h5"
        self.train = [*common, "train", "--params", json.dumps(self.params), "--out", str(folder), *checkpoints]
        attacks = ["--params", json.dumps(trial.evaluation.params), "--trial", str(folder), "--out", str(self.evaluation)]
        self.evaluate = [*common, "evaluate", *attacks, *checkpoints]

    def run(self, command):
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def interrupt(self, command, word, number):
        """Send the signal once the job has printed `word`; return its output and status."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if word in line:
                process.send_signal(number)
                word = "\0"
        return "".join(lines), process.wait()

    def digests(self):
        return [store.digest(self.folder / "train.h5"), store.digest(self.evaluation)]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, digits):
    job = Job(tmp_path_factory.mktemp("undisturbed") / "run", digits)
    for command in (job.train, job.evaluate):
        done = job.run(command)
        assert done.returncode == 0, done.stderr
    return job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_a_killed_job_started_again_ends_with_the_same_bits(number, tmp_path, digits, undisturbed):
    job = Job(tmp_path / "run", digits)
    for command, word in ((job.train, "epoch    1/2"), (job.evaluate, "pgd")):
        output, status = job.interrupt(command, word, number)
        assert status == (-9 if number == signal.SIGKILL else 143), output
        assert list(job.folder.glob("*.checkpoint"))
        done = job.run(command)
        assert done.returncode == 0, done.stderr
        assert "going on after epoch" in done.stdout or "done before" in done.stdout
    assert job.digests() == undisturbed.digests()
    left = {p.name for p in job.folder.iterdir()} - {".lock"}
    assert left == {"train.h5", "weights.pt", job.evaluation.name}


def test_what_a_run_records(undisturbed):
    run = store.read(undisturbed.folder / "train.h5")
    assert run.metrics["test_images"] == 364
    assert run.metrics["train_images"] == 1433 - 141  # a tenth of each class, rounded: nine times 14 and once 15
    assert run.metrics["layers_brsf"] == 20 and run.metrics["layers_bp"] == 0
    assert run.metrics["test_error_of"].startswith("best validation epoch")
    assert len(run.arrays["curves/val_accuracy"]) == 2 == len(run.timings["epoch_seconds"])
    assert run.provenance["threads"] == 1 and "--params" in run.provenance["argv"]
    evaluation = store.read(undisturbed.evaluation)
    ids, clean = evaluation.arrays["attacks/image_ids"], evaluation.arrays["attacks/clean_correct"]
    assert len(set(ids.tolist())) == 30 == len(clean)
    robust = {name: array for name, array in evaluation.arrays.items() if name.endswith("robust_correct")}
    assert len(robust) == 5 and not any((array & ~clean).any() for array in robust.values())
    by_norm = {
        "linf_0.35": [a for name, a in robust.items() if "onepixel" not in name],
        "l0_1": [robust["attacks/onepixel/none/robust_correct"]],
    }
    assert [len(arrays) for arrays in by_norm.values()] == [4, 1]
    for budget, arrays in by_norm.items():
        worst = 100 * sum(map(all, zip(*arrays, strict=True))) / 30
        assert evaluation.metrics[f"worst_case_accuracy_{budget}"] == pytest.approx(worst)


def test_a_finished_run_is_left_alone(undisturbed):
    before = (undisturbed.folder / "train.h5").stat().st_mtime_ns
    done = undisturbed.run(undisturbed.train)
    assert done.returncode == 0 and "finished already" in done.stdout
    assert (undisturbed.folder / "train.h5").stat().st_mtime_ns == before


def test_biotorchs_own_layers_train_and_are_attacked_the_same_way_every_time(tmp_path, digits):
    (trial,) = plan.plan(spec.parse(DEFINITION.replace("epochs: 2", "epochs: 1, backend: biotorch"))).trials.values()
    found = []
    for folder in ("a", "b"):
        job = Job(tmp_path / folder, digits, settings=dict(trial.settings))
        job.evaluate[job.evaluate.index("--params") + 1] = json.dumps(trial.evaluation.params)
        for command in (job.train, job.evaluate):
            done = job.run(command)
            assert done.returncode == 0, done.stderr
        assert store.read(job.folder / "train.h5").metrics["layers_brsf"] == 20
        found.append(job.digests())
    assert found[0] == found[1]


def test_an_entry_of_the_plan_is_its_jobs_parameters(undisturbed):
    (entry,) = plan.plan(spec.parse(DEFINITION)).to_dict()["trials"]
    done = undisturbed.run([*undisturbed.train, "--params", json.dumps(entry)])
    assert done.returncode == 0 and "finished already" in done.stdout


def test_a_run_does_not_take_the_place_of_another(undisturbed, digits):
    other = Job(undisturbed.folder, digits, seed=1)
    assert "holds run digits/resnet20/brsf/seed0" in fails(other, other.train)


def test_attacks_on_other_data_than_a_network_learnt_are_refused(tmp_path, digits, undisturbed):
    from bionas import dataset

    other = tmp_path / "digits.h5"
    dataset.write(other, replace(dataset.read(digits), checksum="sha256:0"))
    assert "not the data" in fails(undisturbed, [*undisturbed.evaluate, "--data", str(other), "--out", str(undisturbed.folder / "e.h5")])


def test_who_comes_second_waits_can_be_stopped_and_goes_on_when_the_first_is_done(tmp_path, digits):
    job = Job(tmp_path / "run", digits)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with store.locked(job.folder):
        second, third = (subprocess.Popen(job.train, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2))
        for waiting in (second, third):
            assert f"process {os.getpid()} on " in waiting.stdout.readline()
        third.terminate()
        assert third.wait(timeout=10) == 143
        assert not list(job.folder.glob("*.h5"))
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0 and "epoch    2/2" in output


def fails(job, command):
    done = job.run(command)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_damaged_weights_are_refused(tmp_path, digits, undisturbed):
    job = Job(tmp_path / "run", digits)
    job.folder.mkdir()
    for name in ("train.h5", "weights.pt"):
        (job.folder / name).write_bytes((undisturbed.folder / name).read_bytes())
    (job.folder / "weights.pt").write_bytes(b"nothing")
    assert "weights.pt: not readable weights" in fails(job, job.evaluate)


def test_weights_of_another_run_are_refused(tmp_path, digits, undisturbed):
    import torch

    job = Job(tmp_path / "run", digits)
    job.folder.mkdir()
    (job.folder / "train.h5").write_bytes((undisturbed.folder / "train.h5").read_bytes())
    weights = torch.load(undisturbed.folder / "weights.pt", weights_only=True)
    weights["linear.bias"] += 1
    torch.save(weights, job.folder / "weights.pt")
    assert "not the weights" in fails(job, job.evaluate)


def test_bad_input_is_one_line(tmp_path, digits):
    import torch

    job = Job(tmp_path / "run", digits)
    assert "no such file" in fails(job, job.evaluate)
    assert "no such data set file" in fails(job, [*job.train, "--data", str(tmp_path / "none.h5")])
    broken = tmp_path / "digits.h5"
    broken.write_bytes(digits.read_bytes()[:-5000])
    assert "python -m data_prep" in fails(job, [*job.train, "--data", str(broken)])
    for params, words in (("{", "not JSON"), ("[]", "allowed: a mapping"), ("{}", "settings"), (json.dumps({"id": 1}), "seed")):
        assert words in fails(job, [*job.train, "--params", params])
    settings = {**job.params["settings"], "lrr": 1}
    assert "settings lrr unknown" in fails(job, Job(tmp_path / "lrr", digits, settings=settings).train)
    assert "these parameters are run" in fails(job, [*job.train, "--params", json.dumps({**job.params, "rules": "fa"})])
    assert "--checkpoint-seconds" in fails(job, [*job.train, "--checkpoint-seconds", "nan"])
    if not torch.cuda.is_available():
        cuda = Job(tmp_path / "cuda", digits, device="cuda")
        assert "device: 'cuda' asked for" in fails(cuda, cuda.train)
    assert not (job.folder / "train.h5").exists()


SEARCHES = """
name: job
about: short searches
datasets: [digits]
device: cpu
search:
  methods: [darts, eg]
  rule_sets: {bio: [usf]}
  settings: {epochs: 2, batch_size: 256, channels: 2, cells: 3, nodes: 1, warmup: 1, restarts: 2, population: 4, generations: 1}
cells: {rules: [searched], settings: {epochs: 1, channels: 4, cells: 3, cutout: 2}}
"""


def search_commands(method, folder, digits):
    planned = plan.plan(spec.parse(SEARCHES))
    (search,) = (s for s in planned.searches.values() if s.method == method)
    (trial,) = (t for t in planned.trials.values() if t.parent == search.id)
    common = [sys.executable, "-m", "suite.run"]
    rest = ["--data", str(digits), "--checkpoint-seconds", "0"]
    searching = [*common, "search", "--params", json.dumps(search.params), "--out", str(folder / "search"), *rest]
    training = [*common, "train", "--params", json.dumps(trial.params), "--out", str(folder / "trial"), *rest]
    return searching, training, folder / "search" / "search.h5"


@pytest.mark.parametrize("method", ["darts", "eg"])
def test_a_search_killed_three_times_ends_with_the_same_bits_and_its_genotype_is_trained(method, tmp_path, digits):
    job = Job(tmp_path, digits)
    whole, training, result = search_commands(method, tmp_path / "whole", digits)
    assert job.run(whole).returncode == 0
    broken, _, again = search_commands(method, tmp_path / "broken", digits)
    checkpoint = again.with_name("search.checkpoint")
    for moment in range(3):
        process = subprocess.Popen(broken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen:  # it has gone on by at least one step
            assert process.poll() is None, moment
            time.sleep(0.01)
        process.kill()
        process.wait()
    done = job.run(broken)
    assert done.returncode == 0 and "going on after epoch" in done.stdout, done.stderr
    assert store.digest(again) == store.digest(result)
    assert "--search: missing" in fails(job, training)
    assert "belongs to" in fails(job, [*training, "--search", str(other_search(tmp_path, result))])
    done = job.run([*training, "--search", str(result)])
    assert done.returncode == 0, done.stderr
    trained = store.read(tmp_path / "whole" / "trial" / "train.h5")
    assert trained.metrics["genotype"] == store.read(result).metrics["genotype"]
    assert trained.metrics["auxiliary"] == "none: images are below 16×16"


def test_a_trial_whose_search_diverged_is_skipped_without_weights_and_so_are_its_attacks(tmp_path, digits, undisturbed):
    job = Job(tmp_path, digits)
    _, training, result = search_commands("darts", tmp_path, digits)
    params = json.loads(training[training.index("--params") + 1])
    store.write(result, store.Run(stage="search", id=params["parent"], params={}, status="diverged"))
    done = job.run([*training, "--search", str(result)])
    assert done.returncode == 0 and "skipped(parent diverged)" in done.stdout
    assert {p.name for p in (tmp_path / "trial").iterdir()} == {".lock", "train.h5"}
    attacks = [*undisturbed.evaluate, "--trial", str(tmp_path / "trial"), "--out", str(tmp_path / "trial/evaluation.h5")]
    assert job.run(attacks).returncode == 0
    statuses = [store.read(tmp_path / "trial" / name).status for name in ("train.h5", "evaluation.h5")]
    assert statuses == ["skipped(parent diverged)", "skipped(parent skipped(parent diverged))"]


def other_search(folder, result):
    path = folder / "other.h5"
    store.write(path, replace(store.read(result), id="digits/other", timings={}, arrays={}))
    return path


def test_a_cutout_that_the_data_do_not_bear_is_refused(tmp_path, digits):
    cells = "cells: {rules: [searched], genotypes: [biodarts], settings: {epochs: 1, channels: 4, cells: 3}}"
    (trial,) = plan.plan(spec.parse(SEARCHES.partition("search:")[0] + cells)).trials.values()
    command = [sys.executable, "-m", "suite.run", "train", "--params", json.dumps(trial.params), "--data", str(digits)]
    assert "cutout: 16 pixels of 8; allowed for digits: 0..4" in fails(Job(tmp_path, digits), [*command, "--out", str(tmp_path)])


def test_a_job_computes_in_float32_and_deterministically_and_writes_no_allocation():
    says = (
        "from suite.jobs import machine; machine.set_up('cpu', 1, 0, lambda: False); import torch; "
        "print(torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory, torch.get_num_threads(), "
        "torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark)"
    )
    ran = subprocess.run([sys.executable, "-c", says], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["2", "False", "1", "False", "False", "False"]


def test_help_needs_no_torch():
    for command in ([], ["train"], ["evaluate"]):
        help = [sys.executable, "-X", "importtime", "-m", "suite.run", *command, "--help"]
        done = subprocess.run(help, capture_output=True, text=True)
        assert done.returncode == 0 and "usage" in done.stdout
        assert "argparse" in done.stderr and "torch" not in done.stderr


def test_collect_refuses_a_missing_a_damaged_and_a_foreign_run(tmp_path, undisturbed):
    from suite.collect import collect

    planned = plan.plan(spec.parse(DEFINITION))
    (trial,) = planned.trials.values()
    out = tmp_path / "metrics.h5"
    with pytest.raises(ValueError, match=r"2 of 2 results are missing .*train: not run yet"):
        collect(planned, tmp_path / "runs", out)
    folder = tmp_path / "runs" / "trial" / trial.id
    folder.parent.mkdir(parents=True)
    folder.symlink_to(undisturbed.folder)
    assert collect(planned, tmp_path / "runs", out) == (2, 0)
    with h5py.File(out) as file:
        assert {f"trial/{trial.id}/train", f"trial/{trial.id}/evaluation"} == set(store.runs(file))
    before = store.digest(out)
    folder.unlink()
    Path(folder).mkdir()
    (folder / "train.h5").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"train\.h5"):
        collect(planned, tmp_path / "runs", out)
    (folder / "train.h5").write_bytes(undisturbed.evaluation.read_bytes())
    with pytest.raises(ValueError, match="holds evaluation"):
        collect(planned, tmp_path / "runs", out)
    assert store.digest(out) == before


TUNED = """
name: job
about: a rate chosen
datasets: [digits]
device: cpu
cells:
  rules: [shuffled]
  genotypes: [biodarts]
  retrainings: 2
  settings: {epochs: 1, batch_size: 256, channels: 4, cells: 3, cutout: 2}
  tune: {lr: [0.02, 0.1, 1000000.0], holdout: 0.2}
"""


def training(trial, folder, digits, *more):
    command = [sys.executable, "-m", "suite.run", "train", "--params", json.dumps(trial.params), "--data", str(digits)]
    return [*command, "--out", str(folder / trial.id), *more]


def result(trial, folder):
    return store.read(folder / trial.id / "train.h5")


def test_a_trial_trains_with_the_rate_that_does_best_on_the_held_out_share_as_if_it_had_been_written(tmp_path, digits):
    job = Job(tmp_path, digits)
    planned = plan.plan(spec.parse(TUNED))
    first, again = planned.trials.values()
    files = [str(tmp_path / id / "train.h5") for id in planned.tuning]
    for tuner in planned.tuning.values():
        assert job.run(training(tuner, tmp_path, digits)).returncode == 0
    tried = {tuner.settings["lr"]: result(tuner, tmp_path) for tuner in planned.tuning.values()}
    assert {run.metrics["train_images"] for run in tried.values()} == {
        1433 - 287
    }  # a fifth of each class, rounded: three times 28 and seven times 29
    assert not any(name.startswith("test_") for run in tried.values() for name in run.metrics.keys() - {"test_images"})
    assert tried[1e6].status == "diverged"
    best = max((0.02, 0.1), key=lambda rate: tried[rate].metrics["val_accuracy"])

    assert "the learning rate depends on run" in fails(job, training(first, tmp_path, digits, "--tuning", *files[1:]))
    for trial in (first, again):
        done = job.run(training(trial, tmp_path, digits, "--tuning", *files))
        assert done.returncode == 0, done.stderr
    trained, retrained = (result(trial, tmp_path) for trial in (first, again))
    assert (trained.metrics["lr"], trained.metrics["lr_on_edge"]) == (best, best == 0.02)
    assert trained.metrics["train_images"] == 1433 and "test_error" in trained.metrics

    written = TUNED.replace("tune: {lr: [0.02, 0.1, 1000000.0], holdout: 0.2}", "").replace("cutout: 2", f"cutout: 2, lr: {best}")
    (plain, _) = plan.plan(spec.parse(written)).trials.values()
    assert job.run(training(plain, tmp_path, digits)).returncode == 0
    assert result(plain, tmp_path).metrics["weights_sha256"] == trained.metrics["weights_sha256"]
    assert not result(plain, tmp_path).metrics.keys() & {"lr", "lr_on_edge"}

    assert retrained.metrics["genotype"] == trained.metrics["genotype"]  # one shuffle, trained twice
    assert retrained.metrics["weights_sha256"] != trained.metrics["weights_sha256"]


def test_a_trial_that_no_rate_trains_is_skipped(tmp_path, digits):
    planned = plan.plan(spec.parse(TUNED))
    (trial, _), job = planned.trials.values(), Job(tmp_path, digits)
    for id, tuner in planned.tuning.items():
        store.write(tmp_path / id / "train.h5", store.Run(stage="train", id=id, params=tuner.params, status="diverged"))
    files = [str(tmp_path / id / "train.h5") for id in planned.tuning]
    done = job.run(training(trial, tmp_path, digits, "--tuning", *files))
    assert done.returncode == 0 and "skipped(no rate of the grid trains it)" in done.stdout
    assert result(trial, tmp_path).status == "skipped(no rate of the grid trains it)"


def test_bounds_are_held_against_trials_and_not_against_what_chose_their_rates(tmp_path):
    from suite.collect import collect

    planned = plan.plan(spec.parse(TUNED + 'expect: {"trial/*": {test_error: {at_most: 50}}}\n'))
    for id, trial in (planned.tuning | planned.trials).items():
        metrics = {"val_accuracy": 50.0} if id in planned.tuning else {"test_error": 40.0}
        store.write(tmp_path / "trial" / id / "train.h5", store.Run("train", id, trial.params, metrics=metrics))
    assert collect(planned, tmp_path, tmp_path / "metrics.h5") == (3 + 2, 0)
    with h5py.File(tmp_path / "metrics.h5") as file:
        verdict = json.loads(file["verdict"].asstr()[()])
    assert [(row["run"], row["kept"]) for row in verdict] == [(f"trial/{id}", True) for id in sorted(planned.trials)]
