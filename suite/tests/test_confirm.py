"""A refactoring is answered by one command: old results are accepted where a tiny run makes the same numbers, and nowhere else."""

import shutil
import subprocess

import h5py
import pytest

from suite import code, confirm, plan, store
from suite.confirm import Made, judge
from suite.definition import spec
from suite.plan.outdated import accepted

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
