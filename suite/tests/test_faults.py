"""What cannot be written: writes of every command fail in turn, and nothing is lost by it but the time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suite import plan
from suite.definition import spec
from suite.tests import finished

FIRST = int(os.environ.get("BIONAS_FAULTS", 2))  # tries for each command; 0 is every write
DEFINITION = """
name: faults
about: the smallest of everything
datasets: [{name: digits, subset: 60}]
device: cpu
search:
  methods: [eg]
  rule_sets: {bio: [usf]}
  ranking: true
  settings: {epochs: 1, batch_size: 64, channels: 2, cells: 3, nodes: 1, warmup: 0, restarts: 1, population: 4, generations: 1, images: 60}
cells: {rules: [searched], settings: {epochs: 1, batch_size: 30, channels: 2, cells: 3, cutout: 0}}
attacks: {names: [fgsm], images: 4}
analyses: [weights, gradients]
"""


def make(folder):
    (folder / "data").mkdir()
    subprocess.run(
        [sys.executable, "-m", "data_prep", "digits-n60", "--out", str(folder / "data/digits-n60.h5")], check=True, capture_output=True
    )
    (folder / "faults.yaml").write_text(DEFINITION)
    finished.run(folder, plan.plan(spec.parse(DEFINITION)))
    subprocess.run(command(folder, "render"), check=True, capture_output=True, cwd=folder, env=ENVIRONMENT)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(finished.ROOT)}
METRICS = "results/faults/metrics.h5"


def command(folder, name, python=(sys.executable, "-m")):
    """A command that has something to do, by what it makes anew: what that is is taken away, or else is to be replaced."""

    def job(kind, pattern):
        (file,) = (folder / "results/runs").rglob(pattern)
        return ["suite.run", kind, str(file.relative_to(folder)), "--checkpoint-seconds", "0"]

    given = {
        "search": lambda: job("search", "search.json"),
        "train": lambda: job("train", "train.json"),
        "evaluate": lambda: job("evaluate", "evaluation-*.json"),
        "collect": lambda: ["suite.collect", "faults.yaml", "--out", METRICS],
        "render": lambda: ["reports.render", METRICS, "results/faults/report.html"],
        "data_prep": lambda: ["data_prep", "digits-n60", "--out", "data/digits-n60.h5"],
        "restore": lambda: ["suite.restore", METRICS, "--runs", "results/restored"],
    }
    return [*python, *given[name]()]


MAKES = {"search": "search.h5", "train": "train.h5", "evaluate": "evaluation-*.h5"}
COMMANDS = ("search", "train", "evaluate", "collect", "render", "data_prep", "restore")


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    made = finished.once(tmp_path_factory, "faults", make)
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_write_that_fails_is_one_line_nothing_is_lost_and_the_next_run_ends_as_ever(name, folder):
    if name in MAKES:
        next((folder / "results/runs").rglob(MAKES[name])).unlink()
    line = [sys.executable, "-m", "suite.tests.faults", "--first", str(FIRST), str(folder), *command(folder, name, python=())]
    done = subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=3000)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["writes"] >= 3 and len(found["tries"]) == min(FIRST or found["writes"], found["writes"])
    for each in found["tries"]:
        assert each["status"] == 1 and each["said"].count("\n") == 1, each
        assert each["error"] in each["said"] and ("results/" in each["said"] or "data/" in each["said"]), each
        assert each["lost"] == each["partial"] == [] and each["again"] is True, each


# ------------------------------------------------------------------------------------------------------------- a real disk


@pytest.fixture
def small(tmp_path):
    """A disk with room for a file or two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs leave to mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", ["train", "evaluate", "collect", "render", "data_prep"])
def test_a_disk_that_is_really_full_is_one_line_and_with_room_the_command_ends_as_ever(name, folder, small):
    """What is made anew goes to the disk; all that it is made from is elsewhere."""
    line = command(folder, name)
    makes = Path(line[-1]) if name not in MAKES else Path(line[4]).with_suffix(".h5")
    right = digest(folder / makes)
    place = (folder / makes).parent
    shutil.copytree(place, moved := folder / "moved")
    if name in MAKES:
        next(moved.glob(MAKES[name])).unlink()
    shutil.rmtree(place)
    for file in moved.iterdir():
        if file.is_file() and file.stat().st_size < 60_000 and file.name != makes.name:
            shutil.copy(file, small)
        elif file.name != makes.name:
            (small / file.name).symlink_to(file)
    place.symlink_to(small)
    if name == "render":
        line[-2] = "moved/metrics.h5"
    filling = small / "filling"
    filling.write_bytes(b"")
    with filling.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while file.write(b"x" * 4096):
            pass
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written: No space left on device" in done.stderr and f"{makes.parent}/{makes.stem}" in done.stderr
    assert not list(small.glob(".*.partial"))
    filling.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    subprocess.run(line, check=True, capture_output=True, cwd=folder, env=ENVIRONMENT)
    assert digest(folder / makes) == right


def digest(file):
    from suite import store

    return store.digest(file) if file.suffix == ".h5" else "a page" * ("<main" in file.read_text())


@pytest.mark.parametrize("name", ["collect", "render", "data_prep"])
def test_a_folder_that_cannot_be_made_is_one_line(name, folder):
    """A file stands where the folder would be: root, who runs tests in containers, may write to any folder."""
    (folder / "blocked").write_text("no folder")
    line = command(folder, name)
    line[-1] = f"blocked/{Path(line[-1]).name}"
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "blocked" in done.stderr
    assert (folder / "blocked").read_text() == "no folder"
