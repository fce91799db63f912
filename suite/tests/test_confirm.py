"""A refactoring is answered by one command: old results are accepted where a tiny run makes the same numbers, and nowhere else."""

import shutil
import subprocess
import sys

import h5py
import pytest

from suite import code, confirm, plan, store
from suite.confirm import Made, judge
from suite.definition import spec
from suite.plan.outdated import accepted, outdated

DEFINITION = """
name: one
about: one model
datasets: [digits]
models: {names: [resnet20], rules: [fa], settings: {epochs: 1}}
"""


def test_codes_are_the_same_where_all_runs_of_both_are():
    old = {"search/a": Made("s1", "x", "ok"), "trial/a/train": Made("t1", "y", "ok"), "trial/gone/train": Made("t1", "z", "ok")}
    here = {"search/a": Made("s2", "x", "ok"), "trial/a/train": Made("t2", "y", "ok")}
    assert judge(old, here) == ({("s1", "s2"), ("t1", "t2")}, [])
    assert judge(old, {**here, "trial/a/train": Made("t2", "other", "ok")}) == (set(), ["trial/a/train"])


def test_a_skipped_or_diverged_run_proves_nothing_and_neither_does_one_that_does_not_know_its_code():
    for status in ("diverged", "skipped(parent diverged)"):
        assert judge({"search/a": Made("s1", "x", status)}, {"search/a": Made("s2", "x", status)}) == (set(), [])
    assert judge({"search/a": Made("unknown", "x", "ok")}, {"search/a": Made("s2", "x", "ok")}) == (set(), [])


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """One finished run of other code, and the command that would confirm it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(DEFINITION)
    planned = plan.plan(spec.parse(DEFINITION))
    ((file, id, stage),) = planned.files()

    def make(**provenance):
        run = store.Run(stage, id, planned.trials[id].params, provenance={"code": "0123", **provenance})
        store.write(tmp_path / "results/runs" / file, run)

    return make


def test_nothing_to_confirm(finished, capsys):
    confirm.main(["one.yaml"])
    assert "nothing to confirm" in capsys.readouterr().out


@pytest.mark.parametrize("commit", ["unknown", "0" * 40])
def test_a_commit_that_git_does_not_know_is_said_in_one_line(finished, commit):
    finished(commit=commit)
    with pytest.raises(ValueError, match=f"commit {commit} of the finished runs: git does not know it here, so nothing can be confirmed"):
        confirm.main(["one.yaml"])


def test_a_reference_of_yet_other_code_confirms_nothing(finished, tmp_path):
    """As where a commit is known, but files were edited beside it."""
    finished()
    (tmp_path / "tiny").mkdir()
    with store.opened(next((tmp_path / "results/runs").rglob("*.h5"))) as old, h5py.File(tmp_path / "tiny/metrics.h5", "w") as file:
        old.copy(old["/"], file, "trial/a/train")
        file["trial/a/train/provenance"].attrs["code"] = "4567"
    with pytest.raises(ValueError, match=r"not the code that made the finished runs.*nothing is confirmed; .*code=equal"):
        confirm.main(["one.yaml", "--reference", "tiny/metrics.h5"])
    assert accepted(tmp_path / "results/runs") == {}


def tiny_run(path, code, loss):
    """What a tiny run of that code would leave."""
    with h5py.File(path, "w") as file:
        run = store.Run("train", "a", {"seed": 0}, metrics={"train_loss": loss}, provenance={"code": code})
        store.write_group(file.create_group("trial/a/train"), run)


@pytest.fixture
def snakemake(tmp_path, monkeypatch):
    """In the place of `python -m snakemake`, such lines of bash, whose folder is the run's."""

    def put(script):
        program = tmp_path / "python"
        program.write_text(f'#!/bin/bash\nwhile [[ $1 != --directory ]]; do shift; done\ncd "$2"\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return put


@pytest.mark.parametrize(("loss", "same"), [(1.0, True), (1.5, False)])
def test_the_same_numbers_are_accepted_and_others_are_named(finished, snakemake, tmp_path, capsys, loss, same):
    finished()
    before = next((tmp_path / "results/runs").rglob("*.h5")).read_bytes()
    (found,) = outdated(plan.load("one.yaml"), tmp_path / "results/runs")
    tiny_run(tmp_path / "old.h5", "0123", 1.0)
    tiny_run(tmp_path / "here.h5", found.here, loss)
    snakemake(f"mkdir -p results/one-tiny; cp {tmp_path}/here.h5 results/one-tiny/metrics.h5")
    if same:
        confirm.main(["one.yaml", "--reference", "old.h5"])
        assert "1 of 1 finished runs accepted" in capsys.readouterr().out
        assert accepted(tmp_path / "results/runs") == {"0123": [found.here]}
        confirm.main(["one.yaml", "--reference", "old.h5"])
        assert "nothing to confirm" in capsys.readouterr().out
    else:
        with pytest.raises(
            ValueError, match=r"not accepted, since the numbers of these tiny runs differ: trial/a/train; to make them anew: "
        ):
            confirm.main(["one.yaml", "--reference", "old.h5"])
        assert accepted(tmp_path / "results/runs") == {}
    assert next((tmp_path / "results/runs").rglob("*.h5")).read_bytes() == before


def test_where_no_tiny_run_is_like_them_nothing_is_accepted(finished, snakemake, tmp_path):
    finished()
    tiny_run(tmp_path / "old.h5", "0123", 1.0)
    with h5py.File(tmp_path / "here.h5", "w") as file:
        file["plan"] = "{}"
    snakemake(f"mkdir -p results/one-tiny; cp {tmp_path}/here.h5 results/one-tiny/metrics.h5")
    with pytest.raises(ValueError, match="not accepted, since no tiny run of that code stands for them"):
        confirm.main(["one.yaml", "--reference", "old.h5"])


def test_a_tiny_run_that_fails_is_one_line_that_says_where_its_output_is(finished, snakemake, tmp_path):
    finished()
    tiny_run(tmp_path / "old.h5", "0123", 1.0)
    snakemake("echo said; echo complained >&2; exit 1")
    with pytest.raises(ValueError, match=r"^here: the tiny run failed; its output is in logs/confirm-here\.log$"):
        confirm.main(["one.yaml", "--reference", "old.h5"])
    assert (tmp_path / "logs/confirm-here.log").read_text() == "said\ncomplained\n"
    assert accepted(tmp_path / "results/runs") == {}


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_code_of_a_commit_is_laid_out_as_it_was(tmp_path, monkeypatch):
    source, file = tmp_path / "source", tmp_path / "source/bionas/x.py"
    file.parent.mkdir(parents=True)
    file.write_text("old")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message", "as it was")):
        subprocess.run([*git, *command], cwd=source, check=True)
    file.write_text("new")
    monkeypatch.setattr(code, "ROOT", source)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True).stdout.strip()
    assert (confirm.checkout(commit, tmp_path) / "bionas/x.py").read_text() == "old"
    with pytest.raises(ValueError, match="commit 00: "):
        confirm.checkout("00", tmp_path)
