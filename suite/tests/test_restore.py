"""Runs from a metrics file: what is restored collects to the same file again."""

import h5py
import numpy as np
import pytest

from suite import plan, restore, store
from suite.collect import collect
from suite.definition import spec
from suite.tests import damage

DEFINITION = """
name: kept
about: two searches and their cells
datasets: [digits]
device: cpu
search: {methods: [darts], rule_sets: {bio: [fa, usf]}, settings: {epochs: 1}}
cells: {rules: [searched, fa], tune: {lr: [0.1, 0.2]}}
attacks: {names: [fgsm], gradients: [rule], images: 4}
"""


@pytest.fixture
def collected(tmp_path):
    planned = plan.plan(spec.parse(DEFINITION))
    for number, (where, id, stage) in enumerate(planned.files()):
        path = tmp_path / "runs" / where
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics, arrays = {"val_accuracy": float(number), "test_error": 1.0}, {"curves/loss": np.arange(3.0), "words": ["a", "ü"]}
        provenance = {"code": f"{number}"}
        store.write(
            path, store.Run(stage, id, {"a": number}, metrics=metrics, arrays=arrays, provenance=provenance, timings={"seconds": 1.0})
        )
    collect(planned, tmp_path / "runs", tmp_path / "metrics.h5")
    return planned, tmp_path


def test_what_is_restored_is_what_was_collected(collected, capsys):
    planned, folder = collected
    restore.main([str(folder / "metrics.h5"), "--runs", str(folder / "again")])
    count = len(list(planned.files()))
    assert count == 1 + 4 + 2 * 2 and f"{count} runs written" in capsys.readouterr().out
    for where, *_ in planned.files():
        before, after = store.read(folder / "runs" / where), store.read(folder / "again" / where)
        assert store.digest(folder / "runs" / where) == store.digest(folder / "again" / where)
        assert (before.provenance, before.timings) == (after.provenance, after.timings)
    collect(planned, folder / "again", folder / "again.h5")
    assert store.digest(folder / "again.h5") == store.digest(folder / "metrics.h5")


def test_a_run_that_is_there_is_left_alone(collected):
    planned, folder = collected
    where = next(where for where, *_ in planned.files())
    (folder / "runs" / where).write_text("mine")
    assert restore.restore(folder / "metrics.h5", folder / "runs") == (0, 9)
    assert (folder / "runs" / where).read_text() == "mine"


def test_a_name_that_would_leave_the_folder_is_refused(collected):
    _, folder = collected
    damage.unseal(folder / "metrics.h5")
    with h5py.File(folder / "metrics.h5", "a") as file:
        text = file["plan"].asstr()[()]
        id = next(iter(plan.plan(spec.parse(DEFINITION)).searches))
        del file["plan"]
        file["plan"] = text.replace(f'"id": "{id}"', '"id": "../../../evil"')
        file.create_group("search/../../..")  # two dots are a name like any other in HDF5
        file.move(f"search/{id}", "search/../../../evil")
    with pytest.raises(ValueError, match="outside"):
        restore.restore(folder / "metrics.h5", folder / "runs")


def test_a_runs_file_is_no_metrics_file(collected):
    planned, folder = collected
    where = next(where for where, *_ in planned.files())
    with pytest.raises(ValueError, match=r"not a metrics file; make one with python -m suite\.collect"):
        restore.restore(folder / "runs" / where, folder / "again")
    assert not (folder / "again").exists()


def test_of_a_partial_file_what_is_there_is_restored(collected):
    _, folder = collected
    damage.unseal(folder / "metrics.h5")
    with h5py.File(folder / "metrics.h5", "a") as file:
        del file["search"]
    assert restore.restore(folder / "metrics.h5", folder / "again") == (8, 0)


def test_another_file_is_one_line(tmp_path):
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(ValueError, match="not a readable results file"):
        restore.restore(tmp_path / "x.h5", tmp_path)
