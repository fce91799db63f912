"""Finished benchmarks, for tests that read what one leaves: made without Snakemake, by one process that imports torch once."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from suite import jobfile
from suite.collect import collect

ROOT = Path(__file__).parents[2]
JOBS = """
import multiprocessing, sys
from suite import run
import torch, bionas, bionas.attacks, bionas.analyses, bionas.search.darts, bionas.search.eg, bionas.training.loop
from suite.jobs import checkpoint

KEEP, JOBS = sys.argv[1] == "keep", [job.split(" ", 1) for job in sys.argv[2:]]
if KEEP:
    checkpoint.Checkpoint.remove = lambda self: None
for command, file in JOBS:
    line = [command, file, *(["--checkpoint-seconds", "0"] if KEEP else [])]
    job = multiprocessing.get_context("fork").Process(target=run.main, args=(line,))
    job.start(), job.join()
    if job.exitcode:
        sys.exit(f"{command} {file}: exit status {job.exitcode}")
"""
COMMANDS = {"search": "search", "train": "train", "evaluation": "evaluate"}


def run(folder, planned, keep_checkpoints=False):
    """Run every job of a plan in a folder that has its data, and collect: results/<benchmark>/metrics.h5."""
    runs = folder / "results/runs"
    jobfile.write(planned, runs)
    jobs = [f"{COMMANDS[stage]} results/runs/{Path(file).with_suffix('.json')}" for file, _, stage in planned.files()]
    jobs.sort(key=lambda job: list(COMMANDS.values()).index(job.split()[0]))  # what is made from others comes after them
    line = [sys.executable, "-c", JOBS, "keep" if keep_checkpoints else "remove", *jobs]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    collect(planned, runs, folder / f"results/{planned.name}/metrics.h5")


def once(tmp_path_factory, name, make):
    """Return a folder that `make(folder)` has filled, once for all of the processes that run tests; nobody may write to it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if shared.name.startswith("popen-") else shared
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def digits(folder):
    """Prepare the data set."""
    line = [sys.executable, "-m", "data_prep", "digits", "--out", "data/digits.h5"]
    subprocess.run(line, check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
