"""The workflow, run by Snakemake for real in a folder of its own."""

import hashlib
import html
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suite import plan, store

ROOT = Path(__file__).parents[2]
DEFINITION = """
name: small
about: the shortest way through every stage
datasets: [digits]
device: cpu
search:
  methods: [random]
  rule_sets: {sf: [usf, frsf]}
  settings: {epochs: 1, batch_size: 256, channels: 2, cells: 3, nodes: 1, candidates: 2}
cells: {rules: [shuffled], settings: {epochs: 1, channels: 4, cells: 3, cutout: 2}}
models: {names: [resnet20], rules: [fa], settings: {epochs: 1, batch_size: 128}}
attacks: {names: [fgsm], images: 5}
expect: {"trial/digits/resnet20/*": {test_error: {at_most: LIMIT}}}
"""


def command(folder, *args):
    return [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--directory", str(folder), *args]


def snakemake(folder, *args):
    return subprocess.run(command(folder, *args), capture_output=True, text=True, timeout=300, cwd=folder)


def wait_for(file):
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} does not appear"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "small.yaml").write_text(DEFINITION.replace("LIMIT", "100"))
    done = snakemake(folder, "--config", "benchmark=small.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_one_command_goes_from_nothing_to_the_report(finished):
    assert "<svg" in (finished / "results/small/report.html").read_text()
    assert "1 of 1 bounds kept" in (finished / "results/small/check.txt").read_text()
    logs = {p.relative_to(finished / "logs").parts[0] for p in (finished / "logs").rglob("*.log")}
    assert logs == {"dataset", "search", "trial", "small"}
    (training,) = (finished / "logs/trial/digits/resnet20").rglob("train.log")
    assert re.search(r"^epoch +1/1  lr 0\.10000  loss +\d", training.read_text(), re.MULTILINE)


def test_the_same_again_has_nothing_to_do(finished):
    before = store.digest(finished / "results/small/metrics.h5")
    done = snakemake(finished, "--config", "benchmark=small.yaml")
    assert done.returncode == 0 and "Nothing to be done" in done.stderr
    assert store.digest(finished / "results/small/metrics.h5") == before


def test_a_damaged_data_file_takes_no_finished_run_with_it(finished):
    data = finished / "data/digits.h5"
    whole = data.read_bytes()
    data.write_bytes(b"damaged")
    done = snakemake(finished, "--config", "benchmark=small.yaml")
    data.write_bytes(whole)
    assert done.returncode == 0 and "Nothing to be done" in done.stderr


def test_killed_while_it_makes_a_data_set_it_goes_on_to_the_report(tmp_path):
    """The orphaned job ends its file, which Snakemake has down as incomplete."""
    (tmp_path / "small.yaml").write_text(DEFINITION.replace("LIMIT", "100"))
    again = ("--config", "benchmark=small.yaml")
    running = subprocess.Popen(command(tmp_path, *again), stderr=subprocess.DEVNULL, cwd=tmp_path)
    wait_for(tmp_path / "logs/dataset/digits.log")
    running.kill()
    running.wait()
    assert not (tmp_path / "data/digits.h5").exists()
    wait_for(tmp_path / "data/digits.h5")
    assert snakemake(tmp_path, "--unlock", *again).returncode == 0
    done = snakemake(tmp_path, "--rerun-incomplete", *again)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/small/report.html").exists()


def test_a_missed_bound_fails_after_the_report_is_there_and_trains_nothing_again(finished):
    (finished / "strict.yaml").write_text(DEFINITION.replace("LIMIT", "0.0").replace("name: small", "name: strict"))
    done = snakemake(finished, "--config", "benchmark=strict.yaml")
    assert done.returncode == 1
    assert "0 of 1 bounds kept" in done.stdout + done.stderr
    assert "1 of 1 bounds missed" in (finished / "results/strict/report.html").read_text()
    assert not (finished / "results/strict/check.txt").exists()
    assert "rule train:" not in done.stderr


def test_only_what_is_asked_for_is_run_and_collected_apart(finished, tmp_path):
    only = "only=network=resnet20 rules=fa seed=0"
    (tmp_path / "small.yaml").write_text(DEFINITION.replace("LIMIT", "100"))
    dry = snakemake(tmp_path, "-n", "--config", "benchmark=small.yaml", only)
    rules = re.findall(r"^(?:local)?rule (\w+):$", dry.stdout + dry.stderr, re.MULTILINE)
    assert sorted(rules) == ["all", "check", "collect", "dataset", "evaluate", "render", "train"]  # no search, and one trial of two

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    whole = (folder / "results/small/metrics.h5").stat()
    done = snakemake(folder, "--config", "benchmark=small.yaml", only)
    assert done.returncode == 0, done.stderr
    assert "rule train:" not in done.stderr  # a run is shared, whoever asks for it
    with store.opened(folder / "results/small-only/metrics.h5") as file:
        assert {re.match(r"trial/digits/resnet20/fa/.*/(\w+)$", path)[1] for path in store.runs(file)} == {"train", "evaluation"}
    assert "1 of 1 bounds kept" in (folder / "results/small-only/check.txt").read_text()
    assert (folder / "results/small/metrics.h5").stat() == whole


def test_a_failing_job_ends_in_a_report_of_the_rest_and_the_same_line_again_in_the_whole(tmp_path):
    """One trial's folder lets nobody in: its lock is a folder."""
    (tmp_path / "two.yaml").write_text(
        "{name: two, about: one of two fails, datasets: [digits], device: cpu, attacks: {names: [fgsm], images: 2}, "
        "models: {names: [resnet20], rules: [fa, usf], settings: {epochs: 1, batch_size: 256}}}"
    )
    (trial,) = [trial for trial in plan.load(str(tmp_path / "two.yaml")).trials.values() if trial.rules == "fa"]
    fault = tmp_path / f"results/runs/trial/{trial.id}/.lock"
    fault.mkdir(parents=True)
    folder, again = tmp_path / "results/two", ("--keep-going", "--config", "benchmark=two.yaml")
    done = snakemake(tmp_path, *again)
    assert done.returncode != 0
    wrong = f"train: failed: suite.run: [Errno 21] Is a directory: 'results/runs/trial/{trial.id}/.lock'"
    said = [line.split(maxsplit=2)[1:] for line in done.stderr.splitlines() if line.startswith("MISSING")]
    assert said == [[f"trial/{trial.id}", "evaluation: its training is missing"], [f"trial/{trial.id}", wrong]]
    assert sorted(path.name for path in folder.iterdir()) == ["partial.h5", "report.html"]  # nothing that looks like the whole
    page = html.unescape((folder / "report.html").read_text())
    assert "2 of 4 results missing" in page and wrong.partition(" ")[2] in page

    fault.rmdir()
    done = snakemake(tmp_path, *again)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("rule train:") == 1 and "MISSING" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["check.txt", "metrics.h5", "report.html"]
    assert "missing" not in (folder / "report.html").read_text()
    assert "Nothing to be done" in snakemake(tmp_path, *again).stderr


def test_the_plain_command_runs_one_job_a_device(tmp_path, monkeypatch, on_path):
    """Two made-up devices and three jobs; torch finds no CUDA on them, so that `auto` computes on the CPU."""
    on_path("nvidia-smi", "echo 'GPU 0: A (UUID: GPU-a)'; echo 'GPU 1: B (UUID: GPU-b)'")
    monkeypatch.setenv("BIONAS_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "three.yaml").write_text(
        "{name: three, about: one job a device, datasets: [digits], "
        "models: {names: [resnet20], rules: [fa, usf, frsf], settings: {epochs: 2, batch_size: 128}}}"
    )
    done = snakemake(tmp_path, "--config", "benchmark=three.yaml", "--cores", "3")
    assert done.returncode == 0, done.stderr
    logs = [log.read_text() for log in (tmp_path / "logs/trial").rglob("train.log")]
    assert [len(re.findall(r"^device GPU-[ab]$", log, re.MULTILINE)) for log in logs] == [1, 1, 1]
    assert {re.search("GPU-[ab]$", log, re.MULTILINE)[0] for log in logs} == {"GPU-a", "GPU-b"}
    assert sum("all devices are in use (GPU-a, GPU-b); waiting for one" in log for log in logs) == 1


def test_another_image_runs_everything_again_and_the_same_one_nothing(tmp_path, on_path):
    """With a `singularity` that runs what it is given right here: this is about reruns. docker/verify.sh is about containers."""
    on_path("singularity", '[[ $1 == --version ]] && echo "singularity version 4.0.0" || exec "${@: -3}"')
    (tmp_path / "one.yaml").write_text(
        "{name: one, about: reruns, datasets: [digits], device: cpu, attacks: {names: [fgsm], images: 2}, "
        "models: {names: [resnet20], rules: [fa], settings: {epochs: 1, batch_size: 256}}}"
    )
    digests = set()
    for content, runs in ((b"one image", True), (b"one image", False), (b"another", True)):
        if runs:
            (tmp_path / "bionas.sif").write_bytes(content)
        done = snakemake(tmp_path, "--use-singularity", "--config", "benchmark=one.yaml", "image=bionas.sif")
        assert done.returncode == 0, done.stderr
        digests.add(store.digest(tmp_path / "results/one/metrics.h5"))
        images = {store.read(file).provenance["image"] for file in (tmp_path / "results/runs").rglob("*.h5")}
        assert images == {f"sha256:{hashlib.sha256(content).hexdigest()}"}
        assert [f"rule {stage}:" in done.stderr for stage in ("train", "evaluate", "collect")] == [runs] * 3
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("benchmark=dmo", "did you mean"),
        ("size=huge", "full, tiny"),
        ("siz=tiny", "siz unknown; allowed: benchmark, size, only, image, code"),
        ("only=netwrk=resnet20", "did you mean 'network'"),
        ("code=equl", "code: 'equl' is unknown; allowed: any, equal; did you mean 'equal'?"),
        ("benchmark=demo,demo", "another definition is named 'demo'"),
    ],
)
def test_a_mistake_is_said_in_one_line(tmp_path, config, words):
    done = snakemake(tmp_path, "--config", config)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if words in line]
    assert len(lines) == 1 and "Traceback" not in done.stderr


def test_a_dry_run_of_the_demo_costs_little_more_than_snakemake_and_no_torch(tmp_path):
    spy = (
        "import sys, runpy; sys.argv[0] = 'snakemake'\n"
        "try: runpy.run_module('snakemake', run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )

    def dry_run(snakefile):
        """What it printed, and its seconds of processor time: other tests run beside it."""
        args = ["--snakefile", str(snakefile), "--cores", "2", "--directory", str(tmp_path), "-n", "--quiet", "all"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", spy, *args], capture_output=True, text=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    _, least = dry_run(tmp_path / "Snakefile")
    output, busy = dry_run(ROOT / "Snakefile")
    assert output.split()[-1] == "False"
    assert busy < 4 * least


def test_lint():
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_point_one_way():
    done = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_what_chooses_a_rate_comes_before_the_trial_that_takes_it(tmp_path):
    """Two rates, two seeds: two trials to tune with, for the two that are trained with what they choose."""
    (tmp_path / "tuned.yaml").write_text(
        "{name: tuned, about: a rate from a grid, datasets: [digits], device: cpu, seeds: [0, 1], "
        "models: {names: [resnet20], rules: [fa], settings: {epochs: 1}, tune: {lr: [0.1, 0.2]}}}"
    )
    done = snakemake(tmp_path, "--config", "benchmark=tuned.yaml", "-n", "-p")
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"suite\.run train .*", done.stdout + done.stderr)
    tuned = [command for command in commands if "--tuning" in command]
    assert len(commands) == 4 and len(tuned) == 2
    for command in tuned:
        assert ["lr0.2-holdout0.1-selectionnone" in file for file in re.findall(r"\S+/train\.h5", command)] == [False, True]


def test_whoever_makes_the_images_is_trained_before_they_are_given_to_others(tmp_path):
    (tmp_path / "given.yaml").write_text(
        "{name: given, about: images of another network, datasets: [digits], device: cpu, attacks: {names: [fgsm], transfer_from: [bp]}, "
        "models: {names: [resnet20], rules: [bp, fa], settings: {epochs: 1}}}"
    )
    bp, fa = (f"results/runs/trial/{id}" for id in plan.load(str(tmp_path / "given.yaml")).trials)
    done = snakemake(tmp_path, "--config", "benchmark=given.yaml", "only=rules=fa", "-n", "-p")
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"suite\.run evaluate .*", done.stdout + done.stderr)
    given = {re.search(r"--trial (\S+)", command)[1]: re.findall(r"--sources (\S+)", command) for command in commands}
    assert given == {bp: [], fa: [bp]}
    inputs = re.findall(r"^    input: (.*)\n    output: \S+/evaluation-", done.stdout + done.stderr, re.MULTILINE)
    assert sorted(map(sorted, (files.split(", ") for files in inputs))) == sorted(
        [["data/digits.h5", f"{bp}/train.h5"], ["data/digits.h5", f"{bp}/train.h5", f"{fa}/train.h5"]]
    )
