"""What a trial trains: its genotype under its assignment of rules, and its settings, a chosen learning rate among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bionas import catalog
from bionas.shuffle import shuffled
from bionas.space import PUBLISHED, Genotype, SearchSpace, random_genotype, uninformed
from suite import store
from suite.definition import cost


class Skipped(Exception):
    """A trial that cannot be: its message is the reason, in the words of its status."""


@dataclass(frozen=True)
class Task:
    """`genotype` as JSON, None for a model; `metrics` are what is recorded of the genotype and of the rate."""

    genotype: str | None
    settings: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)


def of(params: dict[str, Any], search: Path | None, tuning: Sequence[Path]) -> Task:
    """Return what a trial trains, by the files of its search and of the runs that tried its rates.

    Raises Skipped with the reason if there is nothing to train, and ValueError if a file is missing or another run's.
    """
    genotype, shuffle = _genotype(params, search)
    settings, rate = _rated(params, tuning)
    return Task(genotype.to_json() if genotype else None, settings, {**shuffle, **rate})


def _genotype(params: dict[str, Any], search: Path | None) -> tuple[Genotype | None, dict[str, Any]]:
    """Return the genotype under its rules, and how far a shuffle is from it."""
    rules, settings, seed = params["rules"], params["settings"], params.get("of_seed", params["seed"])  # a retraining retrains the same
    if params["network"] in catalog.MODELS:
        return None, {}
    if params["parent"] is None:
        found = PUBLISHED[catalog.choose("genotype", params["network"], catalog.GENOTYPES)]
    else:
        if search is None:
            raise ValueError("--search: missing; this trial trains what a search found")
        searched = store.read(search)
        if searched.id != params["parent"]:
            raise ValueError(f"{search}: is search {searched.id}; this trial belongs to {params['parent']}")
        if rules == "random":  # of the space alone: whatever became of the search
            return random_genotype(_space(searched, none=False), searched.params["settings"]["nodes"], f"trial {seed}"), {}
        if searched.status != "ok":
            raise Skipped(f"parent {searched.status}")
        if rules == "uninformed":
            space = _space(searched, none="none" in searched.arrays["alphas/candidates"])
            last = {kind: searched.arrays[f"alphas/{kind}"][-1].tolist() for kind in ("normal", "reduce")}
            return uninformed(last, space, searched.params["settings"]["nodes"], seed), {}
        found = Genotype.from_json(searched.metrics["genotype"])
    if rules == "searched":
        return found, {}
    if rules != "shuffled":
        return found.assigned(rules), {}
    weights = cost.weights_by_gene(found, settings["channels"], settings["cells"])
    try:
        control = shuffled(found, weights, seed, released=not settings["skip_rules"])
    except ValueError as error:
        raise Skipped(str(error).partition(": ")[2]) from None
    return control.genotype, {name: getattr(control, name) for name in ("carriers", "rules_changed", "weights_moved")}


def _space(searched: store.Run, none: bool) -> SearchSpace:
    return SearchSpace(searched.params["rule_set"], searched.params["settings"]["space"], none=none)


def _rated(params: dict[str, Any], files: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings in force, and which rate of the trial's grid was chosen, if it has one."""
    if "tuning" not in params:
        return params["settings"], {}
    try:
        found = store.rates(params["tuning"], {run.id: run for run in map(store.read, files)})
    except ValueError as error:
        raise ValueError(f"--tuning: {error}") from None
    if found.chosen is None:
        raise Skipped("no rate of the grid trains it")
    return {**params["settings"], "lr": found.chosen}, {"lr": found.chosen, "lr_on_edge": found.on_edge}
