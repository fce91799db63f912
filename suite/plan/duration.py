"""What a plan takes on a machine, in words: wall time, core-hours or GPU-hours, and how far to trust them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bionas import catalog
from suite.definition import price
from suite.definition.runs import Search, Trial, tuners
from suite.plan import seconds
from suite.plan.seconds import Job, Speed

AROUND = 0.6  # seconds a job: Python before its clock starts and after it ends, and Snakemake; measured as DEFAULTS for a CPU
WHOLE = 20.0  # seconds a run of the workflow: Snakemake itself, collect, render and check
UNITS = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("year", 365.25 * 86_400))


@dataclass(frozen=True)
class Machine:
    """What jobs may run on at once: cores, GPUs, and jobs that share each GPU."""

    cores: int
    gpus: int = 0
    shares: int = 1

    @classmethod
    def here(cls) -> Machine:
        """This one; GPUs as jobs see them. One whose driver does not answer has none."""
        shares = os.environ.get("BIONAS_JOBS_PER_GPU", "1")
        try:
            gpus = len(catalog.load("suite.jobs.gpu:visible")())
        except OSError:
            gpus = 0
        return cls(os.cpu_count() or 1, gpus, int(shares) if shares.isdecimal() and int(shares) else 1)


@dataclass(frozen=True)
class Duration:
    """Seconds by the wall clock, of all cores and of all GPUs; `known`: which share of it is of jobs like those that ended here."""

    wall: float
    cores: float
    gpus: float
    known: float


def duration(searches: Mapping[str, Search], trials: Mapping[str, Trial], speed: Speed, machine: Machine) -> Duration:
    """Return what these runs take, what chooses learning rates included, and none of them there yet."""
    ends: dict[str, float] = {}  # by id: when it has ended at the earliest, with as many cores as could be
    cores = gpus = known = total = last = 0.0
    for ids, needs, job in _jobs(searches, trials, bool(machine.gpus)):
        taken = speed.seconds(job) + AROUND
        end = taken + max((ends.get(id, 0.0) for id in needs), default=0.0)
        ends[ids] = max(end, ends.get(ids, 0.0))
        last = max(last, end)
        cores += taken * job.threads
        gpus += taken / machine.shares if job.gpu else 0.0
        total, known = total + taken, known + taken * speed.knows(job)
    wall = max(last, cores / machine.cores, gpus / max(1, machine.gpus)) + WHOLE
    return Duration(wall, cores, gpus, known / total if total else 0.0)


def _jobs(searches: Mapping[str, Search], trials: Mapping[str, Trial], gpu_here: bool) -> Iterator[tuple[str, list[str], Job]]:
    """Yield (id, ids that have to end before, job), in an order in which they can run."""

    def on_gpu(run: Search | Trial) -> bool:
        return run.device == "cuda" or (run.device == "auto" and gpu_here)

    for search in searches.values():
        yield search.id, [], seconds.of_search(search, on_gpu(search))
    for trial in {**tuners(trials.values()), **trials}.values():
        each = price.network(trial, searches.get(trial.parent) if trial.parent else None)[0]
        needs = [tuner.id for tuner in trial.tuners] + [trial.parent or ""]
        yield trial.id, needs, seconds.of_training(trial, each, on_gpu(trial))
        if trial.evaluation:
            yield f"{trial.id} evaluation", [trial.id], seconds.of_evaluation(trial.evaluation, trial, each, on_gpu(trial))


def say(searches: Mapping[str, Search], trials: Mapping[str, Trial], speed: Speed, machine: Machine) -> str:
    """Return one line; where jobs would take a GPU and this machine has none, one more for a machine with one."""
    found = duration(searches, trials, speed, machine)
    line = f"{_on(found, machine)}, {_trust(found, speed)}"
    if machine.gpus or all(run.device == "cpu" for run in (*searches.values(), *trials.values())):
        return line
    elsewhere = Machine(max(machine.cores, 16), gpus=1)
    there = _on(duration(searches, trials, Speed(), elsewhere), elsewhere)
    return f"{line}\n{there} like an H100, a guess: little has run on one" if there != _on(found, machine) else line


def _on(found: Duration, machine: Machine) -> str:
    if found.gpus:
        one = f"{max(1, machine.gpus)} GPU{'s' * (machine.gpus > 1)}"
        return f"about {in_words(found.wall)} on {one} ({in_words(found.gpus, 'GPU-')})"
    return f"about {in_words(found.wall)} on {machine.cores} core{'s' * (machine.cores > 1)} ({in_words(found.cores, 'core-')})"


def _trust(found: Duration, speed: Speed) -> str:
    if not speed.runs:
        return "a guess until the first run has ended here"
    runs = f"{speed.runs} run{'s' * (speed.runs > 1)} that ended here"
    if found.known >= 0.5:
        return f"within a factor of 1.5, by {runs}"
    return f"a rough guess by {runs}, since most of it is of other kinds or much longer"


def in_words(taken: float, of: str = "") -> str:
    """Return seconds in a unit that makes them a small number, as few digits as an estimate deserves."""
    if taken < 10:
        return f"10 {of}seconds"
    unit, size = [(unit, size) for unit, size in UNITS if taken >= 1.5 * size][-1]
    number = float(f"{taken / size:.2g}") if taken >= 10 * size else round(taken / size)
    return f"{number:,.0f} {of}{unit}{'s' * (number != 1)}"
