"""One package with one of each kind, plugin/, installed beside this checkout: planned, run, killed, resumed, reported, and taken away."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bionas import catalog, plugins
from suite import plan, store
from suite.definition import schema, spec
from suite.jobs import parameters

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).with_name("plugin")
DEFINITION = """
name: outside
about: a rule, a network, a data set, an attack and a search method from outside
datasets: [shapes]
device: cpu
search:
  methods: [climb]
  rule_sets: {half: [halfway, usf]}
  settings: {epochs: 1, batch_size: 64, channels: 2, cells: 3, nodes: 1, candidates: 3, patience: 2}
cells: {rules: [searched], settings: {epochs: 1, batch_size: 64, channels: 4, cells: 3, cutout: 2}}
models: {names: [smallnet], rules: [halfway], settings: {epochs: 4, batch_size: 8, lr: 0.05}}
attacks: {names: [{name: starts, starts: 2}], images: 12, networks: [smallnet]}
"""
NEEDS = {"bionas-example": "1.0"}


# ---------------------------------------------------------------------------------------------- installed, and run


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The example, built and installed into a folder of its own."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*line, "--target", folder / "site", folder / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def python(site):
    """Run Python with the package, or without it."""

    def run(*args, cwd, installed=True):
        path = os.pathsep.join([*([str(site)] if installed else []), str(ROOT)])
        return subprocess.run(
            [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": path}
        )

    return run


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside.yaml").write_text(DEFINITION)
    line = ["-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--directory", folder]
    done = python(*line, "--config", "benchmark=outside.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_workflow_goes_from_the_packages_data_to_the_report(finished):
    page = (finished / "results/outside/report.html").read_text()
    assert all(word in page for word in ("HALFWAY", "smallnet", "shapes", "climb-half", "starts", "Tramèr et al. 2018", "bionas-example"))
    with store.opened(finished / "results/outside/metrics.h5") as file:
        found = store.runs(file)
    assert sorted(run.stage for run in found.values()) == ["evaluation", "search", "train", "train"]
    for run in found.values():
        assert run.status == "ok" and run.params["plugins"] == NEEDS
        assert run.provenance["version_bionas-example"] == "1.0"
    trained = [run for run in found.values() if run.stage == "train"]
    assert all(run.metrics["layers_halfway"] for run in trained if run.params["network"] == "smallnet")


def test_a_training_that_is_killed_goes_on_to_the_same_bits(finished, site, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (file,) = (folder / "results/runs/trial/shapes/smallnet").rglob("train.h5")
    digest = store.digest(file)
    file.unlink()
    file.with_name("weights.pt").unlink()
    line = [sys.executable, "-m", "suite.run", "train", str(file.with_suffix(".json")), "--checkpoint-seconds", "0"]
    known = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}}
    running = subprocess.Popen(line, stdout=subprocess.DEVNULL, **known)
    checkpoint, deadline = file.with_suffix(".checkpoint"), time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not file.exists()
    done = subprocess.run(line, capture_output=True, text=True, **known)
    assert done.returncode == 0 and "going on after epoch" in done.stdout, done.stderr
    assert store.digest(file) == digest


def test_without_the_package_its_definition_and_its_jobs_are_refused_in_one_line_and_its_results_are_read(finished, python, tmp_path):
    def run(*args):
        return python("-m", *args, cwd=finished, installed=False)

    refused = run("suite.plan", "outside.yaml")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("suite.plan: outside.yaml: attacks.0.names.0.name: 'starts' is unknown; allowed: fgsm, pgd, ")
    (job,) = (finished / "results/runs/trial/shapes/smallnet").rglob("train.json")
    remedy = "install that one; for jobs in a container, add it to docker/plugins.txt and rebuild the image\n"
    assert run("suite.run", "train", job).stderr == f"suite.run: needs plugin bionas-example 1.0; here is none; {remedy}"
    data = run("data_prep", "shapes", "--plugin", "bionas-example==1.0", "--out", tmp_path / "shapes.h5")
    assert data.stderr == f"data_prep: needs plugin bionas-example 1.0; here is none; {remedy}"

    metrics = "results/outside/metrics.h5"
    assert run("suite.check", metrics, "--reference", metrics).returncode == 0
    assert run("reports.render", metrics, tmp_path / "report.html").returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert "HALFWAY" not in page
    assert all(word in page for word in ("halfway", "smallnet", "shapes", "climb-half", "starts", "Tramèr et al. 2018", "ε = 8/255 in L∞"))


def test_the_contract_tests_run_over_it(python):
    files = [
        "bionas/attacks/tests/test_parameters.py",
        "bionas/networks/tests/test_contract.py",
        "bionas/rules/tests/test_layers.py",
        "bionas/search/tests/test_search.py",
        "data_prep/tests/test_data_prep.py",
    ]
    names = ("halfway", "smallnet", "shapes", "starts", "climb")
    done = python("-m", "pytest", "-v", "-n0", *files, "-k", " or ".join(names), cwd=ROOT)
    assert done.returncode == 0, done.stdout
    passed = {name for name in names for line in done.stdout.splitlines() if "PASSED" in line and name in line.partition("[")[2]}
    assert passed == set(names)


def test_an_edit_of_the_package_is_said_of_the_runs_that_it_may_have_changed(finished, site, python):
    file = site / "bionas_example/search.py"
    text = file.read_text()
    file.write_text(text.replace("< settings.patience", "<= settings.patience"))
    code = "from suite import plan; from suite.plan.outdated import outdated; "
    code += "print(*(run.name for run in outdated(plan.load('outside.yaml'))))"
    said = python("-c", code, cwd=finished).stdout
    file.write_text(text)
    assert re.fullmatch(r"search/shapes/climb-half/\S+\n", said)


def test_declaring_imports_no_torch(python, tmp_path):
    (tmp_path / "outside.yaml").write_text(DEFINITION)
    code = "import sys; from suite import plan; plan.load('outside.yaml'); "
    code += "print('bionas_example.entries' in sys.modules, 'torch' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout == "True False\n"


@pytest.mark.parametrize("command", [("suite.plan", "demo"), ("data_prep", "digits", "--out", "d.h5")], ids=lambda words: words[0])
def test_a_package_that_is_wrong_is_said_in_one_line_before_anything_runs(python, tmp_path, command):
    folder = tmp_path / "doe-1.5.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: doe\nVersion: 1.5\n")
    (folder / "entry_points.txt").write_text("[bionas.rules]\nbp = doe:BP\n[bionas.attacks]\nmine = doe:MINE\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy; sys.argv = {list(command)!r}; "
    done = python("-c", code + f"runpy.run_module({command[0]!r}, run_name='__main__', alter_sys=True)", cwd=tmp_path)
    said = "plugin doe 1.5: entry point 'bp' of bionas.rules: the name is taken here; allowed: another one for this rule"
    assert (done.returncode, done.stderr) == (1, f"{command[0]}: {said}\n")


# ---------------------------------------------------------------------------------------------- what a run is


@pytest.fixture
def from_outside(monkeypatch):
    """Say of names that we have that plugins add them."""

    def say(**names):
        for name, (kind, package) in names.items():
            monkeypatch.setitem(plugins.ADDED, (kind, name), plugins.Added(package, "1.5", kind, name, "x:X", "x:X"))

    return say


SMALL = """
{name: x, about: x, datasets: [digits, {name: fashion_mnist, resolution: 16}], device: cpu,
models: {names: [resnet20], rules: [bp, fa]},
search: {methods: [random, random-work, darts], rule_sets: {one: [usf], two: [brsf, frsf]}},
cells: {rules: [searched, bp], genotypes: [biodarts]}, attacks: {names: [fgsm, pgd], seeds: [0]}}
"""


def kinds(planned):
    """What each run has from outside, by what it is."""
    found = {(s.dataset, s.name): dict(s.plugins) for s in planned.searches.values()}
    return found | {(t.dataset, t.network, t.rules): dict(t.plugins) for t in planned.trials.values()}


@pytest.mark.parametrize(
    ("name", "kind", "uses"),
    [
        ("fa", "rules", lambda run: run[1:] == ("resnet20", "fa")),
        ("usf", "rules", lambda run: run[1].endswith("-one") and run[-1] != "bp"),
        ("resnet20", "models", lambda run: run[1] == "resnet20"),
        ("random", "searchers", lambda run: len(run) == 2 and run[1].startswith("random")),
        ("darts", "searchers", lambda run: len(run) == 2 and run[1].startswith("darts")),
        ("fashion_mnist", "datasets", lambda run: run[0] == "fashion_mnist-16px"),
    ],
)
def test_a_run_is_its_plugins_too_of_those_alone_that_it_uses(from_outside, name, kind, uses):
    before = plan.plan(spec.parse(SMALL))
    from_outside(**{name: (kind, "doe")})
    after = plan.plan(spec.parse(SMALL))
    found = kinds(after)
    assert found == {run: {"doe": "1.5"} if uses(run) else {} for run in found} and any(found.values()) and not all(found.values())
    for path, run in after.runs.items():
        shaping = {key: value for key, value in run.params.items() if key != "id"}
        assert path.endswith(hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:8])
        parent = getattr(run, "parent", None)
        same = not run.plugins and not (parent and after.searches[parent].plugins)
        assert (path in before.runs) == same and ("plugins" in run.params) == bool(run.plugins)


def test_an_evaluation_is_its_attacks_plugins_and_says_what_they_are(from_outside):
    trials = plan.plan(spec.parse(SMALL)).trials
    before = {id: (trial.evaluation.id, trial.evaluation.params["attacks"]) for id, trial in trials.items()}
    from_outside(pgd=("attacks", "doe"))
    again = plan.plan(spec.parse(SMALL)).trials
    assert list(again) == list(trials)
    for id, trial in again.items():
        params = trial.evaluation.params
        assert params["plugins"] == {"doe": "1.5"} and trial.evaluation.id != before[id][0]
        assert params["attacks"]["pgd"].items() >= {"norm": "linf", "source": "paper §3.5", "minimal": False}.items()
        assert params["attacks"]["fgsm"] == before[id][1]["fgsm"]


def test_no_run_of_the_demo_is_another_one_where_a_plugin_is_installed(python, tmp_path):
    there = python("-m", "suite.plan", "demo", "--json", cwd=tmp_path).stdout
    here = plan.load(str(ROOT / "benchmarks/demo.yaml"))
    assert json.loads(there) == json.loads(json.dumps(here.to_dict())) and len(here.runs) > 40
    assert '"plugins"' not in there and not any("plugins" in run.params for run in here.runs.values())


def test_a_data_set_that_another_version_made_is_refused(from_outside):
    params = {"dataset": "digits-4px", "id": "x"}
    parameters.check_data(SimpleNamespace(plugin=""), params, Path("data/digits-4px.h5"))
    from_outside(digits=("datasets", "doe"))
    parameters.check_data(SimpleNamespace(plugin="doe 1.5"), params, Path("data/digits-4px.h5"))
    said = "data/digits-4px.h5: was made by doe 1.4; x counts on doe 1.5; remove it, and it is made again"
    with pytest.raises(ValueError, match=said):
        parameters.check_data(SimpleNamespace(plugin="doe 1.4"), params, Path("data/digits-4px.h5"))


@pytest.fixture
def method(monkeypatch, from_outside):
    """Add a search method with a setting of its own, and one that random search has, too."""

    def add(name, **schema_of):
        from_outside(**{name: ("searchers", "doe")})
        searcher = catalog.Searcher("x", ("candidates", *schema_of), schema=schema_of)
        monkeypatch.setitem(catalog.SEARCHERS, name, searcher)
        monkeypatch.setattr(catalog, "METHODS", (*catalog.SEARCHERS, "random-work"))
        schema.schema.cache_clear()

    yield add
    monkeypatch.undo()
    schema.schema.cache_clear()


HEAT = {"type": "number", "minimum": 0, "default": 1, "description": "Of it."}


def test_a_search_methods_own_setting_is_one_of_the_format_and_of_no_other_method(method):
    text = SMALL.replace("[random, ", "[noise, random, ")
    before = plan.plan(spec.parse(SMALL))
    method("noise", heat=HEAT)
    planned = plan.plan(spec.parse(text))
    assert before.searches.keys() <= planned.searches.keys()
    heats = {search.method: search.settings.get("heat") for search in planned.searches.values()}
    assert heats == {"noise": 1.0, "random": None, "random-work": None, "darts": None} and repr(heats["noise"]) == "1.0"
    assert {search.settings["candidates"] for search in planned.searches.values() if search.method != "darts"} == {100}
    hotter = text.replace("two: [brsf, frsf]}}", "two: [brsf, frsf]}, settings: {heat: %s}}")
    assert plan.plan(spec.parse(hotter % 1)).searches.keys() == planned.searches.keys()
    for heat, words in (("-1", "search.0.settings.heat: found -1"), ("warm", "search.0.settings.heat: found the text 'warm'")):
        with pytest.raises(ValueError, match=words):
            spec.parse(hotter % heat)


def test_a_setting_that_is_there_already_is_refused(method):
    method("noise", epochs=HEAT)
    said = "plugin doe 1.5: entry point 'noise' of bionas.searchers: setting 'epochs' is there already; allowed: another name"
    with pytest.raises(ValueError, match=said):
        spec.parse(SMALL)


def test_editors_complete_what_a_plugin_adds(python, tmp_path):
    done = python("-m", "suite.definition.editors", "here.json", cwd=tmp_path)
    written = (tmp_path / "here.json").read_text()
    assert done.returncode == 0 and all(f'"{name}"' in written for name in ("halfway", "smallnet", "shapes", "starts", "climb", "patience"))
