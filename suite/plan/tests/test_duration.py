"""What a plan takes: the cost model against runs made from known coefficients, run files as they lie, and the words."""

import dataclasses
import json
import random

import numpy as np
import pytest

from bionas.space import PUBLISHED
from suite import plan, store
from suite.definition import price, spec
from suite.definition.price import Price
from suite.plan import __main__, duration, ended, seconds
from suite.plan.duration import Machine
from suite.plan.seconds import Job, Speed

TWO, DEFAULT = Machine(2), Speed()
DEFINITION = """
name: toy
about: every kind of run
datasets: [digits]
device: cpu
search: {methods: [darts, eg, random], rule_sets: {bio: [fa, usf]}, settings: {epochs: 4, batch_size: 64, channels: 4, cells: 3, warmup: 2}}
cells: {rules: [searched], genotypes: [biodarts], settings: {epochs: EPOCHS, batch_size: 64, channels: 8, cells: 3}}
models: {names: [resnet20], rules: [bp, fa], settings: {epochs: EPOCHS, batch_size: 32}}
attacks: {names: [pgd], images: 20}
"""


def planned(epochs=3, more="", text=DEFINITION):
    return plan.plan(spec.parse(text.replace("EPOCHS", str(epochs)) + more))


def wall(planned, speed=DEFAULT, machine=TWO):
    return duration.duration(planned.searches, planned.trials, speed, machine).wall


# ---------------------------------------------------------------------------------------------- the model


def job(calls, numbers, flops, kind="train", gpu=False, threads=1):
    return Job(kind, gpu, threads, Price(calls=calls, numbers=numbers, flops=flops))


def random_jobs(count, seed, most=1.0, **more):
    draw = random.Random(seed)
    return [job(*(round(most * 10 ** draw.uniform(low, low + 3)) for low in (3, 8, 9)), **more) for _ in range(count)]


def test_known_coefficients_are_recovered():
    def takes(job):
        return 0.6 + 300e-6 * job.price.calls + 9e-9 * job.price.numbers + job.price.flops / 30e9

    speed = seconds.fitted([(job, takes(job)) for job in (*random_jobs(80, seed=0), *[job(10, 10, 10)] * 4)])
    for other in random_jobs(20, seed=1, most=10):  # ten times as long
        assert speed.seconds(other) == pytest.approx(takes(other), rel=0.05)
    assert speed.seconds(job(0, 0, 0)) == pytest.approx(0.6, rel=0.1)


def test_a_slow_machine_is_slow_at_what_has_not_run_yet():
    ran = random_jobs(9, seed=0)
    speed, default = seconds.fitted([(job, 3 * Speed().seconds(job)) for job in ran]), Speed()
    for other in (*random_jobs(3, seed=1), *random_jobs(3, seed=1, kind="eg"), *random_jobs(3, seed=1, kind="evaluation")):
        assert speed.seconds(other) == pytest.approx(3 * default.seconds(other))
    assert speed.seconds(job(1e4, 1e9, 1e12, gpu=True)) == default.seconds(job(1e4, 1e9, 1e12, gpu=True))


def test_what_small_runs_cannot_tell_stays_as_it_was():
    """Runs that are all start-up say nothing of arithmetic, though they took half as long again."""
    speed = seconds.fitted([(job(1, 1, 1), 0.2), (job(1, 1, 1), 0.2), (job(2, 2, 2), 0.3)])
    assert speed.seconds(job(0, 0, 5e12)) == pytest.approx(Speed().seconds(job(0, 0, 5e12)), rel=0.15)


def test_one_disturbed_run_does_not_count_as_it_is():
    runs = [(job, Speed().seconds(job)) for job in random_jobs(20, seed=0)]
    slept = [(runs[0][0], 3600 * runs[0][1])]  # a laptop's lid was closed
    other = job(1e5, 1e10, 1e11)
    assert seconds.fitted(runs + slept).seconds(other) == pytest.approx(Speed().seconds(other), rel=0.3)


def test_no_factor_is_negative():
    speed = seconds.fitted([(job, random.Random(i).uniform(0.1, 30)) for i, job in enumerate(random_jobs(12, seed=2))])
    assert all((factors >= 0).all() for factors in speed.factors.values())


def test_threads_share_numbers_and_arithmetic_but_no_calls():
    assert Speed().seconds(job(1000, 1e9, 1e12, threads=4)) == pytest.approx(
        Speed().seconds(job(1000, 0, 0)) + (Speed().seconds(job(0, 1e9, 1e12)) - Speed().seconds(job(0, 0, 0))) / 4
    )


def test_an_unknown_search_method_counts_as_one_that_mixes():
    assert Speed().seconds(job(1000, 1e9, 1e10, kind="noise")) == Speed().seconds(job(1000, 1e9, 1e10, kind="darts"))


# ---------------------------------------------------------------------------------------------- a plan


def test_more_epochs_take_longer_and_many_take_in_proportion():
    few, some, many, most = (wall(planned(epochs)) for epochs in (1, 10, 1000, 2000))
    assert few < some < many < most == pytest.approx(2 * many, rel=0.05)


def test_the_demo_is_told_as_it_was_measured():
    """411 s on two quiet cores of the machine that the defaults come from; other sizes within a factor of 1.5, too."""
    demo, tiny = (plan.load("benchmarks/demo.yaml", size) for size in ("full", "tiny"))
    assert 411 / 1.5 < wall(demo) < 411 * 1.5
    assert wall(tiny) < wall(demo) / 4


def test_many_jobs_share_the_cores_and_none_is_faster_than_the_longest_chain():
    found = planned(10)
    taken = duration.duration(found.searches, found.trials, Speed(), Machine(1))
    assert taken.wall == pytest.approx(taken.cores + duration.WHOLE)
    assert wall(found, machine=Machine(2)) == pytest.approx(taken.cores / 2 + duration.WHOLE)
    chain = wall(found, machine=Machine(10_000))
    alone = [duration.duration(found.searches, {id: trial}, Speed(), Machine(10_000)).wall for id, trial in found.trials.items()]
    assert chain == max(alone) < wall(found, machine=Machine(2))


def test_trying_rates_takes_time_and_comes_before_the_training():
    text = "name: toy\nabout: x\ndatasets: [digits]\ndevice: cpu\nmodels: {names: [resnet20], rules: [bp], settings: {epochs: 9}TUNE}\n"
    plain, tuned = (planned(text=text.replace("TUNE", tune)) for tune in ("", ", tune: {lr: [0.1, 0.2, 0.3], holdout: 0.2}"))
    one, many = ([wall(found, machine=Machine(cores)) - duration.WHOLE for found in (plain, tuned)] for cores in (1, 100))
    assert one[1] > 3 * one[0]  # three tries on four fifths of the images, and the training
    assert one[0] == many[0] and 1.5 * many[0] < many[1] < 2 * many[0]  # the tries at once, then the training


def test_a_gpu_is_shared_by_as_many_jobs_as_the_environment_says():
    text = DEFINITION.replace("device: cpu", "device: auto")
    alone, shared = (
        duration.duration((p := planned(500, text=text)).searches, p.trials, Speed(), Machine(64, 1, shares)) for shares in (1, 4)
    )
    assert alone.gpus == pytest.approx(4 * shared.gpus) and alone.wall > 2 * shared.wall


def test_this_machine_has_the_gpus_that_jobs_see(monkeypatch):
    monkeypatch.setattr("suite.jobs.gpu.visible", lambda: ["GPU-1", "GPU-2"])
    monkeypatch.setenv("BIONAS_JOBS_PER_GPU", "16")
    assert (Machine.here().gpus, Machine.here().shares) == (2, 16)

    def fails():
        raise OSError("nvidia-smi fails")

    monkeypatch.setattr("suite.jobs.gpu.visible", fails)
    monkeypatch.setenv("BIONAS_JOBS_PER_GPU", "several")  # the job says so in its own line
    assert (Machine.here().gpus, Machine.here().shares) == (0, 1)


# ---------------------------------------------------------------------------------------------- runs that ended here


def write_all(folder, found, factor=2.0, **more):
    """Write every run of a plan as if it had taken `factor` times what the defaults say."""
    genotype = PUBLISHED["biodarts"].to_json()
    taken = {}

    def write(file, stage, run, params, job, metrics):
        taken[file] = factor * Speed().seconds(job)
        timings = {"seconds": taken[file], "peak_memory_mib": 1.0}
        whole = {"stage": stage, "id": run.id, "params": params, "metrics": metrics, "timings": timings, "provenance": {"device": "cpu"}}
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        store.write(folder / file, store.Run(**(whole | more)))

    for search in found.searches.values():
        job = seconds.of_search(search, gpu=False)
        looked_at = {"images_trained": job.price.images, "images_judged": 0}
        write(f"search/{search.id}/search.h5", "search", search, search.params, job, looked_at)
    for trial in found.trials.values():
        each = price.network(trial, None)[0]
        job = seconds.of_training(trial, each, gpu=False)
        metrics = {"train_images": 1433, "genotype": genotype}
        write(f"trial/{trial.id}/train.h5", "train", trial, trial.params, job, metrics)
        job = seconds.of_evaluation(trial.evaluation, trial, each, gpu=False)
        params = {"trial": trial.id, **trial.evaluation.params}
        file = f"trial/{trial.id}/evaluation-{trial.evaluation.id}.h5"
        attacked = {"gradient_cosine": 0.5} if trial.evaluation.switchable else {}
        write(file, "evaluation", trial, params, job, {"clean_accuracy": 100.0, **attacked})
    return taken


def without_a_parent(found):
    """Leave out trials of searches, whose genotype nobody knows before."""
    return dataclasses.replace(found, trials={id: trial for id, trial in found.trials.items() if trial.parent is None})


def test_runs_tell_their_work_and_what_it_took(tmp_path):
    found = without_a_parent(planned())
    taken = write_all(tmp_path, found)
    speed = seconds.fitted(ended.ended(tmp_path))
    assert speed.runs == len(taken) == 3 + 2 * 3
    assert {kind for _, kind in speed.factors} == {"darts", "eg", "random", "train", "evaluation"}
    for factors in speed.factors.values():
        assert factors == pytest.approx(np.full(4, 2.0))
    before = duration.duration(found.searches, found.trials, Speed(), TWO)
    after = duration.duration(found.searches, found.trials, speed, TWO)
    around = 9 * duration.AROUND
    assert after.cores - around == pytest.approx(2 * (before.cores - around)) and (before.known, after.known) == (0.0, 1.0)


def test_a_run_that_was_killed_and_went_on_took_all_of_it(tmp_path):
    write_all(tmp_path, without_a_parent(planned()))
    (file,) = tmp_path.glob("trial/*/resnet20/fa/*/train.h5")
    run = store.read(file)
    store.write(file, dataclasses.replace(run, timings={"seconds": 5.0, "epoch_seconds": [40.0, 50.0, 4.0]}))
    assert 94.0 in [taken for _, taken in ended.ended(tmp_path)]


def test_what_says_nothing_of_this_machine_is_passed_over(tmp_path):
    found = without_a_parent(planned())
    write_all(tmp_path, found)
    every = sum(1 for _ in ended.ended(tmp_path))
    (fa,) = tmp_path.glob("trial/*/resnet20/fa/*/train.h5")
    whole = store.read(fa)
    for other in (
        dataclasses.replace(whole, status="diverged"),
        dataclasses.replace(whole, provenance={"device": "NVIDIA H100 for 67 of 100 epochs, then cpu"}),
        dataclasses.replace(whole, metrics={**whole.metrics, "train_images": 20}),  # a stand-in for the data set
        dataclasses.replace(whole, params={"dataset": "digits"}),
        dataclasses.replace(whole, params={**whole.params, "network": "of-yesterday"}),
        dataclasses.replace(whole, timings={}),
    ):
        store.write(fa, other)
        found = sum(1 for _ in ended.ended(tmp_path))
        assert every - 2 <= found < every, other  # its attacks may need it
    fa.write_bytes(b"half a file")
    assert sum(1 for _ in ended.ended(tmp_path)) == every - 2
    fa.unlink()
    assert sum(1 for _ in ended.ended(tmp_path)) == every - 2


def test_of_many_runs_some_of_each_stage_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(ended, "MOST", 4)
    write_all(tmp_path, without_a_parent(planned(more="seeds: [0, 1, 2, 3, 4, 5, 6]\n")))
    kinds = [job.kind for job, _ in ended.ended(tmp_path)]
    assert 2 <= kinds.count("train") <= 4 and 2 <= kinds.count("evaluation") <= 4 and len(kinds) <= 12


# ---------------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        (0.4, "10 seconds"),
        (37.2, "37 seconds"),
        (89, "89 seconds"),
        (91, "2 minutes"),
        (580, "10 minutes"),
        (560, "9 minutes"),
        (3600, "60 minutes"),
        (5400, "2 hours"),
        (3 * 86_400, "3 days"),
        (129.6 * 86_400, "130 days"),
        (27.4 * 365.25 * 86_400, "27 years"),
    ],
)
def test_a_time_is_a_small_number_of_a_large_unit(taken, words):
    assert duration.in_words(taken) == words
    assert duration.in_words(taken, "core-") == words.replace(" ", " core-")


def test_how_far_to_trust_it_is_said():
    found, one = without_a_parent(planned()), without_a_parent(planned(300))
    nothing = duration.say(found.searches, found.trials, Speed(), TWO)
    assert nothing.endswith("a guess until the first run has ended here") and "\n" not in nothing
    assert "second" in nothing or "minute" in nothing
    kinds = [("darts", 100.0), ("eg", 100.0), ("random", 100.0), ("train", 100.0), ("evaluation", 100.0)]
    speed = Speed(longest={(False, kind): taken for kind, taken in kinds}, runs=84)
    assert duration.say(found.searches, found.trials, speed, TWO).endswith("within a factor of 1.5, by 84 runs that ended here")
    short = Speed(longest={(False, "train"): 3.0}, runs=1)
    assert duration.say(one.searches, one.trials, short, TWO).endswith(
        "a rough guess by 1 run that ended here, since most of it is of other kinds or much longer"
    )


def test_where_a_gpu_would_be_taken_and_there_is_none_both_are_told():
    text = DEFINITION.replace("device: cpu", "device: auto")
    found = planned(text=text)
    here, there = duration.say(found.searches, found.trials, Speed(), TWO).splitlines()
    assert "on 2 cores (" in here and "on 1 GPU (" in there and "a guess" in there
    (line,) = duration.say(found.searches, found.trials, Speed(), Machine(16, 2)).splitlines()
    assert "on 2 GPUs (" in line and "GPU-" in line


def test_the_command_says_it_and_json_stays_the_plan_alone(tmp_path, capsys):
    __main__.main(["demo", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert "a guess until the first run has ended here" in said and "device-hours" not in said
    __main__.main(["demo", "--runs", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plan.load("benchmarks/demo.yaml").to_dict()))
