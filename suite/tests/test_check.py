"""The gate: a bound is kept, missed, or missing, and missing is missed."""

import json
import re

import h5py
import pytest

from suite import check, store
from suite.gate import bounds


def runs(**errors):
    found = {}
    for name, error in errors.items():
        metrics = {"train_accuracy": 12.0} if error is None else {"test_error": error}
        found[f"trial/{name}/train"] = store.Run("train", name, {}, metrics=metrics, status="diverged" if error is None else "ok")
        found[f"trial/{name}/evaluation"] = store.Run("evaluation", name, {}, metrics={"worst_case_accuracy_linf_0.35": 7.0})
    return found


def outcomes(expect, **errors):
    return [(row["run"], row["kept"]) for row in bounds.judge(expect, runs(**errors))]


def test_bounds():
    expect = {"trial/a*": {"test_error": {"at_most": 5.0, "at_least": 1.0}}, "trial/b": {"worst_case_accuracy_linf_0.35": {"at_least": 8}}}
    assert outcomes(expect, a1=5.0, a2=5.1, b=0.0) == [
        ("trial/a1", True),
        ("trial/a1", True),
        ("trial/a2", False),
        ("trial/a2", True),
        ("trial/b", False),
    ]


def test_a_diverged_run_keeps_no_bound():
    expect = {"*": {"test_error": {"at_most": 100.0}, "train_accuracy": {"at_least": 5.0}}}
    assert outcomes(expect, a=None) == [("trial/a", False), ("trial/a", False)]


@pytest.fixture
def metrics(tmp_path):
    def make(name, expect=None, **errors):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            for where, run in runs(**errors).items():
                store.write_group(file.create_group(where), run)
            file["verdict"] = json.dumps(bounds.judge(expect or {}, runs(**errors)))
        return str(path)

    return make


def test_command_line_passes_fails_and_writes_only_a_pass(metrics, capsys, tmp_path):
    bound = {"trial/*": {"test_error": {"at_most": 5.0}}}
    out = tmp_path / "check.txt"
    check.main([metrics("good", bound, a=4.0), "--out", str(out)])
    assert "1 of 1 bounds kept" in capsys.readouterr().out and out.exists()
    out.unlink()
    with pytest.raises(SystemExit) as stop:
        check.main([metrics("bad", bound, a=4.0, b=6.0), "--out", str(out)])
    printed = capsys.readouterr().out
    assert stop.value.code == 1 and not out.exists()
    assert "MISSED  trial/b  test_error 6 ≤ 5" in printed and "1 of 2 bounds kept" in printed


def test_reference_catches_a_regression(metrics, capsys):
    before = metrics("before", a=4.0, b=2.0)
    check.main([metrics("near", a=4.4, b=1.0), "--reference", before])
    said = "test_error: 4.00 → 4.40, 0.40 points worse, no interval by so few seeds, 1 seed: cannot tell at this n"
    assert f"kept ?  a/train  {said}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        check.main([metrics("far", a=7.0, b=1.0), "--reference", before])
    assert "MISSED  a/train  test_error: 4.00 → 7.00, 3.00 points worse" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        check.main([metrics("fewer", a=4.0), "--reference", before])
    printed = capsys.readouterr().out
    assert re.search(r"^MISSED  trial/b/train +test_error: missing; it was 2$", printed, re.MULTILINE)
    assert re.search(r"^MISSED  trial/b/evaluation +missing; it was ok$", printed, re.MULTILINE)
    with pytest.raises(ValueError, match="share no run"):
        check.main([metrics("far2", a=7.0), "--reference", metrics("other", c=1.0)])


def test_on_github_misses_are_annotations_and_the_summary_is_appended(metrics, capsys, tmp_path, monkeypatch):
    bound = {"trial/*": {"test_error": {"at_most": 5.0}}}
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    with pytest.raises(SystemExit):
        check.main([metrics("bad", bound, a=6.0)])
    assert "::error title=trial/a::test_error 6 ≤ 5" in capsys.readouterr().out
    assert page.read_text().splitlines()[1] == f"**Fails: {str(tmp_path).replace('_', chr(92) + '_')}/bad.h5: 0 of 1 bounds kept**"
    assert "| MISSED | trial/a |" in page.read_text()


@pytest.mark.parametrize("option", ["--tolerance=-1", "--worst=nan", "--slower=0.5"])
def test_limits_that_make_no_sense_are_one_line(metrics, option):
    with pytest.raises(ValueError, match=f"{option.partition('=')[0]}: found .*; allowed: [01] or more"):
        check.main([metrics("good", a=4.0), option])


def test_a_summary_out_of_reach_fails_only_who_asked_for_it(metrics, capsys, tmp_path, monkeypatch):
    """In a container GitHub's file may not be there."""
    away = tmp_path / "none/summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(away))
    check.main([metrics("good", a=4.0)])
    assert "suite.check: no summary: " in capsys.readouterr().err
    with pytest.raises(OSError, match="No such file"):
        check.main([metrics("good2", a=4.0), "--summary", str(away)])


def test_help_says_how_it_judges(capsys):
    with pytest.raises(SystemExit):
        check.main(["--help"])
    said = capsys.readouterr().out
    assert "one-sided t-interval" in said and "yardstick" in said
