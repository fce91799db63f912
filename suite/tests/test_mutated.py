"""Files that somebody made to do harm: mutated behind a seal that is right, so that they are parsed. One line each, nothing run or written.

Each is read in a process apart, with little time. One thing is HDF5's own, and left out: where the sizes in its heap of texts overflow,
it looks for their end forever (1.14, h5py 3.16). No file comes to that by accident, since then its seal is wrong.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import zipfile
from pathlib import Path

import pytest

from bionas import dataset
from bionas.seals import SEAL
from suite import restore, store
from suite.jobs.checkpoint import Checkpoint
from suite.store import frame
from suite.tests import finished
from suite.tests.damage import reseal
from suite.tests.test_faults import make

MUTATIONS = int(os.environ.get("BIONAS_MUTATIONS", 8))  # of each kind of file
MARKS = [b"TREE", b"SNOD", b"HEAP", b"format", b"params", b"stage", b"status", b"curves", b"data.pkl", b"owner", b"state"]


def mutated(content, draw):
    """Flip, replace, move or cut, more often where names and structure are."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 4, 16])):
        place = draw.randrange(SEAL, len(changed))
        if draw.random() < 0.5 and (found := changed.find(draw.choice(MARKS), place)) > 0:
            place = min(len(changed) - 1, found + draw.randrange(64))
        match draw.randrange(4):
            case 0:
                changed[place] ^= 1 << draw.randrange(8)
            case 1:
                changed[place] = draw.randrange(256)
            case 2:
                eight = draw.choice([bytes(8), (10**12).to_bytes(8, "little"), (2**31).to_bytes(8, "little")])
                changed[place : place + 8] = eight[: len(changed) - place]
            case _:
                other = draw.randrange(SEAL, len(changed) - 32)
                changed[place : place + 32] = changed[other : other + len(changed[place : place + 32])]
    return bytes(changed[: draw.randrange(SEAL, len(changed))] if draw.random() < 0.1 else changed)


def apart(read, path):
    """Read in a process of its own; return what was said, or nothing: whatever is no ValueError of one line with the file's name."""
    told, tell = os.pipe()
    if not (pid := os.fork()):
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        said = "ok"
        try:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                read(path)
            said = out.getvalue() or said
        except ValueError as error:
            said = str(error) if type(error) is ValueError and str(path) in str(error) and "\n" not in str(error) else f"WRONG {error!r}"
        except BaseException as error:
            said = f"WRONG {error!r}"
        os.write(tell, said.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return said if status == 0 else f"WRONG status {status}"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return finished.once(tmp_path_factory, "faults", make)


def restored(path):
    restore.restore(path, path.parent / "runs")


def checkpoint(path):
    """One line says that it is not used."""
    saved = Checkpoint(path.with_suffix(".h5"), "id", {}, 0, lambda: False).load()
    assert saved is None


READERS = {
    "data": ("data/digits-n60.h5", [dataset.read]),
    "search": ("results/runs/search/**/search.h5", [store.read, store.digest, frame.read]),
    "evaluation": ("results/runs/trial/**/evaluation-*.h5", [store.read, store.digest, frame.read, frame.read_images]),
    "metrics": ("results/faults/metrics.h5", [store.digest, frame.read, frame.read_images, restored]),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_mutated_file_is_read_or_refused_in_a_line_and_writes_nothing_outside(kind, there, tmp_path):
    where, readers = READERS[kind]
    (source,) = there.glob(where)
    folder = tmp_path / "deep/er/here"
    for seed in range(MUTATIONS):
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        folder.mkdir(parents=True)
        path = folder / source.name
        path.write_bytes(reseal(mutated(source.read_bytes(), random.Random(f"{kind} {seed}"))))
        for read in readers:
            assert not (said := apart(read, path)).startswith("WRONG"), (seed, read, said)
        assert {file.name for file in tmp_path.rglob("*") if file.is_file() and folder / "runs" not in file.parents} == {source.name}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def pickled(content):
    """A file as torch writes it, of any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        members.writestr("archive/data.pkl", content)
        members.writestr("archive/version", b"3\n")
        members.writestr("archive/byteorder", b"little")
    return out.getvalue()


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("archive/data.pkl", bytes(200 * 2**20))
    return out.getvalue()


def test_a_checkpoint_that_was_made_to_do_harm_is_not_used_says_so_and_runs_nothing(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.checkpoint"
    Checkpoint(tmp_path / "train.h5", "id", {}, 0, lambda: False).save({"weights": torch.zeros(50)})
    content = path.read_bytes()
    harmful = [bytes(SEAL) + pickled(pickle.dumps(evil, protocol=2)) for evil in (Evil(), {"owner": Evil()}, [1], {}, {"owner": 1})]
    harmful += [bytes(SEAL) + bomb(), bytes(SEAL) + b"PK", bytes(SEAL)]
    harmful += [mutated(content, random.Random(seed)) for seed in range(MUTATIONS)]
    refused = 0
    for each in harmful:
        path.write_bytes(reseal(each))
        said = apart(lambda path: Checkpoint(path.with_suffix(".h5"), "id", {}, 0, lambda: False).load(), path)
        assert not said.startswith("WRONG"), said
        refused += said.count("\n") == 1 and said.startswith(f"{path}: checkpoint not used (")
    assert refused >= 8 and [file.name for file in tmp_path.iterdir()] == ["train.checkpoint"]


def test_weights_that_were_made_to_do_harm_are_refused_in_a_line_and_run_nothing(there, tmp_path, monkeypatch):
    from suite.jobs import network

    monkeypatch.chdir(tmp_path)
    (run,) = there.glob("results/runs/trial/**/train.h5")
    shutil.copy(run, tmp_path / "train.h5")
    path = tmp_path / "weights.pt"
    content = run.with_name("weights.pt").read_bytes()
    draw = random.Random(0)
    harmful = [pickled(pickle.dumps(evil, protocol=2)) for evil in (Evil(), {"x": Evil()}, [1], {})] + [bomb(), b""]
    harmful += [mutated(bytes(SEAL) + content, draw)[SEAL:] for _ in range(MUTATIONS)]
    for each in harmful:
        path.write_bytes(each)
        said = apart(lambda path: network.load(tmp_path, there / "data/digits-n60.h5"), path)
        assert "weights.pt: not " in said or (said == "ok" and len(each) == len(content)), said  # of a byte that stands for nothing
    assert {file.name for file in tmp_path.iterdir()} == {"train.h5", "weights.pt"}


def test_a_checkpoint_of_this_job_with_the_state_of_another_is_one_line(tmp_path):
    saved = Checkpoint(tmp_path / "train.h5", "id", {}, 0, lambda: False)
    for error in (KeyError("loop"), RuntimeError("size mismatch\nfor weight"), TypeError("no list")):
        with (
            pytest.raises(ValueError, match=r"train\.checkpoint: not a state of this job .*; remove it and run again$") as said,
            saved.going_on(),
        ):
            raise error
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("id", ["../../evil", "/tmp/evil", "a/../../../evil", "$(touch evil)", "; touch evil", "a\nb"])
def test_an_id_in_a_metrics_file_leaves_no_folder_and_breaks_no_line(id, there, tmp_path):
    import h5py

    from suite.tests.damage import unseal

    path = tmp_path / "deep/er/metrics.h5"
    path.parent.mkdir(parents=True)
    shutil.copy(there / "results/faults/metrics.h5", path)
    unseal(path)
    with h5py.File(path, "a") as file:
        plan = json.loads(file["plan"].asstr()[()])
        old = plan["searches"][0]["id"]
        plan["searches"][0]["id"] = id
        del file["plan"]
        file["plan"] = json.dumps(plan)
        names = [name for name in f"search/{id}".split("/") if name]
        group = file
        for name in names[:-1]:
            group = group.require_group(name)
        file.copy(f"search/{old}", group, names[-1])
    said = apart(restored, path)
    assert not said.startswith("WRONG"), said
    out = [file for file in tmp_path.rglob("*") if file.is_file() and file != path]
    assert all(file.is_relative_to(path.parent / "runs") for file in out) and not Path("/tmp/evil").exists()
