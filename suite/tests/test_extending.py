"""docs/extending.md, followed to the letter: the package is what is printed, and all additions inside, in one copy, run and are reported.

Comments that a browser does not show say where a block goes: `file`, `end of`, `into … below …`; `part of` a file of the package is what is
printed of it; `copies … as …`; `refused` is an entry that a line of text answers. Tables of `in`, `below`, `add` are lines.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bionas import catalog
from bionas.entries import Attack
from suite import store
from suite.definition import spec
from suite.tests import finished

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^<!-- ([a-z ]+): ([^\n]+) -->\n(?:```(\w+)\n(.*?)^```$)?", PAGE, re.MULTILINE | re.DOTALL)
LINES = [
    [re.sub(r"^`(.*)`$", r"\1", cell.strip()) for cell in row.strip("|").split(" | ")]
    for table in re.findall(r"^\| in \| below \| add \|\n\| --- \| --- \| --- \|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    for row in table.splitlines()
]
CONTRACTS = (
    "bionas/attacks/tests/test_parameters.py",
    "bionas/networks/tests/test_contract.py",
    "bionas/rules/tests/test_layers.py",
    "bionas/search/tests/test_search.py",
    "data_prep/tests/test_data_prep.py",
)


def put(file, below, text, indented=False):
    """Put text below the one line that is so; a line as far in as that one, or further where it opens a bracket."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = (i for i, line in enumerate(lines) if line.strip() == below)
    if not indented:
        margin = len(lines[at]) - len(lines[at].lstrip()) + 4 * below.endswith(("{", "("))
        text = " " * margin + text + "\n"
    lines.insert(at + 1, text)
    file.write_text("".join(lines), encoding="utf-8")


def follow(folder):
    """Make all additions that the page prints, in a copy of this repository."""
    for part in ("bionas", "data_prep", "reports", "suite", "benchmarks", "docs", "Snakefile", "README.md", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part, **({"ignore": shutil.ignore_patterns("__pycache__")} if copy is shutil.copytree else {}))
    for kind, where, _, text in BLOCKS:
        if kind == "file":
            assert not (folder / where).exists()
            (folder / where).write_text(text, encoding="utf-8")
        elif kind == "end of":
            with (folder / where).open("a", encoding="utf-8") as file:
                file.write(f"\n\n{text}")
        elif kind == "into":
            name, below = where.split(", below: ")
            put(folder / name, below, text, indented=True)
        elif kind == "copies":
            for pair in where.split(", "):
                old, new = pair.split(" as ")
                shutil.copy(folder / old, folder / new)
    for name, below, line in LINES:
        put(folder / name, below, line)


def run(folder, *args):
    return subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}
    )


def make(folder):
    """Follow the page, and run its benchmark."""
    follow(folder)
    jobs = "from pathlib import Path; from suite import plan; from suite.tests import finished; "
    jobs += "finished.run(Path(), plan.load('benchmarks/mine.yaml'))"
    for line in (("-m", "data_prep", "shapes"), ("-c", jobs), ("-m", "reports.render", "results/mine/metrics.h5", "report.html")):
        done = run(folder, *line)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    return finished.once(tmp_path_factory, "extended", make)


@pytest.mark.parametrize(("where", "text"), [(where, text) for kind, where, _, text in BLOCKS if kind == "part of"])
def test_what_is_printed_of_the_package_is_what_is_in_it(where, text):
    assert f"\n{text}" in "\n" + (ROOT / where).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(followed):
    with store.opened(followed / "results/mine/metrics.h5") as file:
        return store.runs(file).values()


def test_everything_ran(runs):
    assert sorted((run.stage, run.status) for run in runs) == [
        *[("evaluation", "ok")] * 3,
        *[("search", "ok")] * 2,
        *[("train", "ok")] * 3,
    ]


def test_the_rule_is_learnt_by_and_the_network_follows_it(runs):
    (trained,) = (run for run in runs if run.stage == "train" and run.params["network"] == "cnn3")
    assert trained.metrics["layers_sign"] == 3 and trained.metrics["layers_bp"] == 0
    assert trained.metrics["train_images"] == 240 and trained.metrics["test_images"] == 60


def test_the_search_method_searches_and_the_operation_is_a_candidate_of_both(runs):
    # By hand, of two rules: two pools, a skip, five convs under each; for DARTS none, too.
    assert {run.params["method"]: run.metrics["candidates"] for run in runs if run.stage == "search"} == {"climb": 13, "darts": 14}
    for run in (run for run in runs if run.stage == "search"):
        assert {"conv_1x1:sign", "conv_1x1:usf"} <= set(run.arrays["alphas/candidates"])


def test_the_attack_goes_through_both_gradients_and_counts_within_its_budget(runs):
    (attacked,) = (run for run in runs if run.stage == "evaluation" and "attacks/mifgsm/rule/robust_correct" in run.arrays)
    both = [attacked.arrays[f"attacks/mifgsm/{way}/robust_correct"] for way in ("rule", "true")]
    assert attacked.metrics["worst_case_accuracy_linf_0.0314"] == 100 * (both[0] & both[1]).mean() and len(both[0]) == 12


def test_the_analysis_is_stored_by_layer(runs):
    for run in (run for run in runs if run.stage == "evaluation"):
        zeros = run.arrays["analyses/sparsity/zeros"]
        assert len(zeros) == len(run.arrays["analyses/sparsity/names"]) and ((zeros >= 0) & (zeros <= 1)).all()
        if "attacks/image_ids" in run.arrays:  # CNN3: images are no zeros once they are normalised; behind a ReLU some are
            assert zeros[0] == 0 and 0 < zeros[1] < 1


def test_the_report_has_all_of_it_and_credits_the_attack_to_who_proposes_it(followed):
    page = (followed / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("SIGN", "cnn3", "shapes", "climb-two", "darts-two"))
    (row,) = re.findall(r"<tr>(?:(?!</tr>).)*mifgsm(?:(?!</tr>).)*Dong et al. 2018.*?</tr>", page, re.DOTALL)[:1]
    assert "§3.5" not in row and "8/255" in row
    section = page.partition('<h2 id="sparsity">')[2].partition("<h2")[0]
    assert section.count("<tr>") == 1 + 3 and "cnn3" in section


def test_the_contract_tests_run_over_it(followed):
    names = re.search(r'-k "(sign .+)"', PAGE)[1].split(" or ")
    done = run(followed, "-m", "pytest", "-v", "-n0", *CONTRACTS, "-k", " or ".join(names))
    assert done.returncode == 0, done.stdout
    passed = {name for name in names for line in done.stdout.splitlines() if "PASSED" in line and name in line.partition("[")[2]}
    assert passed == set(names)


@pytest.mark.parametrize(("entry", "said"), [(where, text) for kind, where, _, text in BLOCKS if kind == "refused"])
def test_an_attack_that_says_too_little_is_refused_in_the_line_that_is_printed(monkeypatch, entry, said):
    for name, attack in eval(f"{{{entry}}}", {"Attack": Attack}).items():
        monkeypatch.setitem(catalog.ATTACKS, name, attack)
    with pytest.raises(ValueError) as error:
        spec.read(ROOT / "benchmarks/demo.yaml")
    assert f"suite.plan: {error.value}\n" == said


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Attack("torchattacks:MIFGSM"), "norm ''; allowed: linf, l2, l0"),
        (Attack("torchattacks:MIFGSM", "linf"), "source ''; allowed: who proposes it, in a few words"),
        (Attack("torchattacks:EADL1", "l2", "Chen et al. 2018", standard={"budget": 0.5}), "standard has a budget, and it is not minimal"),
        (
            Attack("torchattacks:EADL1", "l2", "Chen et al. 2018", minimal=True, standard={"eps": 0.5}),
            "minimal, and standard has no budget",
        ),
    ],
    ids=["norm", "source", "minimal", "budget"],
)
def test_what_would_be_judged_wrongly_or_credited_to_somebody_else_is_refused_before_anything_runs(monkeypatch, entry, words):
    monkeypatch.setitem(catalog.ATTACKS, "mine", entry)
    with pytest.raises(ValueError) as error:
        spec.read(ROOT / "benchmarks/demo.yaml")
    assert str(error.value).startswith(f"bionas/catalog.py: ATTACKS: 'mine': {words}") and "\n" not in str(error.value)
