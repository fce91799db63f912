"""docs/files.md names all that is in the files, and nothing else: held against files of a definition that has something of everything."""

import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import h5py
import pytest
import torch

from bionas import catalog
from bionas.seals import SEAL
from suite import plan, store
from suite.collect import collect
from suite.definition import spec
from suite.tests import finished

PAGE = (Path(__file__).parents[2] / "docs/files.md").read_text(encoding="utf-8")
DEFINITION = """
name: everything
about: something of everything that a file may hold
datasets: [digits]
device: cpu
search:
  - methods: [eg]
    rule_sets: {bio: [usf, frsf]}
    ranking: true
    settings:
      {epochs: 2, batch_size: 256, channels: 2, cells: 3, nodes: 1, warmup: 1, restarts: 2, population: 4, generations: 1, images: 400}
cells:
  - rules: [shuffled]
    settings: &short {epochs: 1, batch_size: 256, channels: 2, cells: 3, cutout: 0}
    tune: {lr: [0.1, 0.2]}
  - rules: [searched]
    retrainings: 2
    settings: *short
models: {names: [resnet20], rules: [bp, fa], settings: {epochs: 1, batch_size: 256, holdout: 0.1, selection: best_test}}
attacks:
  - {names: [fgsm], images: 6, transfer_from: [bp], released: true}
  - {names: [{name: deepfool, steps: 2}], networks: [resnet20]}
analyses: [weights, gradients, alignment]
expect: {"trial/*/resnet20/bp/*": {test_error: {at_most: 100}}}
"""
ELSEWHERE = {  # named by the page, and not in these files
    "timings/@peak_device_memory_mib": "needs a GPU",
    "@left_out": "needs a network that diverged; suite/jobs/tests/test_evaluate.py has one",
}
RULES = "|".join([*catalog.RULES, *catalog.NETWORK_RULES])


def section(title):
    """A section's table: names as regular expressions, by what the page says."""
    text = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name: pattern(name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def pattern(name):
    """`<rule>` stands for a rule, `<of …>` for a path, any other word in brackets for a name."""
    words = re.split(r"(<[^>]+>)", name)
    meant = {"<rule>": f"(?:{RULES})", "<id>": ".+"}
    return re.compile(
        "".join(meant.get(w, ".+" if w.startswith("<of ") else "[^/]+") if w.startswith("<") else re.escape(w) for w in words)
    )


def content(file):
    """Every attribute, as `group/@name`, and every dataset of an HDF5 file."""
    found = {f"@{name}" for name in file.attrs}

    def visit(path, node):
        found.update(f"{path}/@{name}" for name in node.attrs)
        if isinstance(node, h5py.Dataset):
            found.add(path)

    file.visititems(visit)
    return found


def make(folder):
    finished.digits(folder)
    finished.run(folder, plan.plan(spec.parse(DEFINITION)), keep_checkpoints=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return finished.once(tmp_path_factory, "everything", make)


def in_files(files):
    found = set()
    for file in files:
        with h5py.File(file) as opened:
            found |= content(opened)
    return found


def check(names, found):
    assert found
    assert {path for path in found if not any(meant.fullmatch(path) for meant in names.values())} == set(), "the page does not name it"
    unseen = {name for name, meant in names.items() if not any(meant.fullmatch(path) for path in found)}
    assert unseen - ELSEWHERE.keys() == set(), "it is in no file"


def test_a_data_set(folder):
    check(section("data/<data set>.h5"), in_files([folder / "data/digits.h5"]))


@pytest.mark.parametrize("kind", ["search", "train", "evaluation"])
def test_a_runs_file(folder, kind):
    title = "evaluation-<hash>.h5" if kind == "evaluation" else f"{kind}.h5"
    files = list((folder / "results/runs").rglob(title.replace("<hash>", "*")))
    check(section("Run files") | section(title), in_files(files))


def test_a_metrics_file(folder, tmp_path):
    """A partial one is the same, and says what is missing."""
    runs = tmp_path / "runs"
    shutil.copytree(folder / "results/runs", runs)
    next(runs.rglob("evaluation-*.h5")).unlink()
    collect(plan.plan(spec.parse(DEFINITION)), runs, tmp_path / "partial.h5", partial=True, logs=tmp_path)
    whole, partial = (in_files([file]) for file in (folder / "results/everything/metrics.h5", tmp_path / "partial.h5"))
    check(section("metrics.h5"), partial)
    assert partial - whole == {"missing"}


def test_a_run_in_a_metrics_file_has_what_its_file_has(folder):
    with h5py.File(folder / "results/everything/metrics.h5") as file:
        for group in store.groups(file):
            beside = {"search": "search.h5", "train": "train.h5", "evaluation": "evaluation-*.h5"}[group.attrs["stage"]]
            (own,) = (folder / "results/runs" / group.name.lstrip("/").removesuffix(f"/{group.attrs['stage']}")).glob(beside)
            assert content(group) == in_files([own])


def test_what_is_sealed_begins_with_the_hash_of_the_rest_as_the_page_says(folder):
    """By hand, as a reader of the page would; nothing else has a seal."""
    said = re.search(r"first line, `([^`]*)<hash>`", PAGE)[1]
    files = [file for file in folder.rglob("*") if file.is_file() and file.read_bytes().startswith(said.encode())]
    assert {file.suffix for file in files} == {".h5", ".checkpoint"}
    assert {file for suffix in ("h5", "checkpoint") for file in folder.rglob(f"*.{suffix}")} == set(files)
    for file in files:
        block, rest = file.read_bytes()[:512], file.read_bytes()[512:]
        assert block.rstrip(b"\0").decode() == f"{said}{hashlib.sha256(rest).hexdigest()}\n"


def test_parameters(folder):
    table = re.search(r"^\| key \| of \| what \|\n.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if line]
    for kind, files in {"search": "search.json", "trial": "train.json", "evaluation": "evaluation-*.json"}.items():
        named = {key for keys, of, _ in rows if of == "all" or kind in of.split(", ") for key in re.findall(r"`(\w+)`", keys)}
        found = [set(json.loads(file.read_text())) for file in (folder / "results/runs").rglob(files)]
        assert set().union(*found) == named


def test_weights(folder):
    for file in (folder / "results/runs").rglob("weights.pt"):
        state = torch.load(file, weights_only=True)
        assert {name.rpartition(".")[2] for name in state} >= {"weight", "bias", "_extra_state"}
        assert {key for name, value in state.items() if name.endswith("_extra_state") for key in value} == {"seed", "name", "update"}
        assert ("resnet20/fa" in str(file)) <= any(name.endswith(".R") for name in state)


@pytest.mark.parametrize(("job", "of"), [("search", "search"), ("train", "train"), ("evaluation-*", "evaluation")])
def test_a_checkpoint(folder, job, of):
    (row,) = re.findall(r"^\| `state` \| (.*) \|$", PAGE, re.MULTILINE)
    (said,) = (part for part in row.split(" · ") if part.startswith(f"{of}: "))
    file = next((folder / "results/runs").rglob(f"{job}.checkpoint"))
    saved = torch.load(io.BytesIO(file.read_bytes()[SEAL:]), weights_only=True)
    assert (
        set(saved)
        == {"owner", "made_by", "state"}
        == set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## *.checkpoint")[2].partition("## ")[0], re.M))
    )
    assert set(saved["state"]) == set(re.findall(r"`(\w+)`", said))
