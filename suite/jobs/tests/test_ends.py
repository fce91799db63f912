"""How a job ends that cannot go on: asked to stop, wherever it is; out of memory; by a clock that jumps. Nothing of its work is lost."""

import shutil
import subprocess
import sys

import pytest

from suite import store
from suite.tests import finished
from suite.tests.test_faults import ENVIRONMENT, MAKES, command, make

MAIN = "import runpy, sys; sys.argv[0] = 'run'; runpy.run_module('suite.run', run_name='__main__', alter_sys=True)"
# A function that is called again and again: the first time it says so, and has the job asked to stop.
WATCHED = """
import os, signal
def watched(function):
    def called(*args, **more):
        print('WORK', flush=True)
        os.kill(os.getpid(), signal.SIGTERM) if not calls else None
        calls.append(1)
        return function(*args, **more)
    calls = []
    return called
"""


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    shutil.copytree(finished.once(tmp_path_factory, "faults", make), tmp_path / "here")
    return tmp_path / "here"


def result(folder, name):
    return next((folder / "results/runs").rglob(MAKES[name]))


def run(folder, name, before="", more=()):
    """Run a job after some lines of Python that stand in for what goes wrong."""
    arguments = command(folder, name, python=())[1:]
    done = subprocess.run(
        [sys.executable, "-c", before + MAIN, *arguments, *more], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("name", "where", "work"),
    [
        ("search", "import bionas.search.eg as here", "here._fitness"),  # an individual of an exploration
        ("search", "import bionas.search.ranking as here", "here.accuracy"),
        ("train", "import bionas.training.sgd as here", "here.SGD.step"),
        ("evaluate", "import bionas.analyses as here", "here._weight_gradients"),
        ("evaluate", "import bionas.analyses as here", "here.weights"),
    ],
    ids=["exploration", "ranking", "training", "analysis of batches", "analysis"],
)
def test_a_job_that_is_asked_to_stop_ends_after_at_most_one_more_piece_of_work(name, where, work, folder):
    """No clock: that it ends within seconds follows from how long one step, one individual or one batch takes."""
    there, right = result(folder, name), store.digest(result(folder, name))
    there.unlink()
    done = run(folder, name, f"{WATCHED}\n{where}\n{work} = watched({work})\n")
    assert done.returncode == 143 and "stopped on request; run the same command again to go on" in done.stdout, done.stdout + done.stderr
    assert 1 <= done.stdout.count("WORK") <= 2 and not there.exists()
    assert run(folder, name).returncode == 0 and store.digest(there) == right


OUT = {
    "a GPU's": "torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.\\nSee documentation')",
    "the machine's": "RuntimeError('[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried')",
    "Python's": "MemoryError()",
}


@pytest.mark.parametrize("whose", OUT)
def test_out_of_memory_is_one_line_and_the_job_goes_on_from_its_checkpoint(whose, folder):
    there, right = result(folder, "train"), store.digest(result(folder, "train"))
    there.unlink()
    fails = f"""
import torch
import bionas.training.loop as loop
def failing(*args):
    raise {OUT[whose]}
loop._end_epoch = failing
"""
    done = run(folder, "train", fails)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith("suite.run: out of memory (")
    assert there.with_suffix(".checkpoint").exists() and not there.exists()
    done = run(folder, "train")
    assert done.returncode == 0 and "going on after epoch 0, step" in done.stdout and store.digest(there) == right


def test_another_error_of_torchs_keeps_its_traceback(folder):
    result(folder, "train").unlink()
    fails = "import bionas.training.loop as loop\ndef failing(*args):\n    raise RuntimeError('shapes')\nloop._end_epoch = failing\n"
    with pytest.raises(AssertionError, match="RuntimeError: shapes"):
        run(folder, "train", fails)


@pytest.mark.parametrize("name", ["search", "train", "evaluate"])
def test_clocks_that_jump_by_hours_move_no_number_and_break_nothing(name, folder):
    there, right = result(folder, name), store.digest(result(folder, name))
    there.unlink()
    jumping = """
import random, time
said, real, monotonic = random.Random(0), time.time, time.monotonic
time.time = lambda: real() + said.uniform(-1e4, 1e4)
time.monotonic = lambda: monotonic() + said.uniform(-1e4, 1e4)
"""
    done = run(folder, name, jumping)
    assert done.returncode == 0, done.stderr
    assert store.digest(there) == right


@pytest.mark.parametrize("number", [0, 99])
def test_a_file_of_an_older_or_newer_format_is_one_line_and_left_as_it_is(number, folder):
    import h5py

    from suite.tests.damage import unseal

    files = {"run": result(folder, "train"), "metrics": folder / "results/faults/metrics.h5", "data set": folder / "data/digits-n60.h5"}
    for file in files.values():
        unseal(file)
        with h5py.File(file, "a") as opened:
            opened.attrs["format"] = number
    before = {file: file.read_bytes() for file in files.values()}
    result(folder, "evaluate").unlink()
    for kind, line in {
        "run": command(folder, "evaluate"),
        "metrics": command(folder, "render"),
        "data set": command(folder, "search"),
    }.items():
        if kind == "data set":
            result(folder, "search").unlink()
        done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert f"{kind} format {number}" in done.stderr and "this version reads 1" in done.stderr
    assert before == {file: file.read_bytes() for file in files.values()}
