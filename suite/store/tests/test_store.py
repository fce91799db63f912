"""The store: whole files or none, one writer, and a digest that sees numbers and nothing else."""

import fcntl
import json
import lzma
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from suite import store
from suite.store import comparing, locking, origin
from suite.tests.damage import unseal


def run(**changes):
    return replace(
        store.Run(
            stage="train",
            id="digits/x",
            params={"seed": 1, "settings": {"lr": 0.1}},
            metrics={"test_error": 2.5, "epochs": 3, "kind": "last epoch"},
            arrays={"curves/loss": np.array([1.0, 0.5]), "attacks/fgsm/robust": np.array([True, False])},
            timings={"seconds": 1.5, "epoch_seconds": [0.5, 1.0]},
            provenance={"commit": "abc", "dirty": False},
        ),
        **changes,
    )


def test_a_run_comes_back_as_it_went(tmp_path):
    path = tmp_path / "deep" / "train.h5"
    store.write(path, run())
    back = store.read(path)
    assert (back.stage, back.id, back.status, back.params, back.metrics) == ("train", "digits/x", "ok", run().params, run().metrics)
    assert {name: value.tolist() for name, value in back.arrays.items()} == {n: v.tolist() for n, v in run().arrays.items()}
    assert back.provenance["commit"] == "abc" and back.timings["epoch_seconds"].tolist() == [0.5, 1.0]
    assert [p.name for p in path.parent.iterdir()] == ["train.h5"]


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"provenance": {"commit": "def"}}, False),
        ({"timings": {"seconds": 9.0}}, False),
        ({"metrics": {**run().metrics, "test_error": 2.5000000000000004}}, True),
        ({"arrays": {"curves/loss": np.array([1.0, 0.5])}}, True),
        ({"arrays": {**run().arrays, "zeta/loss": np.array([1.0])}}, True),  # behind provenance and timings by name
        ({"params": {"seed": 2}}, True),
        ({"status": "diverged"}, True),
    ],
    ids=str,
)
def test_digest_sees_numbers_and_nothing_else(tmp_path, changes, moves):
    store.write(tmp_path / "a.h5", run())
    store.write(tmp_path / "b.h5", run(**changes))
    assert (store.digest(tmp_path / "a.h5") != store.digest(tmp_path / "b.h5")) == moves
    of_runs = {store.digest_of_run(store.read(tmp_path / name)) for name in ("a.h5", "b.h5")}
    assert (len(of_runs) == 2) == moves


def test_a_collection_has_its_runs_by_their_places(tmp_path):
    with h5py.File(tmp_path / "metrics.h5", "w") as file:
        store.write_group(file.create_group("trial/x/train"), run())
        store.write_group(file.create_group("search/y"), run(stage="search", id="y"))
        assert {place: each.id for place, each in store.runs(file).items()} == {"trial/x/train": "digits/x", "search/y": "y"}


def test_digest_of_a_collection_leaves_out_provenance_at_any_depth(tmp_path):
    for name, commit in (("a", "abc"), ("b", "def")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            store.write_group(file.create_group("trial/x/train"), run(provenance={"commit": commit}))
    assert store.digest(tmp_path / "a.h5") == store.digest(tmp_path / "b.h5")


def test_digest_of_a_collection_is_of_its_runs_whatever_file_they_lie_in(tmp_path):
    """Old: the plan and the definition's text counted, so that two files with the same numbers had two digests."""
    digests = []
    for names in (["x", "y"], ["x"], ["y"]):
        path = tmp_path / f"{'-'.join(names)}.h5"
        with h5py.File(path, "w") as file:
            file["plan"], file["definition"] = json.dumps(names), f"# {names}"
            for name in names:
                store.write_group(file.create_group(f"trial/{name}/train"), run(id=name))
            digests.append({place: store.digest_of_run(each) for place, each in store.runs(file).items()})
        assert store.digest(path) == store.joined(digests[-1])
    both, first, second = digests
    assert store.joined(second | first) == store.joined(both) != store.joined(first)


def test_many_runs_are_the_same_by_one_process_and_by_several(tmp_path, monkeypatch):
    path = tmp_path / "metrics.h5"
    with h5py.File(path, "w") as file:
        for name in "xyz":
            store.write_group(file.create_group(f"trial/{name}/train"), run(id=name))
    monkeypatch.setattr(comparing, "MANY", 1)
    alone, together = store.digested(path), store.digested(path, processes=2)
    assert list(alone) == list(together) == [f"trial/{name}/train" for name in "xyz"]
    assert {place: digest for place, (_, digest) in alone.items()} == {place: digest for place, (_, digest) in together.items()}
    assert [read.metrics for read, _ in together.values()] == [read.metrics for read, _ in alone.values()]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "train.h5"
    store.write(path, run())
    before = store.digest(path)
    with pytest.raises(TypeError):
        store.write(path, run(arrays={"curves/loss": np.array([object()])}))
    assert store.digest(path) == before and [p.name for p in tmp_path.iterdir()] == ["train.h5"]


def test_a_device_or_a_folder_is_never_replaced(tmp_path):
    with pytest.raises(ValueError, match="no ordinary file"):
        store.write(tmp_path, run())
    with pytest.raises(ValueError, match="no ordinary file"):
        store.write(Path("/dev/null"), run())


def truncated(path):
    path.write_bytes(path.read_bytes()[:-500])


def overwritten(path):
    path.write_bytes(b"no HDF5 at all")


def of_another_format(path):
    unseal(path)
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 99


def without_a_run(path):
    path.unlink()
    h5py.File(path, "w").close()


@pytest.mark.parametrize("damage", [truncated, overwritten, of_another_format, without_a_run, lambda path: path.unlink()])
def test_a_damaged_file_is_one_line_with_its_path(tmp_path, damage):
    path = tmp_path / "train.h5"
    store.write(path, run())
    damage(path)
    with pytest.raises(ValueError, match=r"train\.h5") as error:
        store.read(path)
    assert "\n" not in str(error.value)
    assert not store.finished(path, run().params)


def test_another_format_is_named_beside_ours(tmp_path):
    path = tmp_path / "train.h5"
    store.write(path, run())
    of_another_format(path)
    with pytest.raises(ValueError, match="run format 99; this version reads 1"):
        store.read(path)
    without_a_run(path)
    with pytest.raises(ValueError, match="no run here"):
        store.read(path)


def test_finished_means_whole_and_of_these_parameters(tmp_path):
    path = tmp_path / "train.h5"
    store.write(path, run())
    assert store.finished(path, run().params) and not store.finished(path, {"seed": 2})


def test_where_the_workflow_demands_it_finished_means_of_this_code_too(tmp_path, monkeypatch):
    path = tmp_path / "train.h5"
    store.write(path, run(provenance={"code": "0123"}))
    assert store.finished(path, run().params, made_by="4567") and store.made_by(path) == "0123"
    monkeypatch.setattr("suite.code.demanded", lambda: True)
    assert store.finished(path, run().params, made_by="".join("0123")) and not store.finished(path, run().params, made_by="4567")


def test_who_made_a_run_is_unknown_of_an_old_file_and_of_none_there_is_nothing_to_know(tmp_path):
    store.write(tmp_path / "train.h5", run())
    assert store.made_by(tmp_path / "train.h5") == "unknown"
    assert store.made_by(tmp_path / "none.h5") is None
    h5py.File(tmp_path / "empty.h5", "w").close()
    assert store.made_by(tmp_path / "empty.h5") is None


def test_a_holder_is_named_while_it_holds(tmp_path):
    assert locking.holder(tmp_path) == ""
    with store.locked(tmp_path) as got:
        assert got and locking.holder(tmp_path).startswith(f"process {os.getpid()} on ")
        (tmp_path / ".lock").write_text("")  # taken, and not yet signed
        assert locking.holder(tmp_path) == "another process"
    assert locking.holder(tmp_path) == ""


def test_who_is_not_told_to_stop_waits_until_the_lock_is_free(tmp_path, monkeypatch, capsys):
    held = (tmp_path / ".lock").open("a+")
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr(locking.time, "sleep", lambda seconds: held.close())
    with store.locked(tmp_path) as got:
        assert got and held.closed
    assert f"{tmp_path}: another process works on this run" in capsys.readouterr().out


def test_who_comes_second_waits_names_the_holder_and_gets_the_lock_when_the_holder_is_killed(tmp_path, capsys):
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import pathlib, sys, time; from suite import store\n"
            "with store.locked(pathlib.Path(sys.argv[1])):\n  print('held', flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with store.locked(tmp_path, should_stop=lambda: True) as got:
        assert not got
    assert f"process {holder.pid} on " in capsys.readouterr().out
    (tmp_path / ".train.h5.1.partial").touch()  # what a killed writer leaves

    def kill():
        holder.kill()
        return False

    with store.locked(tmp_path, should_stop=kill) as got:
        assert got and not list(tmp_path.glob("*.partial"))
    holder.wait()


def test_provenance_is_complete_and_needs_no_torch():
    code = "import sys; from suite import store; p = store.provenance('cpu', 1, 0); print(sorted(p)); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("commit", "dirty", "image", "device", "threads", "argv", "seed", "version_torch"):
        assert f"'{name}'" in done.stdout


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_git_is_asked_without_a_lock_that_a_kill_would_leave_in_the_checkout(tmp_path, monkeypatch):
    def git(*args):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "code.py"
    file.write_text("")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    os.utime(file, (10**9, 10**9))  # git would look at it, and note in its index, under a lock, that it is the same
    monkeypatch.setattr(origin, "__file__", str(file))
    before = (tmp_path / ".git/index").read_bytes()
    assert origin.provenance("cpu", 1, 0)["dirty"] == "no"
    assert (tmp_path / ".git/index").read_bytes() == before
    git("status")
    assert (tmp_path / ".git/index").read_bytes() != before


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_gits():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(store.__file__).parent, capture_output=True, text=True)
    found = store.provenance("cpu", 1, 0)
    assert found["commit"] == (done.stdout.strip() or "unknown") and (found["dirty"] in ("yes", "no")) == (done.returncode == 0)


def test_where_there_is_no_git_and_no_such_package_provenance_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(origin, "PACKAGES", ("h5py", "no-such-package"))
    found = store.provenance("cpu", 1, 0)
    assert (found["commit"], found["dirty"], found["version_no-such-package"]) == ("unknown", "unknown", "absent")
    assert found["version_h5py"] == h5py.__version__


def test_the_command_prints_a_digest_a_file_and_a_mistake_is_one_line(tmp_path):
    store.write(tmp_path / "a.h5", run())
    command = [sys.executable, "-m", "suite.store", str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{store.digest(tmp_path / 'a.h5')}  {tmp_path / 'a.h5'}\n")
    done = subprocess.run([*command, str(tmp_path / "none.h5")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"suite.store: {tmp_path / 'none.h5'}: no such file\n")


def test_a_packed_file_reads_the_same_and_a_damaged_or_endless_one_is_one_line(tmp_path, monkeypatch):
    store.write(tmp_path / "run.h5", store.Run("train", "id", {"a": 1}, metrics={"x": 1.5}, arrays={"curves/loss": np.arange(3.0)}))
    packed = tmp_path / "run.h5.xz"
    packed.write_bytes(lzma.compress((tmp_path / "run.h5").read_bytes()))
    assert store.digest(packed) == store.digest(tmp_path / "run.h5") and store.read(packed).metrics == {"x": 1.5}
    whole = packed.read_bytes()
    for damaged in (whole[:-40], whole[:30] + b"?" + whole[31:], b"no"):
        packed.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run\.h5\.xz: not a readable results file"):
            store.read(packed)
    packed.write_bytes(whole)
    monkeypatch.setattr("suite.store.layout.LARGEST", 100)
    with pytest.raises(ValueError, match="unpacks to more than"):
        store.read(packed)
