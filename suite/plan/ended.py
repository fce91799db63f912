"""Runs that ended here, as jobs and the seconds that they took. Imports no torch, but for the networks of the catalog that ran.

A run's own parameters say what its work was. Passed over: what is damaged or of another format, did not end well, moved from one
device to another, or worked on other data than its data set's (the few images that stand in for one in a test).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bionas import catalog
from bionas.space import Genotype
from data_prep import Variant
from suite import store
from suite.definition import cost, price
from suite.definition.cost import Forward
from suite.definition.runs import Attacked, Evaluation, Search, Trial
from suite.plan import seconds
from suite.plan.seconds import Job

MOST = 100  # runs of a stage that are read: enough, and read within a second
STAGES = ("search/*/*/*/search.h5", "trial/*/*/*/*/train.h5", "trial/*/*/*/*/evaluation-*.h5")
DIFFERENT = 0.25  # in images, which are counted at most: not every individual is looked at twice


def ended(runs: Path) -> Iterator[tuple[Job, float]]:
    """Yield (job, seconds) of the runs that lie in a folder; of many, some of each kind."""
    for pattern in STAGES:
        files = sorted(runs.glob(pattern))
        for file in files[:: -(-len(files) // MOST) or 1]:
            try:
                found = _read(file)
            except (ValueError, TypeError, KeyError, AttributeError, OSError):
                continue
            if found:
                yield found


def _read(path: Path) -> tuple[Job, float] | None:
    with store.opened(path) as file:
        attrs, params, provenance = dict(file.attrs), json.loads(file.attrs["params"]), dict(file["provenance"].attrs)
        if attrs["format"] != store.FORMAT or attrs["status"] != "ok" or " then " in provenance["device"]:
            return None
        taken = _seconds(file["timings"])
    gpu = provenance["device"] != "cpu"
    if attrs["stage"] == "search":
        search = _search(params)
        job = seconds.of_search(search, gpu)
        looked_at, meant = int(attrs["images_trained"]) + int(attrs["images_judged"]), job.price.images
    elif attrs["stage"] == "train":
        trial = _trial(params)
        job = seconds.of_training(trial, _network(trial, attrs), gpu)
        size = Variant.parse(trial.dataset).size
        looked_at, meant = int(attrs["train_images"]), size.train - round(trial.settings["holdout"] * size.train)
    else:
        with store.opened(path.parent / "train.h5") as file:
            of = dict(file.attrs)
        trial, evaluation = _trial(json.loads(of["params"])), _evaluation(params, attrs)
        job = seconds.of_evaluation(evaluation, trial, _network(trial, of), gpu, attrs.get("clean_accuracy", 100.0) / 100)
        size = Variant.parse(trial.dataset).size
        looked_at, meant = int(of["train_images"]), size.train - round(trial.settings["holdout"] * size.train)
    return (job, taken) if abs(looked_at - meant) <= DIFFERENT * meant and taken > 0 else None


def _seconds(timings: h5py.Group) -> float:
    """Return what a run took; one that was killed and went on says since when for some of it alone."""
    whole = float(timings.attrs["seconds"])
    parts = [float(value) for name, value in timings.attrs.items() if name == "search_seconds" or name.startswith("seconds_")]
    parts += [float(np.sum(timings["epoch_seconds"][()]))] if "epoch_seconds" in timings else []
    return max(whole, sum(parts))


def _search(params: Mapping[str, Any]) -> Search:
    return Search(
        **{name: params[name] for name in ("dataset", "name", "method", "seed", "settings", "device", "threads")},
        rule_set=tuple(params["rule_set"]),
        protocols=(),
        overrides=(),
    )


def _trial(params: Mapping[str, Any]) -> Trial:
    return Trial(
        **{name: params[name] for name in ("dataset", "network", "parent", "rules", "seed", "settings", "device", "threads")},
        track=tuple(params.get("track", ())),
        evaluation=None,
        protocols=(),
        overrides=(),
    )


def _evaluation(params: Mapping[str, Any], attrs: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        tuple(Attacked(label, a["attack"], a["parameters"], tuple(a["gradients"])) for label, a in params["attacks"].items()),
        params["images"],
        tuple(params.get("analyses", ())),
        tuple(params.get("released", ())),
        params.get("sources", {}),
        "gradient_cosine" in attrs,
    )


def _network(trial: Trial, attrs: Mapping[str, Any]) -> Forward:
    """Return what an image takes in a trial's network, whose genotype its run knows. Raises ValueError if it cannot be counted."""
    if trial.network in catalog.MODELS:
        each, _, uncounted = price.network(trial, None)
        if uncounted:
            raise ValueError(uncounted[0])
        return each
    size = Variant.parse(trial.dataset).size
    images = cost.Images(size.channels, size.side, size.classes)
    return cost.network(Genotype.from_json(attrs["genotype"]), images, trial.settings["channels"], trial.settings["cells"])
