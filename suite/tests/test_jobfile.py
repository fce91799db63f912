"""A job's parameters in a file beside its result: written by the workflow, and all that a job needs."""

import json
from pathlib import Path

import pytest

from suite import jobfile, run, store
from suite.plan import load

DEFINITION = """
name: files
about: a search, its cell with a rate from a grid, and images of another network
datasets: [digits]
search: {methods: [eg], rule_sets: {bio: [fa, usf]}}
cells: {rules: [searched], tune: {lr: [0.1, 0.2]}}
models: {names: [resnet20], rules: [bp, fa]}
attacks: {names: [fgsm], images: 4, transfer_from: [bp]}
"""
RUNS = Path("results/runs")


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("files.yaml").write_text(DEFINITION)
    planned = load("files.yaml")
    jobfile.write(planned)
    return planned


def trial(planned, name):
    return next(trial for trial in planned.trials.values() if trial.name == name)


def test_every_result_has_its_parameters_beside_it(planned):
    files = sorted(path.with_suffix(".h5").relative_to(RUNS).as_posix() for path in RUNS.rglob("*.json"))
    assert files == sorted(where for where, _, _ in planned.files())


def test_written_again_they_are_left_alone_unless_they_were_damaged(planned):
    first, *_, last = sorted(RUNS.rglob("*.json"))
    before = last.stat()
    content = first.read_text()
    first.write_text("{")
    jobfile.write(planned)
    assert first.read_text() == content and last.stat() == before


def test_a_training_finds_its_search_and_the_trials_that_choose_its_rate(planned):
    cell = trial(planned, "eg-bio/searched")
    folder = RUNS / "trial" / cell.id
    given = jobfile.read("train", folder / "train.json")
    assert json.loads(given["params"]) == cell.params
    assert (given["out"], given["data"]) == (folder, Path("data/digits.h5"))
    assert given["search"] == (RUNS / "search" / cell.parent / "search.h5").absolute()
    assert given["tuning"] == [(RUNS / "trial" / tuner.id / "train.h5").absolute() for tuner in cell.tuners]
    assert jobfile.read("train", RUNS / "trial" / trial(planned, "resnet20/fa").id / "train.json")["search"] is None


def test_an_evaluation_finds_whom_it_attacks_and_whose_images_it_takes(planned):
    fa, bp = trial(planned, "resnet20/fa"), trial(planned, "resnet20/bp")
    folder = RUNS / "trial" / fa.id
    store.write(folder / "train.h5", store.Run("train", fa.id, fa.params))
    given = jobfile.read("evaluate", folder / f"evaluation-{fa.evaluation.id}.json")
    assert json.loads(given["params"]) == fa.evaluation.params
    assert (given["trial"], given["out"]) == (folder, folder / f"evaluation-{fa.evaluation.id}.h5")
    assert given["data"] == Path("data/digits.h5")
    assert given["sources"] == [(RUNS / "trial" / bp.id).absolute()]


def test_the_file_may_be_named_from_anywhere(planned, monkeypatch):
    cell = trial(planned, "eg-bio/searched")
    found = jobfile.read("train", RUNS / "trial" / cell.id / "train.json")["search"]
    monkeypatch.chdir(RUNS / "trial" / cell.id)
    assert jobfile.read("train", Path("train.json"))["search"] == found


@pytest.mark.parametrize(
    ("command", "change", "words"),
    [
        ("train", lambda file: file.unlink(), "no such file; the workflow writes"),
        ("train", lambda file: file.write_text("{"), "not JSON"),
        ("train", lambda file: file.write_text("[]"), "not the parameters of `train`"),
        ("search", lambda file: None, "not the parameters of `search`"),
        ("evaluate", lambda file: None, "train.h5"),
    ],
)
def test_a_file_that_is_none_is_said_in_a_line(planned, command, change, words):
    file = RUNS / "trial" / trial(planned, "resnet20/fa").id / "train.json"
    change(file)
    with pytest.raises(ValueError, match=words) as error:
        jobfile.read(command, file)
    assert "\n" not in str(error.value)


def test_parameters_that_were_carried_elsewhere_are_refused(planned, tmp_path):
    file = RUNS / "trial" / trial(planned, "resnet20/fa").id / "train.json"
    (tmp_path / "train.json").write_text(file.read_text())
    with pytest.raises(ValueError, match="belong into a folder of that name"):
        jobfile.read("train", Path("train.json"))


def test_neither_a_file_nor_options_is_said_in_a_line():
    with pytest.raises(ValueError, match=r"--params, --data, --out missing; or give the file of parameters"):
        run.main(["train"])
    with pytest.raises(ValueError, match=r"--trial, --out missing"):
        run.main(["evaluate", "--params", "{}", "--data", "x.h5"])
