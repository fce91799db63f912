"""A benchmark with results missing: what is there is collected and shown, what is not is named with its reason, and the gate fails."""

import dataclasses
import fcntl
import functools
import json
import re

import h5py
import numpy as np
import pytest

from reports import render
from reports.numbers import tables
from suite import check, store, unfinished
from suite.collect import collect
from suite.collect import main as collect_main
from suite.definition import spec
from suite.missing import reasons
from suite.plan import load, plan

DEFINITION = """
name: parts
about: one search, one cell of it, one model
datasets: [digits]
search: {methods: [eg], rule_sets: {bio: [fa, usf]}}
cells: {rules: [searched]}
models: {names: [resnet20], rules: [fa]}
attacks: {names: [fgsm], images: 4}
expect:
  "trial/*": {test_error: {at_most: 50}, worst_case_accuracy_linf_0.35: {at_least: 1}}
  "search/*": {val_accuracy: {at_least: 20}}
"""
CELLS = {kind: [["sep_conv_3x3:usf", 0], ["max_pool_3x3", 1]] for kind in ("normal", "reduce")}
METRICS = {
    "search": {"val_accuracy": 60.0, "genotype": json.dumps(CELLS), "candidates": 8, "alpha_span": 0.1},
    "train": {"test_error": 12.5, "train_loss": 0.5, "train_accuracy": 90.0, "num_parameters": 7, "flops": 9},
    "evaluation": {
        "clean_accuracy": 75.0,
        "worst_case_accuracy_linf_0.35": 25.0,
        "robust_accuracy_fgsm_rule": 50.0,
        "robust_accuracy_fgsm_true": 25.0,
    },
}
ATTACKED = {
    "attacks/clean_correct": np.array([True, True, True, False]),
    "attacks/fgsm/rule/robust_correct": np.array([True, True, False, False]),
    "attacks/fgsm/true/robust_correct": np.array([True, False, False, False]),
}
CURVES = {"search": ("val_accuracy", "alpha_span"), "train": ("train_loss", "train_accuracy", "val_accuracy"), "evaluation": ()}


@functools.cache
def parts():
    return plan(spec.parse(DEFINITION))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where all results of the plan lie."""
    monkeypatch.chdir(tmp_path)
    for where, id, stage in parts().files():
        arrays = {f"curves/{name}": np.array([1.0, 2.0]) for name in CURVES[stage]} | (ATTACKED if stage == "evaluation" else {})
        store.write(tmp_path / "results/runs" / where, store.Run(stage, id, {}, "ok", METRICS[stage], arrays))
    return tmp_path


def file_of(folder, stage, network="", root="results/runs"):
    (file,) = [folder / root / where for where, id, s in parts().files() if s == stage and network in id]
    return file


def log_of(folder, stage, network=""):
    log = file_of(folder, stage, network, "logs").with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def collected(folder):
    """Collect what is there: {(network, stage): reason}."""
    out = folder / "partial.h5"
    collect(parts(), folder / "results/runs", out, partial=True, logs=folder / "logs")
    with h5py.File(out) as file:
        rows = json.loads(file["missing"].asstr()[()]) if "missing" in file else []
    assert all(row["run"] in parts().runs for row in rows)
    return {(row["run"].split("/")[2], row["stage"]): row["reason"] for row in rows}


def checked(capsys):
    with pytest.raises(SystemExit) as stop:
        check.main(["partial.h5", "--out", "check.txt"])
    assert stop.value.code == 1
    return capsys.readouterr().out.splitlines()


def text_of(page):
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def shown(folder):
    return text_of(render.render(tables.read(folder / "partial.h5")))


def test_whole_or_partial_a_whole_is_the_same_file(folder):
    assert collected(folder) == {}
    assert collect(parts(), folder / "results/runs", folder / "metrics.h5") == (5, 0)
    assert store.digest(folder / "partial.h5") == store.digest(folder / "metrics.h5")
    with h5py.File(folder / "metrics.h5") as file:
        assert set(file) == {"plan", "definition", "verdict", "provenance", "search", "trial"}


def test_unasked_it_stays_an_error_that_names_what_is_missing_and_writes_nothing(folder):
    for stage, network in (("evaluation", "resnet20"), ("evaluation", "eg-bio"), ("train", "eg-bio"), ("search", "")):
        file_of(folder, stage, network).unlink()
    with pytest.raises(ValueError, match=r"^4 of 5 results are missing .*search: not run yet.* and 1 more$") as error:
        collect(parts(), folder / "results/runs", folder / "metrics.h5")
    assert "\n" not in str(error.value) and not (folder / "metrics.h5").exists()


def test_a_missing_evaluation_leaves_the_errors_where_they_are(folder, capsys):
    file_of(folder, "evaluation", "resnet20").unlink()
    assert collected(folder) == {("resnet20", "evaluation"): "not run yet"}
    lines = checked(capsys)
    assert sum(line.startswith("MISSING ") for line in lines) == 1
    assert [line.split()[2:] for line in lines if line.startswith("MISSED")] == [["worst_case_accuracy_linf_0.35", "missing", "≥", "1"]]
    assert lines[-1] == "partial.h5: 4 of 5 bounds kept; 1 results missing" and not (folder / "check.txt").exists()
    page = shown(folder)
    assert "1 of 5 results missing" in page and "not run yet" in page
    assert re.search(r"FA († )?12\.50 1 ", page)  # its row of the first table
    assert (
        "Networks from genotypes on digits: robust accuracy" in page
        and "ResNet-20 on digits: robust accuracy No network here has been attacked: missing (not run yet)" in page
    )


def test_a_missing_trial_has_its_row_with_dashes_in_the_table_of_its_kind(folder, capsys):
    for stage in ("train", "evaluation"):
        file_of(folder, stage, "eg-bio").unlink()
    log_of(folder, "train", "eg-bio").write_text("epoch 1/9\nsuite.run: data/digits.h5: no such data set\n")
    assert collected(folder) == {
        ("eg-bio", "train"): "failed: suite.run: data/digits.h5: no such data set",
        ("eg-bio", "evaluation"): "its training is missing",
    }
    lines = checked(capsys)
    missing = [line.split(maxsplit=2) for line in lines if line.startswith("MISSING ")]
    assert [rest for _, _, rest in missing] == [  # what went wrong last, where it is seen
        "evaluation: its training is missing",
        "train: failed: suite.run: data/digits.h5: no such data set",
    ]
    assert all(run.startswith("trial/digits/eg-bio/searched/") for _, run, _ in missing)
    assert "3 of 5 bounds kept" in lines[-1]
    page = shown(folder)
    assert "Networks from genotypes on digits" in page and "eg-bio searched – 0" in page and "1 of 2 trained networks" in page


def test_a_missing_search_takes_its_trials_with_it(folder):
    for stage, network in (("search", ""), ("train", "eg-bio"), ("evaluation", "eg-bio")):
        file_of(folder, stage, network).unlink()
    log_of(folder, "search").write_text("Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: CUDA out of memory.\n")
    assert collected(folder) == {
        ("eg-bio", "search"): "failed: torch.OutOfMemoryError: CUDA out of memory.",
        ("eg-bio", "train"): "its search is missing",
        ("eg-bio", "evaluation"): "its training is missing",
    }
    page = shown(folder)
    assert "0 of 1 searches" in page and "eg-bio digits FA, uSF – – 0 –" in page and not re.search(r"\bnan\b", page)


def test_attacks_whose_images_another_network_makes_wait_for_that_one(tmp_path):
    given = plan(
        spec.parse(
            "{name: given, about: x, datasets: [digits], models: {names: [resnet20], rules: [bp, fa]}, "
            "attacks: {names: [fgsm], transfer_from: [bp]}}"
        )
    )
    bp, fa = given.trials
    store.write(tmp_path / f"trial/{fa}/train.h5", store.Run("train", fa, {}, "ok", METRICS["train"]))
    absent = {(f"trial/{bp}", "train"): "", (f"trial/{bp}", "evaluation"): "", (f"trial/{fa}", "evaluation"): ""}
    assert {(row["run"], row["stage"]): row["reason"] for row in reasons(given, absent, tmp_path, tmp_path)} == {
        (f"trial/{bp}", "train"): "not run yet",
        (f"trial/{bp}", "evaluation"): "its training is missing",
        (f"trial/{fa}", "evaluation"): f"its source trial/{bp} is missing",
    }


def test_of_nothing_at_all_there_is_a_page_too(folder, capsys):
    for where, _, _ in parts().files():
        (folder / "results/runs" / where).unlink()
    assert list(collected(folder).values()).count("not run yet") == 2  # the search and the model's training; the rest needs these
    page = shown(folder)
    assert "5 of 5 results missing" in page and not re.search(r"\bnan\b", page) and "0 of 2 trained networks" in page
    assert "0 of 5 bounds kept; 5 results missing" in checked(capsys)[-1]


def test_an_evaluation_without_its_training_is_no_reason_to_fall(folder):
    file_of(folder, "train", "resnet20").unlink()
    assert collected(folder) == {("resnet20", "train"): "not run yet"}
    assert re.search(r"FA († )?– 0 ", shown(folder))


def test_a_damaged_and_a_foreign_file_are_missing_with_that_reason(folder):
    file_of(folder, "train", "resnet20").write_bytes(b"damaged")
    file_of(folder, "evaluation", "eg-bio").write_bytes(file_of(folder, "evaluation", "resnet20").read_bytes())
    found = collected(folder)
    assert "train.h5: not a readable results file" in found["resnet20", "train"]
    assert "holds evaluation of digits/resnet20" in found["eg-bio", "evaluation"]
    assert len(found) == 2 and all(len(reason) <= 500 and "\n" not in reason for reason in found.values())


TRACE = "Traceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", "not run yet"),
        ("epoch 1/9\nepoch 2/9\n", "not finished: its log ends with epoch 2/9"),
        ("x: stopped on request; run it again\n", "not finished: its log ends with x: stopped on request; run it again"),
        ("x: test error 3 %; wrote train.h5\n", "removed: its log says x: test error 3 %; wrote train.h5"),
        ("suite.run: first\nepoch 1/9\n", "not finished: its log ends with epoch 1/9"),  # an earlier try's
        ("suite.run: first\nsuite.run: second\n", "failed: suite.run: second"),
        (f"{TRACE}RuntimeError: CUDA error: assert\nCompile with DSA\n\n", "failed: RuntimeError: CUDA error: assert"),
        ("\x1b[31mValueError:\tred\x1b[0m\r\n", "failed: ValueError: red"),
        ("FATAL:   could not open image x.sif\n", "failed: FATAL:   could not open image x.sif"),
        ("/bin/bash: line 1: 7 Killed     python -m suite\n", "failed: Killed: by the kernel, since memory ran out, or by somebody"),
        (
            f"{TRACE}MemoryError: std::bad_alloc\n/bin/bash: line 1: 7 Segmentation fault     python\n",
            "failed: MemoryError: std::bad_alloc; Segmentation fault",
        ),
        (f"ValueError: {'x' * 500}\n", f"failed: ValueError: {'x' * 187}…"),
    ],
)
def test_the_reason_is_what_its_log_tells(folder, log, reason):
    for stage in ("train", "evaluation"):
        file_of(folder, stage, "resnet20").unlink()
    log_of(folder, "train", "resnet20").write_text(log)
    assert collected(folder)["resnet20", "train"] == reason


def test_who_works_on_it_is_said_and_a_data_set_that_could_not_be_made(folder):
    for stage in ("train", "evaluation"):
        file_of(folder, stage, "resnet20").unlink()
    (folder / "logs/dataset").mkdir(parents=True)
    (folder / "logs/dataset/digits.log").write_text("data_prep: digits.csv.gz: checksum is wrong\n")
    assert collected(folder)["resnet20", "train"] == "its data set could not be made: data_prep: digits.csv.gz: checksum is wrong"
    with store.locked(file_of(folder, "train", "resnet20").parent):
        assert collected(folder)["resnet20", "train"].startswith("running: process ")
    assert store.holder(file_of(folder, "train", "resnet20").parent) == ""


def test_a_look_at_the_lock_takes_it_from_nobody(tmp_path):
    assert store.holder(tmp_path) == "" and not (tmp_path / ".lock").exists()
    with store.locked(tmp_path), (tmp_path / ".lock").open() as file:
        store.holder(tmp_path)
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_command_and_what_the_whole_does_to_the_part(folder, capsys):
    (folder / "parts.yaml").write_text(DEFINITION)
    evaluation = file_of(folder, "evaluation", "resnet20")
    content = evaluation.read_bytes()
    evaluation.unlink()
    with pytest.raises(ValueError, match="1 of 5 results are missing"):
        collect_main(["parts.yaml"])
    collect_main(["parts.yaml", "--partial"])
    assert "results/parts/partial.h5: 4 runs of parts, 1 missing" in capsys.readouterr().out
    evaluation.write_bytes(content)
    collect_main(["parts.yaml"])
    assert sorted(path.name for path in (folder / "results/parts").iterdir()) == ["metrics.h5"]
    collect_main(["parts.yaml", "--only", "network=resnet20"])
    with store.opened(folder / "results/parts-only/metrics.h5") as file:
        assert {run.id.split("/")[1] for run in store.runs(file).values()} == {"resnet20"}
    page = text_of(render.render(tables.read(folder / "results/parts-only/metrics.h5")))
    assert "A part of the benchmark: only network=resnet20" in page


# ------------------------------------------------------------------------------------------- after a workflow that failed


def reported(folder, before):
    """Report after a failure; return the files of the benchmark's folder."""
    (folder / "parts.yaml").write_text(DEFINITION)
    unfinished.report(load("parts.yaml"), "parts.yaml", "full", before)
    return sorted(path.name for path in (folder / "results/parts").glob("*"))


def test_after_a_failure_there_is_a_report_and_no_sign_of_a_pass(folder, capfd):
    (folder / "results/parts").mkdir()
    (folder / "results/parts/check.txt").write_text("all kept, once\n")
    before = unfinished.made(parts())
    file_of(folder, "evaluation", "resnet20").unlink()
    assert reported(folder, before - {file_of(folder, "evaluation", "resnet20").relative_to(folder)}) == ["partial.h5", "report.html"]
    said = capfd.readouterr().err
    assert said == (
        "parts: 1 of 5 results missing: not run yet (1); report on the rest: results/parts/report.html; python -m suite.status parts.yaml\n"
    )
    assert "1 of 5 results missing" in text_of((folder / "results/parts/report.html").read_text())


def test_a_benchmark_that_has_its_whole_report_keeps_it_even_without_its_runs(folder):
    (folder / "parts.yaml").write_text(DEFINITION)
    collect_main(["parts.yaml"])
    assert reported(folder, unfinished.made(parts())) == ["metrics.h5"]  # a missed bound, say
    for where, _, _ in list(parts().files())[1:]:
        (folder / "results/runs" / where).unlink()
    assert reported(folder, unfinished.made(parts())) == ["metrics.h5"]


def test_a_result_that_was_taken_away_to_be_made_anew_takes_the_whole_with_it(folder):
    """Snakemake would believe a metrics.h5 that is there, though an input of it is not."""
    (folder / "parts.yaml").write_text(DEFINITION)
    collect_main(["parts.yaml"])
    before = unfinished.made(parts())
    file_of(folder, "train", "resnet20").unlink()
    assert reported(folder, before) == ["partial.h5", "report.html"]


def test_where_there_is_nothing_there_is_no_report_but_a_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "logs/dataset/digits.log"
    log.parent.mkdir(parents=True)
    log.write_text("data_prep: no room\n")
    assert reported(tmp_path, set()) == []
    assert capfd.readouterr().err == (
        "parts: 5 of 5 results missing: its data set could not be made (2), its training is missing (2), its search is missing (1); "
        "python -m suite.status parts.yaml\n"
    )


def test_the_verdict_counts_what_did_not_end_well(folder, capsys):
    for where in [where for where, _, stage in parts().files() if stage != "evaluation"][1:]:
        file = folder / "results/runs" / where
        store.write(file, dataclasses.replace(store.read(file), status="diverged", metrics={}))
    (folder / "parts.yaml").write_text(DEFINITION)
    collect_main(["parts.yaml"])
    with pytest.raises(SystemExit):
        check.main(["results/parts/metrics.h5"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" bounds kept; 2 of 3 searches and trainings diverged")
