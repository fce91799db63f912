"""Every example of the pages is run as it is printed: Python page by page, definitions planned, commands in a folder with a finished demo.

What a page prints below an example, as ```text, is what it has to print; `...` stands for anything. A command that is not run stands in
NOT_RUN, with the reason. An example below a comment (<!-- … -->) is a part of a file, which test_extending.py puts where it belongs.
"""

import contextlib
import dataclasses
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from suite import plan
from suite.definition import spec
from suite.tests import finished

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docker/README.md")), *sorted((ROOT / "docs").glob("*.md"))]

# Commands whose line holds the word are not run here, because …
NOT_RUN = {
    "suite.plan paper": "it counts the memory of large supernets, for a minute; suite/tests/test_paper.py plans the paper",
    "pip install": "it installs; .ci/run runs the README's lines as they stand",
    "pre-commit": "it changes a repository's hooks; .ci/run runs the linters",
    "snakemake": "it takes minutes; suite/tests/test_workflow.py runs the workflow, .ci/run the demo at size=tiny",
    "pytest": "it is what runs this",
    "apptainer": "needs Apptainer; docker/verify.sh builds the image",
    "docker ": "needs Docker; docker/verify.sh builds the image",
}
# A definition's part is planned as that of a whole one.
WHOLE = {
    "name": "part",
    "about": "a part of a definition",
    "datasets": ["fashion_mnist"],
    "models": {"names": ["resnet20"], "rules": ["bp", "fa"]},
}
DEMO = {("darts-bio", "searched"), ("resnet20", "brsf"), ("resnet20", "bp")}


class Example(NamedTuple):
    """A fenced block: its language, its text, and the line that it begins at."""

    language: str
    text: str
    line: int


def examples(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    found, start = [], None
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if start is None:
                start = number
            else:
                if not lines[start - 2].startswith("<!-- "):
                    found.append(Example(lines[start - 1][3:], "\n".join(lines[start : number - 1]) + "\n", start + 1))
                start = None
    assert start is None, f"{page.name}: the block at line {start} has no end"
    return found


def of(language):
    return [(page, example) for page in PAGES for example in examples(page) if example.language == language]


def name(value):
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else f"line{value.line}" if isinstance(value, Example) else None


def make_demo(folder):
    """The demo at size=tiny, of a search and three trials; and copies under the other names that pages have."""
    finished.digits(folder)
    planned = plan.load(str(ROOT / "benchmarks/demo.yaml"), "tiny")
    trials = {id: trial for id, trial in planned.trials.items() if (trial.network, trial.rules) in DEMO}
    searches = {id: search for id, search in planned.searches.items() if id in {trial.parent for trial in trials.values()}}
    finished.run(folder, dataclasses.replace(planned, trials=trials, searches=searches))
    metrics = folder / "results/demo-tiny/metrics.h5"
    for copy in ("results/demo/metrics.h5", "results/regression/metrics.h5", "earlier/metrics.h5", "A.h5", "B.h5"):
        (folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(metrics, folder / copy)


@pytest.fixture
def folder(tmp_path_factory, tmp_path, monkeypatch):
    """A folder of one's own with a finished demo, in which one is; its commands are this Python's, on this checkout."""
    shutil.copytree(finished.once(tmp_path_factory, "demo", make_demo), tmp_path, dirs_exist_ok=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if any(e.language == "python" for e in examples(page))], ids=name)
def test_python_does_what_the_page_says(page, folder):
    torch.set_num_threads(1)  # tests run one process a core
    place = str(page.relative_to(ROOT))
    space = {"__name__": "page"}
    blocks = examples(page)
    for example, then in zip(blocks, [*blocks[1:], None], strict=True):
        if example.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (example.line - 1) + example.text, str(page), "exec"), space)
        if then and then.language == "text":
            same = doctest.OutputChecker().check_output(then.text, printed.getvalue(), doctest.ELLIPSIS)
            assert same, f"{place}, line {then.line}: it printed\n{printed.getvalue()}"


@pytest.mark.parametrize(("page", "example"), of("yaml"), ids=name)
def test_a_definition_can_be_planned(page, example, tmp_path):
    content = yaml.safe_load(example.text)
    if "name" not in content:  # a part
        example = example._replace(text=yaml.safe_dump({key: value for key, value in WHOLE.items() if key not in content}) + example.text)
    planned = plan.plan(spec.parse(example.text))
    assert planned.trials or planned.searches


@pytest.mark.parametrize(("page", "example"), of("sh"), ids=name)
def test_commands_end_well(page, example, folder):
    """One after the other, in one folder: some need what others left."""
    lines = re.sub(r"\\\n\s*", "", example.text).splitlines()
    reasons = {line: next((why for word, why in NOT_RUN.items() if word in line), "") for line in lines if line.strip()}
    for line in (line for line, why in reasons.items() if not why):
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    if all(reasons.values()):
        pytest.skip("; ".join(dict.fromkeys(reasons.values())))


def test_no_reason_is_left_without_a_command():
    commands = "".join(example.text for _, example in of("sh"))
    assert [word for word in NOT_RUN if word not in commands] == []


def test_every_block_says_what_it_is():
    """Diagrams and folders, which are read alone, have no language."""
    assert {example.language for page in PAGES for example in examples(page)} <= {"python", "text", "yaml", "sh", "bibtex", ""}
