"""Ten, a hundred, a thousand times as many trials: what planning, collecting, reporting and a dry run cost. Run files are made up.

The growth is that of processor time from 1,000 to 10,000 trials, less what a command needs for ten (the median of three, since it is all
start-up); its bar is linear × 1.2.
"""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROWS, Row

from suite import plan, store

ROOT = Path(__file__).parents[2]
DEFINITION = """
name: scale
about: many trials
datasets: [digits]
device: cpu
seeds: {seeds}
models: {{names: [resnet20], rules: [bp, fa, usf, brsf, frsf], settings: {{epochs: 1, batch_size: 256}}}}
attacks: {{names: [fgsm], images: 10}}
"""
SIZES = (100, 1_000, 10_000)
SECONDS = {("plan", 10_000): 10, ("dry run, nothing done", 10_000): 120, ("dry run, all done", 10_000): 120}
MIB = 1024


def cost(*command, folder):
    """Return (wall seconds, processor seconds, peak MiB) of a command."""
    started = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=output, stderr=output, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status  # reaped here, not there
    assert status == 0, (folder / "output.txt").read_text()[-2000:]
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def base(*command, folder):
    """Return the median cost of three."""
    return sorted((cost(*command, folder=folder) for _ in range(3)), key=lambda each: each[1])[1]


def snakemake(*args):
    return ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--config", "benchmark=scale.yaml", *args]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The two run files of one real trial."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "scale.yaml").write_text(DEFINITION.format(seeds=[0]).replace("bp, fa, usf, brsf, frsf", "fa"))
    cost(*snakemake(), folder=folder)
    return {run.stage: run for run in map(store.read, (folder / "results/runs").rglob("*.h5"))}, folder / "data/digits.h5"


@pytest.fixture(scope="module")
def costs(real, tmp_path_factory):
    """{(command, trials): its cost}"""
    runs, data = real
    found = {}
    for trials in (10, *SIZES):
        folder, measured = tmp_path_factory.mktemp(f"{trials}"), base if trials == 10 else cost
        (folder / "data").mkdir()
        (folder / "data/digits.h5").symlink_to(data)
        (folder / "scale.yaml").write_text(DEFINITION.format(seeds=list(range(trials // 5))))
        found["plan", trials] = measured("suite.plan", "scale.yaml", folder=folder)
        found["dry run, nothing done", trials] = measured(*snakemake("-n", "--quiet", "all"), folder=folder)
        for id, trial in plan.load(folder / "scale.yaml").trials.items():
            path = folder / "results/runs/trial" / id
            train = dataclasses.replace(runs["train"], id=id, params=trial.params)
            store.write(path / "train.h5", train)
            (path / "weights.pt").touch()
            store.write(path / f"evaluation-{trial.evaluation.id}.h5", dataclasses.replace(runs["evaluation"], id=id))
        found["collect", trials] = measured("suite.collect", "scale.yaml", folder=folder)
        found["render", trials] = measured("reports.render", "results/scale/metrics.h5", "report.html", folder=folder)
        found["dry run, all done", trials] = measured(*snakemake("-n", "--quiet", "all"), folder=folder)
    return found


@pytest.mark.parametrize("command", ["plan", "collect", "render", "dry run, nothing done", "dry run, all done"])
def test_growth_with_trials(costs, command):
    base = costs[command, 10][1]
    for trials in SIZES:
        seconds, busy, peak = costs[command, trials]
        bar = SECONDS.get((command, trials))
        detail = f"{busy:.1f} s of processor, at most {peak:.0f} MiB (bar {MIB})"  # who starts a process lends it his own peak
        ROWS.append(Row(f"{command}, {trials:,} trials, seconds", seconds, seconds, seconds, bar, detail))
    growth = (costs[command, 10_000][1] - base) / (costs[command, 1_000][1] - base) / 10
    ROWS.append(Row(f"{command}, 1,000 → 10,000 trials, growth ÷ linear", growth, growth, growth, 1.2, ""))
