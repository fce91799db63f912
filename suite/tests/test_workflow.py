"""The workflow, run by Snakemake for real in a folder of its own."""

import hashlib
import html
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
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
    return subprocess.run(command(folder, *args), capture_output=True, text=True, timeout=600, cwd=folder)


def ran(done):
    """The rules that ran, one a job."""
    return re.findall(r"^\[ *\d+/\d+\] (\w+)", done.stderr, re.MULTILINE)


def following(done, start):
    """The first line that starts so, and the two after it."""
    lines = done.stderr.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(start))
    return lines[first : first + 3]


def wait_for(file):
    deadline = time.monotonic() + 300
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} does not appear"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "small.yaml").write_text(DEFINITION.replace("LIMIT", "100"))
    done = snakemake(folder, "--config", "benchmark=small.yaml")
    assert done.returncode == 0, done.stderr
    (folder / "console.txt").write_text(done.stdout + done.stderr)
    return folder


def test_one_command_goes_from_nothing_to_the_report(finished):
    assert "<svg" in (finished / "results/small/report.html").read_text()
    assert "1 of 1 bounds kept" in (finished / "results/small/check.txt").read_text()
    logs = {p.relative_to(finished / "logs").parts[0] for p in (finished / "logs").rglob("*.log")}
    assert logs == {"dataset", "search", "trial", "small", "warm.log"}
    assert (finished / "logs/warm.log").read_text() == ""
    (training,) = (finished / "logs/trial/digits/resnet20").rglob("train.log")
    assert re.search(r"^epoch +1/1  lr 0\.10000  loss +\d", training.read_text(), re.MULTILINE)


def test_a_log_has_a_line_a_job_and_ends_with_the_verdict_the_report_and_the_time(finished):
    lines = (finished / "console.txt").read_text().splitlines()
    assert max(map(len, lines)) <= 200
    begun, ended = next(i for i, line in enumerate(lines) if line.startswith("small: 10 jobs, ")), len(lines) - 2
    jobs = [re.fullmatch(r"\[ *(\d+)/\d+\] (\w+) +(\S.*\S) +\d+:\d\d", line).groups() for line in lines[begun + 1 : ended]]
    assert [int(number) for number, *_ in jobs] == list(range(1, 11))
    said = {(rule, " ".join(what.split())) for _, rule, what in jobs}
    for file in (finished / "results/runs").rglob("train.h5"):
        run = store.read(file)
        network, rules = ("resnet20", "fa") if "resnet20" in run.id else ("random-sf", "shuffled")
        result = f"test error {run.metrics['test_error']:.2f} %" if run.status == "ok" else run.status
        assert ("train", f"digits {network} {rules} seed 0 {run.id[-8:]} {result}") in said
    assert ("render", "small results/small/report.html") in said
    assert lines[ended] == "small: 1 of 1 bounds kept; report: results/small/report.html"
    assert re.fullmatch(r"done in \d+:\d\d", lines[-1])


def test_one_job_by_hand_takes_the_name_of_its_parameters(finished):
    for command, name in (("search", "search"), ("train", "train"), ("evaluate", "evaluation-*")):
        for file in (finished / "results/runs").rglob(f"{name}.json"):
            line = [sys.executable, "-m", "suite.run", command, str(file.relative_to(finished))]
            done = subprocess.run(line, capture_output=True, text=True, cwd=finished, env={"PYTHONPATH": str(ROOT)})
            assert done.returncode == 0, done.stderr
            result = file.with_suffix(".h5").relative_to(finished)
            assert done.stdout == f"{result}: finished already, and left as it is; --out makes it once more, elsewhere\n"


def test_snakemakes_report_needs_no_network_and_has_ours_with_captions(finished):
    apart = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare, to be without a network")
    line = [*apart, *command(finished, "--config", "benchmark=small.yaml", "--report", "all.zip")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, cwd=finished)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(finished / "all.zip") as packed:
        page, names = packed.read("all/report.html").decode(), packed.namelist()
        written = {
            name: re.search(rf'<script id="{name}">\s*var {name} = (.*);\s*</script>', page)[1] for name in ("categories", "results")
        }
        shown, results = (json.loads(text) for text in written.values())
        found = shown.pop("small")
        assert not shown
        assert found.pop("Report") == ["results/small/report.html", "results/small/summary.md"]
        assert found.pop("Gate") == ["results/small/check.txt"]
        figures = {str(path.relative_to(finished)) for path in (finished / "results/small/figures").rglob("*.html")}
        assert {path for paths in found.values() for path in paths} == figures and len(figures) > 3
        assert set(found) == {f"Figures: {Path(path).parent.name}" for path in figures}
        for path, result in results.items():
            assert "<strong>small</strong>" in result["caption"]  # and nothing left of its template
            assert f"all/{result['data_uri']}" in names, path
        assert (
            packed.read(f"all/{results['results/small/report.html']['data_uri']}") == (finished / "results/small/report.html").read_bytes()
        )


def test_snakemakes_own_console_is_a_flag_away(finished):
    done = snakemake(finished, "--config", "benchmark=small.yaml", "-p", "--forcerun", "render")
    assert done.returncode == 0, done.stderr
    assert "rule render:" in done.stderr and "python -m reports.render results/small/metrics.h5" in done.stderr
    assert "small: 1 of 1 bounds kept; report: results/small/report.html" in done.stderr


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
    done = snakemake(tmp_path, *again)
    assert "an earlier workflow was killed here" in done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/small/report.html").exists()


def test_a_missed_bound_fails_after_the_report_is_there_and_trains_nothing_again(finished):
    (finished / "strict.yaml").write_text(DEFINITION.replace("LIMIT", "0.0").replace("name: small", "name: strict"))
    done = snakemake(finished, "--config", "benchmark=strict.yaml")
    assert done.returncode == 1
    assert re.search(r"^MISSED  trial/digits/resnet20/fa/\S+ +test_error \S+ ≤ 0$", done.stderr, re.MULTILINE)
    assert "\nstrict: 0 of 1 bounds kept; report: results/strict/report.html\n" in done.stderr
    assert "1 of 1 bounds missed" in (finished / "results/strict/report.html").read_text()
    assert not (finished / "results/strict/check.txt").exists()
    assert ran(done) == ["collect", "render", "parts"]


def test_only_what_is_asked_for_is_run_and_collected_apart(finished, tmp_path):
    only = "only=network=resnet20 rules=fa seed=0"
    (tmp_path / "small.yaml").write_text(DEFINITION.replace("LIMIT", "100"))
    dry = snakemake(tmp_path, "-n", "--config", "benchmark=small.yaml", only)
    rules = re.findall(r"^(?:local)?rule (\w+):$", dry.stdout + dry.stderr, re.MULTILINE)
    planned = ["all", "check", "collect", "dataset", "evaluate", "parts", "render", "train"]
    assert sorted(rules) == planned  # no search, and one trial of two

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    whole = (folder / "results/small/metrics.h5").stat()
    done = snakemake(folder, "--config", "benchmark=small.yaml", only)
    assert done.returncode == 0, done.stderr
    assert ran(done) == ["collect", "render", "parts", "check"]  # a run is shared, whoever asks for it
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
    wrong = f"suite.run: [Errno 21] Is a directory: 'results/runs/trial/{trial.id}/.lock'"
    failed, log, command = following(done, "FAILED")
    assert re.fullmatch(rf"FAILED  train  digits resnet20 fa seed 0 {trial.id[-8:]}  0:\d\d: {re.escape(wrong)}", failed)
    assert log == f"  log: logs/trial/{trial.id}/train.log" and wrong in (tmp_path / log.split()[1]).read_text()
    assert command == f"  by hand: python -m suite.run train results/runs/trial/{trial.id}/train.json"
    (missing,) = [line for line in done.stderr.splitlines() if "missing" in line]
    assert missing == (
        "two: 2 of 4 results missing: failed (1), its training is missing (1); report on the rest: results/two/report.html; "
        "python -m suite.status two.yaml"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["partial.h5", "report.html"]  # nothing that looks like the whole
    page = html.unescape((folder / "report.html").read_text())
    assert "2 of 4 results missing" in page and wrong in page

    fault.rmdir()
    done = snakemake(tmp_path, *again)
    assert done.returncode == 0, done.stderr
    assert ran(done).count("train") == 1 and "FAILED" not in done.stderr and "missing" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["check.txt", "figures", "metrics.h5", "report.html", "summary.md"]
    assert "results missing" not in (folder / "report.html").read_text()
    assert "Nothing to be done" in snakemake(tmp_path, *again).stderr


ONE = (
    "{{name: one, about: one network, datasets: [digits], device: cpu, "
    "models: {{names: [resnet20], rules: [fa], settings: {{epochs: {epochs}, batch_size: 32}}}}}}"
)


def test_a_damaged_data_set_is_named_with_the_jobs_log(tmp_path):
    (tmp_path / "one.yaml").write_text(ONE.format(epochs=1))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/digits.h5").write_bytes(b"damaged")
    done = snakemake(tmp_path, "--config", "benchmark=one.yaml")
    assert done.returncode == 1
    failed, cause, log = following(done, "FAILED")
    assert (
        failed.startswith("FAILED  train  digits resnet20 fa seed 0")
        and cause.startswith("  suite.run: data/digits.h5: ")
        and (tmp_path / log.removeprefix("  log: ")).is_file()
    )
    assert len(done.stderr.splitlines()) < 10 and max(map(len, done.stderr.splitlines())) <= 200


@pytest.fixture
def training(tmp_path):
    """A workflow while it trains: its process, and the job's, which leads no group of its own."""
    (tmp_path / "one.yaml").write_text(ONE.format(epochs=1000))
    line = command(tmp_path, "--config", "benchmark=one.yaml")
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True)
    (trial,) = plan.load(str(tmp_path / "one.yaml")).trials
    log = tmp_path / f"logs/trial/{trial}/train.log"
    wait_for(log)
    while "epoch " not in log.read_text():
        assert running.poll() is None
        time.sleep(0.05)
    yield running, store.holder(tmp_path / f"results/runs/trial/{trial}")
    running.kill()


def test_ctrl_c_is_said_once(training):
    """A terminal tells everybody who runs in it: the workflow and its jobs."""
    running, _ = training
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 1
    assert said.count("stopped on request") == 1
    assert "FAILED" not in said and "Error" not in said and len(said.splitlines()) < 8


def test_a_job_that_was_killed_says_so(training):
    running, holder = training
    os.kill(int(re.match(r"process (\d+) ", holder)[1]), signal.SIGKILL)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 1
    assert re.search(r"^FAILED  train  digits resnet20 fa .*: Killed: by the kernel, since memory ran out, or by somebody$", said, re.M)
    assert re.search(r"^  log: logs/trial/digits/resnet20/fa/\S+/train\.log$", said, re.M)
    assert len(said.splitlines()) < 12


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
        assert [stage in ran(done) for stage in ("train", "evaluate", "collect")] == [runs] * 3
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
    done = snakemake(tmp_path, "--config", "benchmark=tuned.yaml", "-n")
    assert done.returncode == 0, done.stderr
    inputs = re.findall(r"^    input: (.*)\n    output: \S+/train\.h5$", done.stdout + done.stderr, re.MULTILINE)
    tuned = [found for files in inputs if (found := re.findall(r"[^ ,]+/train\.h5", files))]
    assert len(inputs) == 4 and len(tuned) == 2
    for files in tuned:
        assert ["lr0.2-holdout0.1-selectionnone" in file for file in files] == [False, True]


def test_whoever_makes_the_images_is_trained_before_they_are_given_to_others(tmp_path):
    (tmp_path / "given.yaml").write_text(
        "{name: given, about: images of another network, datasets: [digits], device: cpu, attacks: {names: [fgsm], transfer_from: [bp]}, "
        "models: {names: [resnet20], rules: [bp, fa], settings: {epochs: 1}}}"
    )
    bp, fa = (f"results/runs/trial/{id}" for id in plan.load(str(tmp_path / "given.yaml")).trials)
    done = snakemake(tmp_path, "--config", "benchmark=given.yaml", "only=rules=fa", "-n")
    assert done.returncode == 0, done.stderr
    inputs = re.findall(r"^    input: (.*)\n    output: \S+/evaluation-", done.stdout + done.stderr, re.MULTILINE)
    assert sorted(map(sorted, (files.split(", ") for files in inputs))) == sorted(
        [["data/digits.h5", f"{bp}/train.h5"], ["data/digits.h5", f"{bp}/train.h5", f"{fa}/train.h5"]]
    )
