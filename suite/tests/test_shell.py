"""A command that is told can be pasted where the workflow runs."""

import sys
from pathlib import Path

from suite.shell import called


def test_an_environment_in_the_checkout_is_named_by_its_path_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python3"))
    assert (called("python"), called("snakemake")) == (".venv/bin/python", ".venv/bin/snakemake")


def test_one_elsewhere_is_on_the_path_of_whoever_uses_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/conda/bin/python")
    assert called("python") == "python"
