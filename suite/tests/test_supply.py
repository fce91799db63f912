"""What others made: every package of an install has its version, every action its commit, and what is old is imported by no job."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OLD = ("requests", "urllib3", "idna", "chardet", "jupyter_core", "notebook", "nbclassic", "jupyterlab", "IPython")  # see docs/supply.md


def pins():
    lines = [line for line in (ROOT / "docker" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def drawn_in():
    """Name all that bionas and its extras ask for, and what that asks for, as far as it is installed here."""
    extras = PROJECT["optional-dependencies"]
    todo = [(Requirement(text), "") for texts in (PROJECT["dependencies"], *extras.values()) for text in texts]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if name == "bionas" or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                try:
                    todo += [(Requirement(text), wanted) for text in distribution(name).requires or ()]
                except PackageNotFoundError:
                    continue
    return {name for name, _ in seen}


def test_every_package_that_an_install_draws_in_has_one_version():
    assert len(drawn_in()) > 100
    assert not drawn_in() - pins().keys()
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) and not pin.url for pin in pins().values())


def test_no_address_of_an_index_is_in_the_pins():
    assert not re.search(r"://|^--?\w", (ROOT / "docker" / "constraints.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_action_has_its_commit_and_says_its_version(workflow):
    uses = re.findall(r"uses: *(.+)", workflow.read_text())
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


def test_no_job_imports_what_is_old():
    code = f"import sys, suite.run, torchattacks, bionas.attacks, biotorch.layers; print(sorted(set({OLD}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout == "[]\n"
