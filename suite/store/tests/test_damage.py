"""A bit that flips is found, in whatever file it lies, and the error says which file, and which command makes it again."""

import io
import json
import random

import h5py
import numpy as np
import pytest

from bionas import dataset
from bionas.seals import SEAL, sealing, whole
from data_prep import digits
from suite import plan, store
from suite.collect import collect
from suite.definition import spec
from suite.jobs.checkpoint import Checkpoint
from suite.store import frame
from suite.store.tests.test_store import run
from suite.tests.damage import flipped, reseal, sealed, unseal

FLIPS = 150  # of each file
DEFINITION = """
name: kept
about: a run that is there
datasets: [digits]
models: {names: [resnet20], rules: [bp]}
"""


def some_bits(content, num=FLIPS):
    """Some in the seal, and more behind it."""
    draw = random.Random(0)
    return [draw.randrange(SEAL * 8) for _ in range(num // 5)] + [draw.randrange(SEAL * 8, len(content) * 8) for _ in range(num)]


def same(read, other):
    return store.digest_of_run(read) == store.digest_of_run(other) and str(read.timings | read.provenance) == str(
        other.timings | other.provenance
    )


@pytest.fixture
def collected(tmp_path):
    """A plan of one run, its folder of runs, and the metrics file."""
    planned = plan.plan(spec.parse(DEFINITION))
    (trial,) = planned.trials.values()
    file = tmp_path / "runs/trial" / trial.id / "train.h5"
    store.write(file, run(id=trial.id, params=trial.params))
    file.with_suffix(".json").write_text(json.dumps(trial.params))
    collect(planned, tmp_path / "runs", tmp_path / "metrics.h5")
    return planned, file, tmp_path / "metrics.h5"


def test_a_flipped_bit_anywhere_in_a_run_is_an_error_or_moves_nothing(tmp_path):
    path = tmp_path / "train.h5"
    store.write(path, run())
    content, right, found = path.read_bytes(), store.read(path), 0
    assert sealed(path)
    for bit in some_bits(content):
        path.write_bytes(flipped(content, bit))
        try:
            assert same(store.read(path), right), bit  # in the words that mark a seal: it is taken for a file without one
        except ValueError as error:
            assert "\n" not in str(error) and str(error).startswith(f"{path}: damaged") and "snakemake" in str(error)
            found += 1
    assert found > FLIPS  # all of those behind the seal, for sure


def test_a_flipped_bit_of_an_array_or_an_attribute_was_not_seen_without_a_seal(tmp_path):
    """What the seal is for: the same bit in a file without one gives another number."""
    path = tmp_path / "train.h5"
    store.write(path, run())
    content = path.read_bytes()
    where = content.index(np.array([1.0, 0.5]).tobytes()) * 8 + 50
    path.write_bytes(flipped(content, where))
    with pytest.raises(ValueError, match="damaged"):
        store.read(path)
    unseal(path)
    assert store.read(path).arrays["curves/loss"].tolist() != [1.0, 0.5]


def test_a_flipped_bit_of_a_run_in_a_metrics_file_is_found_by_all_who_read_it(collected):
    _, _, metrics = collected
    content = metrics.read_bytes()
    assert sealed(metrics)
    place = content.index(np.array([1.0, 0.5]).tobytes()) * 8
    for bit in [place, *some_bits(content, 30)]:
        metrics.write_bytes(flipped(content, bit))
        for read in (store.digest, frame.read, frame.read_images):
            try:
                read(metrics)
                assert not sealed(metrics) and bit < SEAL * 8
            except ValueError as error:
                assert str(error).startswith(f"{metrics}: damaged")


def test_collect_names_the_damaged_run_and_the_command_that_makes_it_again(collected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned, file, metrics = collected
    content, before = file.read_bytes(), metrics.read_bytes()
    file.write_bytes(flipped(content, content.index(np.array([1.0, 0.5]).tobytes()) * 8))
    with pytest.raises(ValueError, match="damaged") as error:
        collect(planned, tmp_path / "runs", metrics)
    assert str(error.value).endswith(f"make it again with: python -m suite.run train {file.with_suffix('.json')}")
    assert metrics.read_bytes() == before
    assert not store.finished(file, planned.trials[next(iter(planned.trials))].params)  # so that the command makes it


def test_a_packed_file_is_compared_with_its_seal_too(collected):
    import lzma

    _, _, metrics = collected
    packed, content = metrics.with_name("metrics.h5.xz"), metrics.read_bytes()
    packed.write_bytes(lzma.compress(content))
    assert store.digest(packed) == store.digest(metrics)
    packed.write_bytes(lzma.compress(flipped(content, content.index(np.array([1.0, 0.5]).tobytes()) * 8)))
    with pytest.raises(ValueError, match=r"xz: damaged, not what was written; get it again"):
        store.digest(packed)


def test_what_has_no_seal_is_read_as_before_with_the_same_digest(tmp_path):
    path, old = tmp_path / "train.h5", tmp_path / "old.h5"
    store.write(path, run())
    with h5py.File(old, "w") as file:
        store.write_group(file, run())
    assert not sealed(old) and same(store.read(old), store.read(path)) and store.digest(old) == store.digest(path)


def test_a_flipped_bit_in_a_data_set_is_found_in_its_labels_too(tmp_path):
    """Old: labels, means and names had nothing to tell it by; another label of the right range was one."""
    path = tmp_path / "digits.h5"
    dataset.write(path, digits.prepare(tmp_path))
    content, right = path.read_bytes(), dataset.read(path)
    assert sealed(path)
    labels = content.index(right.train_labels[:100].tobytes()) * 8
    for bit in [labels, *some_bits(content, 40)]:
        path.write_bytes(flipped(content, bit))
        try:
            found = dataset.read(path)
            assert bit < SEAL * 8 and found.checksum == right.checksum and (found.train_labels == right.train_labels).all()
        except ValueError as error:
            assert str(error) == f"{path}: damaged, not what was written; make it with: python -m data_prep digits --out {path}"


def test_a_data_set_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    path = tmp_path / "digits.h5"
    dataset.write(path, digits.prepare(tmp_path))
    unseal(path)
    with h5py.File(path, "a") as file:
        file["train/images"].resize(10**10, axis=0)  # 640 GB of zeros
    with pytest.raises(ValueError, match=r"digits\.h5: not a readable data set file .*/train/images claims \(10000000000, 1, 8, 8\)"):
        dataset.read(path)


def test_a_run_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        store.write_group(file, run())
        file.create_dataset("curves/val_loss", (10**12,), "f8", chunks=(1024,))
    with pytest.raises(ValueError, match=r"train\.h5: not a readable results file .*curves/val_loss claims"):
        store.read(path)


def test_a_flipped_bit_in_a_checkpoint_starts_the_work_anew(tmp_path, capsys):
    """Old: PyTorch checks none of a tensor's bytes, so that work went on from other weights."""
    import torch

    weights = torch.arange(1000, dtype=torch.float64)
    checkpoint = Checkpoint(tmp_path / "train.h5", "id", {"lr": 0.1}, 0, lambda: False)
    checkpoint.save({"weights": weights})
    content = checkpoint.path.read_bytes()
    assert sealed(checkpoint.path) and torch.equal(checkpoint.load()["weights"], weights)
    place = content.index(weights.numpy().tobytes()) * 8
    for bit in [place + 30_000, *(bit for bit in some_bits(content, 40) if bit >= SEAL * 8)]:
        checkpoint.path.write_bytes(flipped(content, bit))
        capsys.readouterr()
        assert checkpoint.load() is None
        assert capsys.readouterr().out == f"{checkpoint.path}: checkpoint not used (damaged, not what was written); starting anew\n"
    unseal(checkpoint.path)  # the last flip goes unseen, as it did
    older = content[SEAL:]
    checkpoint.path.write_bytes(older)
    assert torch.equal(checkpoint.load()["weights"], weights)  # of an earlier version: it has no seal


def test_a_seal_is_of_all_that_follows_wherever_the_file_lies(tmp_path):
    path = tmp_path / "a"
    with sealing(path) as partial:
        partial.write_bytes(bytes(SEAL) + b"content")
    assert path.read_bytes() == reseal(path.read_bytes())
    for content, kept, begins in (
        (path.read_bytes(), True, SEAL),
        (path.read_bytes()[:-1], False, SEAL),
        (b"content", True, 0),
        (b"", True, 0),
    ):
        file = io.BytesIO(content)
        assert (whole(file), file.tell()) == (kept, begins)
    with pytest.raises(AssertionError), sealing(path) as partial:
        partial.write_bytes(b"no room for a seal" * 100)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
