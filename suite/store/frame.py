"""Results as tables of pandas: `read`, one row a run, and `read_images`, one row an attacked image. docs/library.md has examples.

Both take metrics files, packed ones, too, and run files, several at once. What a run is stands in the same columns in both tables:

    run        its path in metrics.h5, search/<id> or trial/<id>; a trial's training and its evaluation have the same one
    kind       search, trial, or tuning: a trial that chooses another's learning rate
    dataset, network, rules, seed
    of_seed    the definition's seed: another than `seed` in a retraining, and what runs are paired by
    protocol   the rows of settings that it stands for, of a metrics file; a run file does not know them
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from suite.store import hdf5
from suite.store.hdf5 import typed
from suite.store.layout import Run, groups, opened, read_group, readable
from suite.store.layout import read as read_run

if TYPE_CHECKING:
    import pandas

IS = ("run", "kind", "dataset", "network", "rules", "seed", "of_seed", "protocol")
SAYS = ("stage", "status", "device", "threads", "parent", "file")
OUTCOMES = ("clean_correct", "robust_correct", "distance")


def read(*files: str | Path) -> pandas.DataFrame:
    """Return one row a run: what it is, `stage` and `status`, every setting, every scalar metric, and what a clock said.

    A search, a trial's training and a trial's evaluation are a run each; an evaluation's row says what its trial's says. Settings are
    columns `settings.<name>`, times `timings.<name>`, metrics have their own names. What a run does not have is missing (NaN). Raises
    ValueError for a file that is none of ours.
    """
    import pandas  # half a second, of those who ask for a table alone

    rows = []
    for file, group, run, whole in _runs(files):
        with readable(file), typed():
            said: dict[str, Any] = {"stage": run.stage, "status": run.status, "file": str(file)}
            said |= {name: whole.get(name) for name in ("device", "threads", "parent")}
            settings = {f"settings.{name}": _cell(value) for name, value in whole.get("settings", {}).items()}
            timings = {f"timings.{name}": value for name, value in hdf5.attributes(group["timings"]).items()}
            rows.append(_what(run, whole) | said | settings | dict(run.metrics) | timings)
    table = pandas.DataFrame(rows)
    first = [*IS, *SAYS]
    kinds = {name: [column for column in table if column.startswith(name)] for name in ("settings.", "timings.")}
    metrics = [column for column in table if column not in {*first, *kinds["settings."], *kinds["timings."]}]
    return table.reindex(columns=[*first, *kinds["settings."], *metrics, *kinds["timings."]])


def read_images(*files: str | Path) -> pandas.DataFrame:
    """Return one row for each image under each attack by each gradient.

    Beside what the trial is: `attack` (its label), `gradient`, `image` (its index in the test split), `clean_correct` (before the attack),
    `robust_correct` (before and after it), and `distance` for attacks that look for the nearest wrong image. Raises as `read`.
    """
    import pandas

    parts: list[pandas.DataFrame] = []
    for file, group, run, whole in _runs(files):
        with readable(file), typed():
            parts += list(_attacked(group, run, whole))
    columns = [*IS, "attack", "gradient", "image", *OUTCOMES]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def _attacked(group: h5py.Group, run: Run, whole: Mapping[str, Any]) -> Iterator[pandas.DataFrame]:
    """Yield the rows of each attack by each gradient of a run."""
    import numpy
    import pandas

    if "attacks/image_ids" not in group:
        return
    images, clean = group["attacks/image_ids"][()], group["attacks/clean_correct"][()]
    for attack, attacked in run.params["attacks"].items():
        for gradient in attacked["gradients"]:
            found = group.get(f"attacks/{attack}/{gradient}")
            if found is None:  # images of a network that diverged
                continue
            outcome = {"image": images, "clean_correct": clean, "robust_correct": found["robust_correct"][()]}
            outcome["distance"] = found["distance"][()] if "distance" in found else numpy.full(len(images), numpy.nan, "float32")
            yield pandas.DataFrame({**_what(run, whole), "attack": attack, "gradient": gradient, **outcome})


def _runs(files: Iterable[str | Path]) -> Iterator[tuple[Path, h5py.Group, Run, dict[str, Any]]]:
    """Yield (file, group, run, what there is to know of it) of every run; of an evaluation that is what its trial's parameters say."""
    for file in map(Path, files):
        with opened(file) as content:
            if "stage" in content.attrs:
                run = read_group(content, brief=True)
                beside = file.with_name("train.h5")
                trained = read_run(beside).params if run.stage == "evaluation" and beside.exists() else run.params
                yield file, content, run, {**trained}
                continue
            if "plan" not in content:
                raise ValueError(f"{file}: neither a metrics file nor a run's; allowed: results/<benchmark>/metrics.h5, or a run file")
            plan = json.loads(content["plan"].asstr()[()])
            known = {f"{kind}/{entry['id']}": entry for kind, entry in _entries(plan)}
            for group in groups(content):
                run = read_group(group, brief=True)
                own = {} if run.stage == "evaluation" else run.params
                yield file, group, run, known.get(f"{'search' if run.stage == 'search' else 'trial'}/{run.id}", {**own})


def _entries(plan: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (kind of id, its parameters and protocols) of every run of a plan."""
    for search in plan["searches"]:
        yield "search", search
    for trial in [*plan.get("tuning", []), *plan["trials"]]:
        yield "trial", trial


def _what(run: Run, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is, by column; of an evaluation whose trial is not at hand, its id alone."""
    searched = run.stage == "search"
    tuning = whole.get("settings", {}).get("selection") == "none"
    return {
        "run": f"{'search' if searched else 'trial'}/{run.id}",
        "kind": "search" if searched else "tuning" if tuning else "trial",
        "dataset": whole.get("dataset"),
        "network": whole.get("name") if searched else whole.get("network"),
        "rules": " ".join(whole["rule_set"]) if searched else whole.get("rules"),
        "seed": whole.get("seed"),
        "of_seed": whole.get("of_seed", whole.get("seed")),
        "protocol": ", ".join(whole["protocols"]) if "protocols" in whole else None,
    }


def _cell(value: Any) -> Any:
    """A list as text, so that columns can be compared and grouped by."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
