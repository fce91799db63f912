"""A workflow that is killed by SIGKILL, in each of its rules: the same line again, once, and the report is there, with the same numbers."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from bionas.files import replacing
from suite import orphans, store
from suite.tests import finished as shared
from suite.tests import soak
from suite.tests.workflow import DEFINITION, ROOT, STAGES, Workflow

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
SHORTER = (("[searched, shuffled]", "[shuffled]"), ("[fgsm, pgd]", "[fgsm]"), ("[weights, alignment, gradients]", "[weights]"))
MADE = {  # by each rule; what comes after it is made from it
    "dataset": ["data", "results/runs/trial/*/*/shuffled/**/evaluation-*.h5"],
    "search": ["results/runs/search"],
    "train": ["results/runs/trial/*/*/shuffled"],
    "evaluate": ["results/runs/trial/*/*/shuffled/**/evaluation-*.h5"],
    "collect": ["results/soak/metrics.h5"],
    "render": ["results/soak/report.html"],
    "parts": ["results/soak/figures", "results/soak/summary.md"],
    "check": ["results/soak/check.txt"],
}


def shorter():
    definition = DEFINITION
    for old, new in SHORTER:
        assert old in definition
        definition = definition.replace(old, new)
    return definition


def tiny(folder):
    return Workflow(folder, definition=shorter())


def make(folder):
    flow = tiny(folder)
    flow.start()
    assert flow.end() == 0, flow.said()
    assert flow.left() == []
    flow.close()
    (folder / "told").unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return shared.once(tmp_path_factory, "recovery", make)


@pytest.fixture
def short(tmp_path_factory):
    """A folder with a name that is short enough for a socket's."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture
def flow(whole, short):
    """A finished workflow, to be continued."""
    shutil.rmtree(short)
    shutil.copytree(whole, short, symlinks=True)
    found = tiny(short)
    yield found
    found.close()


def remove(flow, rule):
    """What a rule made, and the report's rules after it."""
    late = [made for made in STAGES[STAGES.index("collect") :] if STAGES.index(made) > STAGES.index(rule)]
    for pattern in [pattern for made in (rule, *late) for pattern in MADE[made]]:
        for path in flow.folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def killed_in(flow, rule):
    """Kill Snakemake while a job of the rule is about to put its result in place, and return that job, which waits."""
    flow.start()
    told = flow.until(lambda told: told.moment == "before" and told.stage == rule)
    assert told, flow.said()
    flow.kill()
    return told


@pytest.mark.parametrize("rule", STAGES)
def test_killed_in_a_rule_the_same_line_once_ends_in_the_report(flow, whole, rule):
    remove(flow, rule)
    told = killed_in(flow, rule)
    told.go()  # its job goes on without it
    flow.start()
    assert flow.end() == 0, flow.said()
    assert flow.left() == []
    assert flow.digest() == store.digest(whole / "results/soak/metrics.h5")
    assert "Traceback" not in flow.said() and "FAILED" not in flow.said()


@pytest.mark.parametrize("when", ["before the next one starts", "while the next one builds its graph", "while the next one waits for it"])
def test_what_a_job_finishes_without_its_workflow_is_not_made_again(flow, when):
    remove(flow, "train")
    told = killed_in(flow, "train")
    while not told.what.endswith("train.h5"):  # its last write
        told.go()
        told = flow.hear(60)
    (run,) = flow.folder.glob("results/runs/trial/*/*/shuffled/**/train.json")
    file = run.with_name("train.h5")
    log = flow.folder / "logs/trial" / file.parent.relative_to(flow.folder / "results/runs/trial") / "train.log"

    def end(told):
        told.go()
        while flow.processes().keys() & {told.pid} or not file.exists():
            if other := flow.hear():
                other.go()

    if when.startswith("before"):
        end(told)
    before = logs(flow)
    flow.start("--until", "train")
    if when.endswith("graph"):
        wait_for(lambda: any("Building DAG" in log.read_text() for log in logs(flow) - before))
        end(told)
    if when.endswith("waits for it"):
        wait_for(lambda: go_on(flow) or (log.exists() and "works on this run" in log.read_text()))
        end(told)
    made = store.read(file).provenance["argv"], file.stat().st_ino
    assert flow.end() == 0, flow.said()
    assert (store.read(file).provenance["argv"], file.stat().st_ino) == made
    assert "finished already" in log.read_text()


def go_on(flow):
    if told := flow.hear():
        told.go()


def wait_for(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def logs(flow):
    return set((flow.folder / ".snakemake/log").glob("*.log"))


def test_the_second_snakemake_in_a_folder_refuses_and_nothing_is_harmed(flow, whole):
    remove(flow, "check")
    first = flow.start()
    told = flow.until(lambda told: told.moment == "before" and told.stage == "check")
    locks = {path: path.read_bytes() for path in (flow.folder / ".snakemake/locks").iterdir()}
    second = subprocess.run(flow.command, capture_output=True, text=True, cwd=flow.folder, env=flow.environment, timeout=120)
    assert second.returncode == 1
    assert len([line for line in second.stderr.splitlines() if "cannot be locked" in line]) == 1 and "Traceback" not in second.stderr
    assert locks and {path: path.read_bytes() for path in (flow.folder / ".snakemake/locks").iterdir()} == locks
    told.go()
    assert first.poll() is None and flow.end() == 0, flow.said()
    assert flow.left() == [] and flow.digest() == store.digest(whole / "results/soak/metrics.h5")


def test_locks_that_another_machine_may_hold_are_left_alone(tmp_path, monkeypatch):
    """A file system may not tell machines of each other's locks; `snakemake --unlock` is for the user to say."""
    (tmp_path / "locks").mkdir()
    lock = tmp_path / "locks" / "0.output.lock"
    lock.touch()
    assert orphans.unlock(tmp_path) == 0 and lock.exists()  # of whom, nobody knows
    lock.unlink()
    orphans.unlock(tmp_path)
    lock.touch()
    monkeypatch.setattr(orphans, "_held", [])
    monkeypatch.setattr(orphans.platform, "node", lambda: "elsewhere")
    assert orphans.unlock(tmp_path) == 0 and lock.exists()
    monkeypatch.undo()


def test_who_lives_keeps_the_locks_and_who_is_dead_does_not(tmp_path):
    hold = "import pathlib, sys; from suite import orphans; orphans.unlock(pathlib.Path(sys.argv[1])); print('ready', flush=True); input()"
    (tmp_path / "locks").mkdir()
    lock = tmp_path / "locks" / "0.output.lock"
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as alive:
        assert alive.stdout.readline() == b"ready\n"
        lock.touch()
        assert orphans.unlock(tmp_path) == 0 and lock.exists()
        alive.kill()
    orphans._held.pop().close()
    assert orphans.unlock(tmp_path) == 1 and not lock.exists()


def test_what_a_killed_writer_left_goes_when_somebody_writes_there_and_what_a_living_one_has_stays(tmp_path):
    write = (
        "import sys, os, signal; from pathlib import Path; from bionas.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial: partial.write_text('half'); print(partial, flush=True); input()"
    )
    dead, alive = (
        subprocess.Popen(
            [sys.executable, "-c", write, str(tmp_path / name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for name in ("dead.h5", "alive.h5")
    )
    left, going = Path(dead.stdout.readline().strip()), Path(alive.stdout.readline().strip())
    dead.kill()
    dead.wait()
    assert left.exists() and going.exists()
    with replacing(tmp_path / "other.h5") as partial:
        partial.touch()
    assert not left.exists() and going.exists()
    alive.communicate("\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive.h5", "other.h5"]


def test_a_short_soak_loses_nothing(short, whole):
    said, digest = [], store.digest(whole / "results/soak/metrics.h5")
    done, wrong = soak.soak(5, 1, 1, short, said.append, shorter(), digest)
    assert wrong == [] and len(done) == 6, "\n".join(said)


def test_a_soak_has_kills_of_every_stage_and_a_third_of_them_at_writes():
    chosen = soak.plan(180, 20, random.Random(0))
    by_stage = Counter(kill.stage for kill in chosen)
    assert len(chosen) == 200 and set(by_stage) == set(STAGES) and min(by_stage.values()) >= 10
    assert sum(kill.victim in ("snakemake", "group") for kill in chosen) == 20
    writes = [kill for kill in chosen if kill.moment != "random"]
    assert len(writes) >= 200 / 3 and min(Counter(kill.moment for kill in writes)[moment] for moment in soak.WRITES) >= 10
    assert min(Counter(kill.stage for kill in writes)[stage] for stage in STAGES) >= 5
