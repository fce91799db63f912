"""Runs of other code: found among the finished ones, named in a line, accepted."""

import dataclasses

import pytest

from suite import code, plan, store
from suite.collect import collect
from suite.definition import spec
from suite.plan.__main__ import main
from suite.plan.outdated import accept, accepted, commands, outdated, resting, say

DEFINITION = """
name: few
about: a search, its trial and a model
datasets: [digits]
search: {methods: [darts], rule_sets: {sf: [usf, frsf]}, settings: {epochs: 1}}
cells: {rules: [searched], settings: {epochs: 1, cutout: 2}}
models: {names: [resnet20], rules: [fa, bp], settings: {epochs: 1}}
attacks: {names: [fgsm], images: 2}
"""


@pytest.fixture
def planned():
    return plan.plan(spec.parse(DEFINITION))


@pytest.fixture
def runs(planned, tmp_path):
    """Finished runs of the plan, all but one model's, by the code here."""

    def make(**made_by):
        for file, id, stage in planned.files():
            if "/bp/" in file:
                continue
            params = (planned.searches if stage == "search" else planned.trials)[id].params
            provenance = {"code": made_by.get(stage) or code.of(stage, params)}
            store.write(tmp_path / file, store.Run(stage, id, params, provenance={} if made_by.get(stage) == "none" else provenance))
        return tmp_path

    return make


def names(found):
    return {(run.name.split("/")[2], run.name.rpartition("/")[2] if run.name.startswith("trial") else "search") for run in found}


def test_only_finished_runs_of_other_code_are_found(planned, runs):
    assert outdated(planned, runs()) == []
    assert names(outdated(planned, runs(evaluation="0123"))) == {("resnet20", "evaluation"), ("darts-sf", "evaluation")}
    assert names(outdated(planned, runs(search="0123"))) == {("darts-sf", "search")}


def test_a_run_that_does_not_say_its_code_counts_and_one_that_cannot_be_read_does_not(planned, runs):
    folder = runs(train="none")
    assert {run.made_by for run in outdated(planned, folder)} == {"unknown"}
    for file in folder.rglob("train.h5"):
        file.write_bytes(b"damaged")  # collect says so
    assert outdated(planned, folder) == []


def test_what_rests_on_a_search_and_on_a_training(planned, runs):
    (cells,) = (id for id in planned.trials if "darts-sf" in id)
    (model,) = (id for id in planned.trials if "resnet20/fa" in id)
    assert resting(planned, outdated(planned, runs(search="0123"))) == [f"trial/{cells}/train", f"trial/{cells}/evaluation"]
    found = resting(planned, outdated(planned, runs(train="0123")))
    assert set(found) == {f"trial/{cells}/evaluation", f"trial/{model}/evaluation"}
    assert resting(planned, outdated(planned, runs(train="0123", evaluation="0123"))) == []


def test_accepted_codes_are_the_same_but_for_others(planned, runs):
    folder = runs(search="old", evaluation="older")
    (search,) = (run for run in outdated(planned, folder) if run.made_by == "old")
    accept(folder, [("old", search.here), ("older", "another")])
    accept(folder, [("old", search.here), ("old", "another")])
    assert accepted(folder) == {"old": [search.here, "another"], "older": ["another"]}
    assert {run.made_by for run in outdated(planned, folder)} == {"older"}


@pytest.mark.parametrize("content", ["[1]", "{", '{"a": 1}'])
def test_a_damaged_file_of_accepted_codes_is_said_in_one_line(planned, tmp_path, content):
    (tmp_path / "accepted.json").write_text(content)
    with pytest.raises(ValueError, match=r"accepted\.json: not readable .*; remove it and confirm again"):
        outdated(planned, tmp_path)


def test_one_line_names_a_few_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert say(["a"]) == "1 finished run was made by other code than this: a"
    assert say(list("abcdefg")) == "7 finished runs were made by other code than this: a, b, c, d, e and 2 more"
    assert commands(["x.yaml"], "full") == (
        "snakemake --cores all --config benchmark=x.yaml code=equal",
        "python -m suite.confirm x.yaml",
    )
    anew, confirm = commands(["x y.yaml", "z.yaml"], "tiny")
    assert anew == "snakemake --cores all --config 'benchmark=x y.yaml,z.yaml' code=equal size=tiny"
    assert confirm == "python -m suite.confirm 'x y.yaml' z.yaml --size tiny"


def test_the_plan_says_it(tmp_path, capsys):
    text = "{name: one, about: x, datasets: [digits], models: {names: [resnet20], rules: [fa], settings: {epochs: 1}}}"
    (tmp_path / "one.yaml").write_text(text)
    ((file, id, stage),) = plan.load(str(tmp_path / "one.yaml")).files()
    store.write(tmp_path / "runs" / file, store.Run(stage, id, {}))
    main([str(tmp_path / "one.yaml"), "--runs", str(tmp_path / "runs")])
    *above, line = capsys.readouterr().out.splitlines()
    assert "0 searches, 1 trials; 1 of 1 results are there; results in results/one/" in above
    assert line.startswith("1 finished run was made by other code than this: trial/digits/resnet20/fa/seed0")
    assert f"snakemake --cores all --config benchmark={tmp_path}/one.yaml code=equal" in line


def test_metrics_name_them_outside_the_digest(planned, runs, tmp_path):
    for id, trial in planned.trials.items():
        if "/bp/" in id:
            planned = dataclasses.replace(planned, trials={k: v for k, v in planned.trials.items() if v is not trial})
    digests = set()
    for made_by in ({}, {"train": "0123"}):
        collect(planned, runs(**made_by), tmp_path / "metrics.h5")
        digests.add(store.digest(tmp_path / "metrics.h5"))
    assert len(digests) == 1
