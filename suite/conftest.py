import os
import subprocess
import sys

import pytest

for variable in "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY":  # the gate writes there; what it says of made-up results is for tests alone
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The data set's file."""
    path = tmp_path_factory.mktemp("data") / "digits.h5"
    subprocess.run([sys.executable, "-m", "data_prep", "digits", "--out", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put a made-up program of the given name before all others: `on_path(name, lines of bash)`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def put(name, script):
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    return put
