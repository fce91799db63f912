"""Which code makes a run: what is imported counts, what is only written does not; and what is done with other code's work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bionas import catalog, plugins
from suite import code, plan, store
from suite.definition import spec
from suite.jobs.checkpoint import Checkpoint

ROOT = Path(__file__).parents[2]
RUNS = {
    "darts": ("search", {"method": "darts"}),
    "work": ("search", {"method": "random-work"}),
    "eg": ("search", {"method": "eg"}),
    "random": ("search", {"method": "random"}),
    "model": ("train", {"network": "resnet20"}),
    "cells": ("train", {"network": "darts-bio"}),
    "attacks": ("evaluation", {"network": "resnet20"}),
    "watched": ("train", {"network": "resnet20", "track": ["alignment"]}),
}
TRAININGS = {"model", "cells", "watched"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what is ours."""
    folder = tmp_path_factory.mktemp("sources")
    for package in code.OURS:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    return folder


@pytest.fixture
def changed(sources):
    """Edit a file of the copy: which runs have another fingerprint then?"""
    edited = {}

    def edit(file, old, new):
        before = {name: code.of(*run, root=sources) for name, run in RUNS.items()}
        edited[file] = text = (sources / file).read_text()
        assert old in text
        (sources / file).write_text(text.replace(old, new))
        return {name for name, run in RUNS.items() if code.of(*run, root=sources) != before[name]}

    yield edit
    for file, text in edited.items():
        (sources / file).write_text(text)


@pytest.mark.parametrize(
    ("file", "old", "new", "who"),
    [
        ("bionas/rules/table.py", "R * torch.sign(W)", "R * torch.tanh(W)", set(RUNS)),
        ("bionas/networks/parts.py", "\n\ndef ", "\n\nX = 1\n\n\ndef ", set(RUNS)),
        ("bionas/attacks/outcomes.py", "\n\ndef ", "\n\nX = 1\n\n\ndef ", {"attacks"}),
        ("bionas/analyses.py", "\n\ndef ", "\n\nX = 1\n\n\ndef ", {"attacks", "watched"}),
        ("bionas/search/eg.py", "MIXES = True", "MIXES = False", {"eg"}),
        ("bionas/search/common.py", '"normal", "reduce"', '"reduce", "normal"', {"darts", "eg", "random", "work"}),
        ("suite/jobs/train.py", "100 - accuracy", "accuracy", TRAININGS),
        ("suite/jobs/evaluate.py", "100 * int", "int", {"attacks"}),
        ("reports/numbers/names.py", "RULES", "ALL_RULES", set()),
        ("suite/plan/expand.py", "dataclass(frozen=True)", "dataclass", set()),
    ],
)
def test_an_edit_concerns_the_runs_whose_code_it_is(changed, file, old, new, who):
    assert changed(file, old, new) == who


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def _random(W: Tensor, R: Tensor) -> Tensor:\n", 'def _random(W: Tensor, R: Tensor) -> Tensor:\n    """Say R."""\n'),
        ("    return R * torch.sign(W)\n", "\n    # equations 4 to 6\n    return (\n        R * torch.sign(W)\n    )  # B\n"),
        ('draw="magnitude"', "draw='magnitude'"),
    ],
    ids=["docstring", "comments and lines", "quotes"],
)
def test_comments_docstrings_and_formatting_do_not_count(changed, old, new):
    assert changed("bionas/rules/table.py", old, new) == set()


def test_what_only_type_checkers_import_is_not_followed(changed, sources):
    assert "bionas.search.eg" not in code.files(["suite.jobs.train"], sources)
    new = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bionas.search.eg\n"
    assert changed("bionas/training/sgd.py", "from __future__ import annotations\n", new)  # the first import is code
    assert "bionas.search.eg" not in code.files(["suite.jobs.train"], sources)


def test_imports_in_functions_by_text_relative_ones_and_packages_on_the_way_count(tmp_path):
    for name, text in {
        "bionas/__init__.py": "",
        "bionas/a/__init__.py": "from . import b",
        "bionas/a/b.py": "def f():\n    from ..c import value\n    import_module('bionas.d')\n    catalog.load('bionas.e:thing')",
        "bionas/c.py": "value = 1",
        "bionas/d.py": "import torch, bionas.nowhere",
        "bionas/e.py": "",
        "bionas/unused.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(code.files(["bionas.a"], tmp_path)) == {f"bionas{name}" for name in ("", ".a", ".a.b", ".c", ".d", ".e")}


def test_a_file_that_is_no_python_is_said_in_one_line(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite/x.py").write_text("a = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"x\.py: line 2: "):
        code.fingerprint(["suite.x"], tmp_path)


DEFINITION = """
{name: x, about: x, datasets: [digits], device: cpu, models: {names: [resnet20], rules: [fa], settings: {epochs: 1, batch_size: 256}},
search: {methods: [eg], rule_sets: {sf: [usf, frsf]}, settings: {epochs: 2, warmup: 1, generations: 1, population: 4, restarts: 1,
  batch_size: 512, channels: 2, cells: 3, nodes: 1, images: 1000}}, attacks: {names: [fgsm, onepixel], images: 2, released: true},
analyses: [weights, gradients, alignment]}
"""
JOB = """
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
entry, params, *paths = sys.argv[1:]
data, out, trial = map(Path, paths)
from suite.jobs.stopping import StopFlag
job = getattr(import_module(entry), entry.rpartition(".")[2])
job(Namespace(params=params, data=data, out=out, trial=trial, search=None, tuning=[], sources=[], checkpoint_seconds=30), StopFlag())
print(*sys.modules)
"""


def test_whatever_a_job_really_loads_is_among_the_files_that_were_read(tmp_path):
    """Python itself is the judge."""
    planned = plan.plan(spec.parse(DEFINITION))
    (trial,) = planned.trials.values()
    (search,) = planned.searches.values()
    data = tmp_path / "digits.h5"
    subprocess.run([sys.executable, "-m", "data_prep", "digits", "--out", str(data)], check=True, capture_output=True)
    for stage, params, run, out in (
        ("search", search.params, search.params, "search"),
        ("train", trial.params, trial.params, "trial"),
        ("evaluation", trial.evaluation.params, trial.params, "trial/evaluation.h5"),
    ):
        args = [code.ENTRIES[stage], json.dumps(params), str(data), str(tmp_path / out), str(tmp_path / "trial")]
        done = subprocess.run([sys.executable, "-c", JOB, *args], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        loaded = {name for name in done.stdout.splitlines()[-1].split() if name.partition(".")[0] in code.OURS}
        assert "bionas.rules.table" in loaded
        assert loaded <= code.files(code.roots(stage, run)).keys()
        (file,) = tmp_path.rglob(f"{stage}.h5")
        assert store.made_by(file) == code.of(stage, run)


def test_every_name_of_the_catalog_that_is_ours_is_read():
    rules = [target for rule, target in catalog.RULES.items() if not plugins.package("rules", rule)]
    for network, model in catalog.MODELS.items():
        targets = [*rules, *catalog.NETWORK_RULES.values(), *([] if plugins.package("models", network) else [model])]
        assert {target.partition(":")[0] for target in targets} <= code.files(code.roots("train", {"network": network})).keys()


def test_what_other_code_made_is_finished_unless_equality_is_demanded(tmp_path, monkeypatch):
    store.write(tmp_path / "run.h5", store.Run("train", "x", {"seed": 1}, provenance={"code": "a"}))
    assert [store.finished(tmp_path / "run.h5", {"seed": 1}, made_by) for made_by in "ab"] == [True, True]
    monkeypatch.setenv(code.DEMAND, "equal")
    assert [store.finished(tmp_path / "run.h5", {"seed": 1}, made_by) for made_by in "ab"] == [True, False]


def test_a_run_that_went_on_from_other_codes_checkpoint_says_both(tmp_path, monkeypatch):
    def checkpoint(made_by):
        return Checkpoint(tmp_path / "train.h5", "x", {"seed": 1}, 0, lambda: False, made_by)

    checkpoint("a").save({"epoch": 3})
    goes_on = checkpoint("b")
    assert goes_on.load() == {"epoch": 3} and goes_on.made_by == "a+b"
    goes_on.save({"epoch": 4})
    again = checkpoint("b")
    assert again.load() == {"epoch": 4} and again.made_by == "a+b"
    monkeypatch.setenv(code.DEMAND, "equal")
    assert [checkpoint(made_by).load() for made_by in ("b", "a+b")] == [None, {"epoch": 4}]


def test_a_plugins_files_count_for_the_runs_that_use_it_wherever_they_lie(tmp_path, monkeypatch):
    def install(folder, helper):
        package = folder / "doe_rules"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "table.py").write_text("from doe_rules.helper import HALF\nMINE = HALF\n")
        (package / "helper.py").write_text(helper)
        (package / "unused.py").write_text(helper)
        monkeypatch.syspath_prepend(folder)
        code._folder.cache_clear()

    target = "doe_rules.table:MINE"
    before = {name: code.of(*run) for name, run in RUNS.items()}
    monkeypatch.setitem(plugins.ADDED, ("rules", "mine"), plugins.Added("doe", "1.5", "rules", "mine", target, target))
    monkeypatch.setitem(catalog.RULES, "mine", target)
    install(tmp_path / "here", "HALF = 0.5\n")
    assert {name: code.of(*run) for name, run in RUNS.items()} == before  # of those that do not use it
    using = {"network": "resnet20", "plugins": {"doe": "1.5"}}
    first = code.of("train", using)
    assert code.files(code.roots("train", using)).keys() >= {"doe_rules", "doe_rules.table", "doe_rules.helper", "bionas.rules.table"}
    assert "doe_rules.unused" not in code.files(code.roots("train", using)) and first != before["model"]
    install(tmp_path / "here", "HALF = 0.25\n")
    assert code.of("train", using) != first
    install(tmp_path / "there", "HALF = 0.5  # the same\n")
    assert code.of("train", using) == first
    code._folder.cache_clear()


def test_what_declares_a_plugins_attack_counts_for_evaluations_that_use_it(tmp_path, monkeypatch):
    (tmp_path / "doe_attacks.py").write_text("EPS = 0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = catalog.Attack("torchattacks:PGD", "linf", "Doe 2031", standard={"eps": 0.1})
    entry = plugins.Added("doe", "1.5", "attacks", "mine", "doe_attacks:MINE", spec.target)
    monkeypatch.setitem(plugins.ADDED, ("attacks", "mine"), entry)
    monkeypatch.setitem(catalog.ATTACKS, "mine", spec)
    trial = {"network": "resnet20"}
    both = code.attacked(trial, {"attacks": {}, "plugins": {"doe": "1.5"}})
    assert "doe_attacks" in code.files(code.roots("evaluation", both))
    assert "doe_attacks" not in {*code.files(code.roots("evaluation", trial)), *code.files(code.roots("train", both))}
    assert not any(name.startswith("torchattacks") for name in code.files(code.roots("evaluation", both)))
    code._folder.cache_clear()
