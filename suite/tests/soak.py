"""`python -m suite.tests.soak --kills 180 --workflow-kills 20 --seed 0`: a tiny workflow, killed at random until all of it went wrong.

Rounds of it begin in an empty folder. Every kill is a SIGKILL: of a job's own process, of the one that asked the warm process for it or
of the one that watches it, of the warm process itself, of Snakemake alone, or of its whole group; at a random moment of a stage, or at
a write, which the process tells and then waits at (`hooks/sitecustomize.py`): with half of the file written, before it takes its place,
while it does, or after. A killed job is tried again by Snakemake; a killed Snakemake is started again by the same line, at once, while
what it left is still at work. At the end of each round all runs have to be there, with the digest of an undisturbed round, and nothing
else: no process, no lock, no file of a killed writer. A run is written by who holds its lock, and by nobody else.

It prints a line a kill, and a table at the end; its exit status is 1 if anything was wrong.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from suite import store
from suite.tests.workflow import DEFINITION, STAGES, Workflow

WRITES = ("half", "before", "in", "after")
WORKFLOW = ("snakemake", "group")
JOBS = ("search", "train", "evaluate")  # which the warm process runs
PER_ROUND = 4  # kills of one stage
PATIENCE = 400  # seconds for one start of the workflow


class Kill(NamedTuple):
    """What is to be killed, where, and when: at which of its stage's writes, or how far into one of its jobs (0..1)."""

    stage: str
    moment: str
    victim: str
    when: float


def plan(kills, workflow_kills, generator):
    """Choose kills, as many of each stage as can be, a third of them at writes."""
    victims = ["job"] * (kills - kills // 12) + ["warm"] * (kills // 12)
    generator.shuffle(victims)
    others = [WORKFLOW[number % 2] for number in range(workflow_kills)]
    chosen = []
    for group in victims, others:
        offset = generator.randrange(len(STAGES))
        for number, victim in enumerate(group):
            lap, place = divmod(number, len(STAGES))
            stage = STAGES[(place + offset) % len(STAGES)] if victim != "warm" else JOBS[number % len(JOBS)]
            moment = WRITES[(lap + place) % len(WRITES)] if (3 * lap + place) % 8 < 3 else "random"
            chosen.append(Kill(stage, moment, victim, generator.random()))
    generator.shuffle(chosen)
    return chosen


class Soak:
    """The rounds, the kills that are still to come, and what went wrong."""

    def __init__(self, folder, kills, generator, say, definition):
        self.folder, self.pending, self.generator, self.say = folder, kills, generator, say
        self.total, self.done, self.wrong, self.starts, self.failures = len(kills), [], [], 0, 0
        self.definition, self.digest = definition, None
        self.took = {}  # seconds of a stage's job, undisturbed

    def undisturbed(self):
        """Run one round that nobody disturbs, and return its digest."""
        at = {}

        def note(told):
            if told.moment == "start":
                at.setdefault(told.stage, time.monotonic())
            elif told.stage in at:
                self.took[told.stage] = time.monotonic() - at[told.stage]

        self.flow = self._fresh("undisturbed")
        self.flow.start()
        self.flow.until(note, PATIENCE)
        if self.flow.running.wait():
            raise ValueError(f"the undisturbed round failed: {self.flow.said()[-2000:]}")
        digest = self.flow.digest()
        self._look("undisturbed")
        self.say(f"undisturbed: {digest[:16]}  {'  '.join(f'{stage} {seconds:.1f} s' for stage, seconds in self.took.items())}")
        return digest

    def round(self, number):
        """Run one round, killed again and again; stop where what it left is wrong."""
        self.flow, self.number = self._fresh(f"round{number}"), number
        self.before = len(self.done)
        self.owed = []  # (when, told): who waits, as the orphan of a killed workflow
        begun, kill = time.monotonic(), None
        self._start()
        while True:
            now = time.monotonic()
            for due, told in list(self.owed):
                if now >= due:
                    told.go()
                    self.owed.remove((due, told))
            if kill and now >= kill[0]:
                self._random(*kill[1:])
                kill, begun = None, now
            if self.flow.running.poll() is not None and not kill:
                if self.flow.running.returncode == 0:
                    break
                self.failures += 1
                self.wrong.append(f"round {number}: the workflow failed: {self.flow.said()[-1500:]}")
                return
            if now - begun > PATIENCE:
                self.wrong.append(f"round {number}: no end after {PATIENCE} seconds; {self.flow.processes()}")
                return
            if told := self.flow.hear():
                self._check(told)
                if kill is None:
                    kill = self._choose(told)
                else:
                    told.go()
                if kill is True:  # done, and a new start if that was of the workflow
                    kill, begun = None, time.monotonic()
        for _, told in self.owed:
            told.go()
        if self.flow.digest() != self.digest:
            self.wrong.append(f"round {number}: another digest, {self.flow.digest()}")
        self._look(f"round {number}")

    def _fresh(self, name):
        folder = self.folder / name
        folder.mkdir()
        return Workflow(folder, "--retries", "99", definition=self.definition)

    def _start(self):
        self.starts += 1
        self.flow.start()

    def _check(self, told):
        """Who writes a run's result holds its lock; who was killed as he told so holds nothing."""
        if told.moment == "before" and told.stage in JOBS:
            holder = store.holder(told.folder)
            if not holder.startswith(f"process {told.pid} ") and told.pid in self.flow.processes():
                self.wrong.append(
                    f"round {self.number}: {told.what} is written by {told.pid}, and its lock is held by {holder or 'nobody'}"
                )

    def _choose(self, told):
        """Kill now if a kill waits for what is told; return None, or a random moment: (when, kill, told, when it began)."""
        if sum(kill.stage == told.stage for kill in self.done[self.before :]) >= PER_ROUND:
            told.go()
            return None
        often = told.what.endswith(".checkpoint") or "/figures/" in told.what
        for kill in [kill for kill in self.pending if kill.stage == told.stage]:
            if kill.moment == "random" and told.moment == "start":
                now = time.monotonic()
                told.go()
                return now + 0.7 * kill.when * self.took.get(kill.stage, 1.0), kill, told, now
            after = kill.moment == "after"
            if (
                kill.moment != "random"
                and told.moment == ("after" if after else "before")
                and self.generator.random() < (0.3 if often else 0.8)
            ):
                if kill.moment == "half" and not (told := self._half(told)):
                    return None
                return True if self._do(kill, told, f"{kill.moment} {Path(told.what).name}") else None
        told.go()
        return None

    def _half(self, told):
        """Let one write half of what it would, and return it as it waits then; nothing if it ended instead."""
        told.go("half")
        writer = told.pid
        while not (told := self.flow.hear(1)) or told.moment != "half":
            if told:
                told.go()
            elif writer not in self.flow.processes():
                return None
        return told

    def _random(self, kill, told, began):
        """Kill at a random moment, if the job is still there."""
        if told.pid in self.flow.processes():
            self._do(kill, told, f"{time.monotonic() - began:.2f} s after its start")
        else:  # sooner the next time: one that goes on from a checkpoint is done sooner
            self.pending[self.pending.index(kill)] = kill._replace(when=kill.when / 2)

    def _do(self, kill, told, where):
        victims = [self.flow.running.pid] if kill.victim in WORKFLOW else self._victims(kill, told)
        if not victims:
            told.go()
            return False
        pid = self.generator.choice(victims)
        if kill.moment == "in":
            told.go()
            time.sleep(self.generator.uniform(0, 1.5e-4))
        try:
            os.kill(pid, signal.SIGKILL) if kill.victim != "group" else self.flow.kill_group()
        except ProcessLookupError:  # it has ended
            return False
        if kill.moment == "in" and kill.victim == "job":
            time.sleep(0.05)
            partial = any(Path(told.what).parent.glob(f".{Path(told.what).name}.*.{told.pid}.partial"))
            where += ", which did not take its place" if partial else ", which took its place"
        self.pending.remove(kill)
        self.done.append(kill)
        which = f"{kill.stage:8s}  {kill.moment:6s}  {kill.victim:9s}"
        self.say(f"kill {len(self.done):3d}/{self.total}  round {self.number:2d}  {which}  {pid} {where}")
        if kill.victim in WORKFLOW:
            self.flow.running.wait()
            if kill.moment not in ("random", "in"):
                self.owed.append((time.monotonic() + self.generator.uniform(0, 12), told))
            self._start()
        elif kill.moment not in ("random", "in"):
            told.go()  # it is killed, or somebody beside it is
        return True

    def _victims(self, kill, told):
        """Return who a job is: its process, and if it is a warm one those who asked for it and watch it, too; or the warm process."""
        there = self.flow.processes()
        warm = {pid: parent for pid, (parent, command) in there.items() if "suite.warm" in command}
        main = [pid for pid, parent in warm.items() if parent not in warm and pid in warm.values()] or list(warm)[:1]
        if kill.victim == "warm":
            return main  # few jobs come without it
        found = {told.pid} & there.keys()  # who was killed just now may have told before
        words = store.holder(told.folder).split() if told.stage in JOBS else []
        if words and kill.moment == "random" and int(words[1]) in there:
            found.add(int(words[1]))
        watching = [warm[pid] for pid in found if warm.get(pid) in warm and warm[pid] not in main]
        return sorted(found | set(watching) if kill.moment == "random" else found)

    def _look(self, name):
        self.wrong += [f"{name}: {what}" for what in self.flow.left()]
        self.flow.close()
        if not self.wrong:
            shutil.rmtree(self.flow.folder)


def table(done):
    """Return the kills by stage, moment and who was killed, as lines."""
    counts = Counter((kill.stage, kill.moment, kill.victim) for kill in done)
    columns = [("random", "half", "before", "in", "after"), ("job", "warm", "snakemake", "group")]
    lines = [f"{'stage':9s}" + "".join(f"{name:>10s}" for names in columns for name in names) + f"{'all':>6s}"]
    for stage in [*STAGES, "all"]:
        own = {key: number for key, number in counts.items() if stage in (key[0], "all")}
        cells = [sum(n for key, n in own.items() if key[place] == name) for place, names in enumerate(columns, 1) for name in names]
        lines.append(f"{stage:9s}" + "".join(f"{cell:10d}" for cell in cells) + f"{sum(own.values()):6d}")
    return lines


def soak(kills, workflow_kills, seed, folder, say=print, definition=DEFINITION, digest=None):
    """Kill until all kills are done; return (kills done, what went wrong). Without the digest that is to come out, a first round tells."""
    generator = random.Random(seed)
    it = Soak(folder, plan(kills, workflow_kills, generator), generator, say, definition)
    try:
        it.digest = digest or it.undisturbed()
        number = 0
        while it.pending and not it.wrong:
            number += 1
            it.round(number)
    finally:
        it.flow.close()  # whatever happened, no process is left
    for line in table(it.done):
        say(line)
    at_writes = sum(kill.moment != "random" for kill in it.done)
    say(f"{len(it.done)} kills in {number} rounds, {at_writes} at writes; {it.starts} starts; digests equal: {not it.wrong}")
    for line in it.wrong:
        say(f"WRONG  {line}")
    return it.done, it.wrong


def main():
    parser = argparse.ArgumentParser(
        prog="python -m suite.tests.soak", description="Kill a tiny workflow at random, again and again, and see whether anything is lost."
    )
    parser.add_argument("--kills", type=int, default=180, help="kills of jobs and of the process that they come from (default: 180)")
    parser.add_argument("--workflow-kills", type=int, default=20, help="kills of Snakemake, alone or with its group (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when (default: 0)")
    parser.add_argument("--folder", type=Path, help="an empty one, to work in and to look at what went wrong (default: a temporary one)")
    args = parser.parse_args()
    if args.kills < 0 or args.workflow_kills < 0:
        raise ValueError("--kills, --workflow-kills: allowed: 0 or more")
    folder = args.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"--folder: {folder} is not empty")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and take with it what it started
    _, wrong = soak(args.kills, args.workflow_kills, args.seed, folder, lambda line: print(line, flush=True))
    if not wrong:
        shutil.rmtree(folder)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"soak: {error}")
