"""metrics.h5 → the numbers of the report: variants, which are runs that differ in the seed alone, and their summaries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reports.numbers import merging
from reports.numbers.names import rules
from reports.numbers.statistics import Difference, Summary, proportion
from suite import store


@dataclass(frozen=True)
class Variant:
    """One network under one assignment of rules and one set of settings: its runs over seeds."""

    dataset: str
    network: str
    parent: str | None  # the search whose genotype it is, by id without its seed
    rules: str
    protocols: tuple[str, ...]
    overrides: tuple[str, ...]
    settings: Mapping[str, Any]
    trains: Mapping[int, store.Run]  # by seed
    evaluations: Mapping[int, store.Run]
    of_seed: Mapping[int, int] = field(default_factory=dict)  # the definition's seed of those that are retrainings
    tuning: Sequence[tuple[float, Sequence[str]]] = ()  # the runs that chose its learning rate, by rate
    parents: Mapping[int, str | None] = field(default_factory=dict)  # the search whose genotype it is, by seed
    planned: Mapping[int, str] = field(default_factory=dict)  # the trials that it was planned to be, by seed

    @property
    def name(self) -> str:
        """The network, and where its cell was searched if that was on other data; as run ids say it."""
        source = self.parent.partition("/")[0] if self.parent else self.dataset
        return self.network if source == self.dataset else f"{self.network}@{source}"

    @cached_property
    def _summaries(self) -> dict[str, Summary]:
        return {}

    def metric(self, name: str) -> Summary:
        if name not in self._summaries:  # tables, charts and findings ask for the same ones
            self._summaries[name] = Summary.of(self.by_seed(name).values())
        return self._summaries[name]

    def images(self, name: str) -> int:
        """Return how many test images a share rests on that one network alone has; 0 where several have it, or it is no such share."""
        runs = [run for stage in (self.trains, self.evaluations) for run in stage.values() if run.status == "ok" and name in run.metrics]
        return images_of(runs[0], name) if len(runs) == 1 else 0

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return what the test images say of a share that one network alone has."""
        images = self.images(name)
        return proportion(self.metric(name).mean, images) if images else None

    @cached_property
    def _sound(self) -> list[tuple[int, store.Run]]:
        """The runs of trainings that ended well, by their own seed."""
        ended_well = {seed for seed, run in self.trains.items() if run.status == "ok"}
        return [(seed, run) for stage in (self.trains, self.evaluations) for seed, run in stage.items() if seed in ended_well]

    def by_retraining(self, name: str) -> dict[int, list[float]]:
        """Return the metric of every training that ended well and has it, by the definition's seed."""
        found: dict[int, list[float]] = {}
        for seed, run in self._sound:
            if name in run.metrics:
                found.setdefault(self.of_seed.get(seed, seed), []).append(run.metrics[name])
        return found

    def by_seed(self, name: str) -> dict[int, float]:
        """Return the metric of every seed that ended well and has it: one row's columns then speak of the same seeds.

        Of a seed that was trained more than once it is the mean: the definition's seed stays the unit.
        """
        return {seed: sum(found) / len(found) for seed, found in self.by_retraining(name).items()}

    @property
    def seeds(self) -> set[int]:
        """The definition's seeds that it was planned for."""
        return {self.of_seed.get(seed, seed) for seed in self.planned}

    @property
    def all_runs(self) -> list[store.Run]:
        return [*self.trains.values(), *self.evaluations.values()]

    @property
    def found_by(self) -> set[str]:
        """The searches whose genotypes it trains: one for every seed, or one alone, or none."""
        return {parent for parent in self.parents.values() if parent}

    def trained_like(self, other: Variant) -> bool:
        """Whether both were trained on the same data by the same settings, but for those that only one of them has a use for."""
        shared = self.settings.keys() & other.settings.keys()
        same = all(self.settings[name] == other.settings[name] for name in shared)
        return same and (self.dataset, self.protocols) == (other.dataset, other.protocols)

    @property
    def selected_on_test(self) -> bool:
        """Whether some of its errors are no test, because their epoch was chosen by the images that they are of."""
        return any("selected on test" in str(run.metrics.get("test_error_of")) for run in self.trains.values())

    @property
    def is_cell(self) -> bool:
        """Whether it is built from a genotype."""
        return self.parent is not None or "cells" in self.settings

    @property
    def failed(self) -> list[str]:
        """What went wrong, by seed."""
        again = {seed: f" (of {of})" for seed, of in self.of_seed.items()}
        return [f"seed {seed}{again.get(seed, '')}: {run.status}" for seed, run in self.trains.items() if run.status != "ok"]

    @cached_property
    def layers(self) -> dict[str, tuple[Summary, Summary]]:
        """Return {rule: (layers, weights)} over seeds, without the rules that none follows; of a rule that the catalog lost, too."""
        said = {name.removeprefix("layers_"): None for run in self.trains.values() for name in run.metrics if name.startswith("layers_")}
        found = {}
        for rule in dict.fromkeys([*rules(), *said]):
            layers = self.metric(f"layers_{rule}")
            if layers.n and layers.mean:
                found[rule] = (layers, self.metric(f"weights_{rule}"))
        return found


def images_of(run: store.Run, name: str) -> int:
    """Return how many test images a run's metric is a share of; 0 if it is none."""
    if run.stage == "evaluation":
        share = "accuracy" in name and not name.startswith("released")  # which is the mean of two
        return int(run.metrics.get("images", 0)) if share else 0
    return int(run.metrics.get("test_images", 0)) if name == "test_error" else 0


@dataclass(frozen=True)
class SearchGroup:
    """One search and its runs over seeds."""

    dataset: str
    name: str
    method: str
    rule_set: tuple[str, ...]
    protocols: tuple[str, ...]
    settings: Mapping[str, Any]
    runs: Mapping[int, store.Run]  # by seed
    planned: Mapping[int, str] = field(default_factory=dict)  # its searches' ids, by seed

    @property
    def label(self) -> str:
        """Its name, with its protocols where they are not `repaired` alone."""
        return self.name if self.protocols == ("repaired",) else f"{self.name} {', '.join(self.protocols)}"

    @property
    def all_runs(self) -> list[store.Run]:
        return [*self.runs.values()]

    def metric(self, name: str) -> Summary:
        return Summary.of(self.by_seed(name).values())

    def by_seed(self, name: str) -> dict[int, float]:
        return {seed: run.metrics[name] for seed, run in self.runs.items() if run.status == "ok" and name in run.metrics}

    def timing(self, name: str) -> Summary:
        return Summary.of(float(run.timings[name]) for run in self.runs.values() if name in run.timings)

    def at(self, log: str, epoch: int) -> Summary:
        """Return the first (0) or last (-1) entry of an evolution's log."""
        logs = (run.arrays.get(f"evolution/{log}", []) for run in self.runs.values())
        return Summary.of(entries[epoch] for entries in logs if len(entries))

    def genotypes(self) -> dict[int, dict[str, list[list[Any]]]]:
        return {seed: json.loads(run.metrics["genotype"]) for seed, run in self.runs.items() if "genotype" in run.metrics}


@dataclass(frozen=True)
class Block:
    """The variants of one table, in the definition's order: a model's under all rules, or all networks of cells."""

    dataset: str
    network: str  # "cells" for all networks from genotypes
    variants: tuple[Variant, ...]

    @cached_property
    def protocols_differ(self) -> bool:
        """Whether a variant is told from another by its protocol, too."""
        return len({variant.protocols for variant in self.variants}) > 1

    @cached_property
    def _baselines(self) -> dict[tuple[object, ...], Variant]:
        """The first variant under each rule and protocol, of any network and of each."""
        found: dict[tuple[object, ...], Variant] = {}
        for variant in self.variants:
            found.setdefault((variant.rules, variant.protocols[:1]), variant)
            found.setdefault((variant.rules, variant.protocols[:1], variant.name), variant)
        return found

    def baseline(self, variant: Variant) -> Variant | None:
        """Return what a variant stands against: BP, or the same cell as searched, under the same protocol; itself if it is that."""
        what = ("searched", variant.protocols[:1], variant.name) if variant.is_cell else ("bp", variant.protocols[:1])
        return self._baselines.get(what)

    def paired(self, variant: Variant, metric: str) -> Difference:
        """Return the paired difference to the baseline; of no seeds where it is the baseline itself, or there is none."""
        baseline = self.baseline(variant)
        return Difference.paired({} if baseline is variant else variant.by_seed(metric), baseline.by_seed(metric) if baseline else {})

    def difference(self, variant: Variant, metric: str) -> str:
        """Write the paired difference, or a dash."""
        return str(self.paired(variant, metric))


@dataclass(frozen=True)
class Results:
    """Everything that the report shows."""

    benchmark: str
    about: str
    plan: Mapping[str, Any]
    definition: str
    verdict: Sequence[Mapping[str, Any]]
    blocks: tuple[Block, ...]
    searches: tuple[SearchGroup, ...]
    digest: str
    other_code: Mapping[str, Any]  # runs, by their place in the file, that other code `made`, what `rests` on them, and what to do
    tuning: Mapping[str, store.Run] = field(default_factory=dict)  # the runs that chose learning rates, by id; in no table of results
    missing: Sequence[Mapping[str, str]] = ()  # results that are not there: run, stage, reason
    sources: tuple[merging.Source, ...] = ()  # the files
    again: tuple[store.Run, ...] = ()  # runs that several files have, once more: their numbers are the same, their machines may differ

    def by_other_code(self, runs: Sequence[store.Run]) -> str:
        """Say how many of these runs other code made, or rest on such a run; or nothing."""
        if not (self.other_code["made"] or self.other_code["rests"]):
            return ""
        places = [f"search/{run.id}" if run.stage == "search" else f"trial/{run.id}/{run.stage}" for run in runs]
        counts = {how: len(self.other_code[how].intersection(places)) for how in ("made", "rests")}
        words = {
            "made": "made by another version of the code",
            "rests": "resting on a search or training that another version of the code made",
        }
        return ", ".join(f"{n} of {len(runs)} runs {words[how]}" for how, n in counts.items() if n)

    @cached_property
    def protocols_differ(self) -> bool:
        return any(block.protocols_differ for block in self.blocks)

    @cached_property
    def runs(self) -> list[store.Run]:
        trials = [run for b in self.blocks for v in b.variants for runs in (v.trains, v.evaluations) for run in runs.values()]
        return [run for search in self.searches for run in search.runs.values()] + list(self.tuning.values()) + trials

    @cached_property
    def seeds(self) -> set[int]:
        """The definition's seeds."""
        return {entry.get("of_seed", entry["seed"]) for entry in (*self.plan["searches"], *self.plan["trials"])}

    @property
    def counts(self) -> dict[str, str]:
        """Return how many of the planned searches there are, and of the trials how many were trained to their end: "3", or "2 of 3"."""
        found = {"searches": sum(len(group.runs) for group in self.searches)}
        trained = (run for block in self.blocks for variant in block.variants for run in variant.trains.values())
        found["trials"] = sum(run.status == "ok" for run in trained)
        planned = {kind: len(self.plan[kind]) for kind in found}
        return {kind: str(planned[kind]) if found[kind] == planned[kind] else f"{found[kind]} of {planned[kind]}" for kind in found}

    @cached_property
    def attacks(self) -> dict[str, dict[str, Any]]:
        """Return {label: attack, parameters, gradients} of every attack that some trial was planned to undergo, by all its gradients."""
        found: dict[str, dict[str, Any]] = {}
        for evaluation in (trial["evaluation"] for trial in self.plan["trials"] if trial["evaluation"]):
            for label, planned in evaluation["attacks"].items():
                before = found.setdefault(label, {**planned, "gradients": []})["gradients"]
                before += [gradient for gradient in planned["gradients"] if gradient not in before]
        for planned in found.values():
            planned["gradients"].sort(key=lambda gradient: (gradient == "none", gradient.startswith("from-"), gradient == "true", gradient))
        return found


def read(*paths: Path, processes: int = 1) -> Results:
    """Read a metrics file, or several of one definition as one. Raises ValueError, with the path, if one is none, or not of it.

    Very many runs are read by so many processes.
    """
    part = merging.read(paths, processes)
    plan, runs = part.plan, part.runs
    blocks: dict[tuple[str, str], list[Variant]] = {}
    same: tuple[str, ...] = ("dataset", "network", "parent", "rules", "settings", "protocols", "overrides")
    for parts, trials in _grouped([{"tuning": (), **trial} for trial in plan["trials"]], (*same, "tuning")):
        by_stage = {
            stage: {t["seed"]: runs[f"trial/{t['id']}/{stage}"] for t in trials if f"trial/{t['id']}/{stage}" in runs}
            for stage in ("train", "evaluation")
        }
        of_seed = {t["seed"]: t["of_seed"] for t in trials if "of_seed" in t}
        parents = {t["seed"]: t["parent"] for t in trials}
        planned = {t["seed"]: t["id"] for t in trials}
        trains, evaluations = by_stage["train"], by_stage["evaluation"]
        variant = Variant(**parts, of_seed=of_seed, parents=parents, planned=planned, trains=trains, evaluations=evaluations)
        blocks.setdefault((variant.dataset, "cells" if variant.is_cell else variant.network), []).append(variant)
    same = ("dataset", "name", "method", "rule_set", "protocols", "settings")
    searches = [
        SearchGroup(
            **parts,
            runs={s["seed"]: runs[f"search/{s['id']}"] for s in group if f"search/{s['id']}" in runs},
            planned={s["seed"]: s["id"] for s in group},
        )
        for parts, group in _grouped(plan["searches"], same)
    ]
    return Results(
        benchmark=plan["benchmark"],
        about=plan["about"],
        plan=plan,
        definition=part.definition,
        verdict=part.verdict,
        blocks=tuple(Block(*key, variants=tuple(variants)) for key, variants in blocks.items()),
        searches=tuple(searches),
        digest=store.joined(part.digests),
        tuning={t["id"]: runs[f"trial/{t['id']}/train"] for t in plan.get("tuning", []) if f"trial/{t['id']}/train" in runs},
        missing=part.missing,
        other_code=part.other_code,
        sources=part.sources,
        again=part.again,
    )


def _grouped(entries: list[dict[str, Any]], names: tuple[str, ...]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Group the plan's entries that differ in their seed alone."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        parts = {name: entry[name] for name in names}
        if parts.get("parent"):  # a search's id names its seed; its folder does not
            parts["parent"] = parts["parent"].rpartition("/")[0]
        groups.setdefault(json.dumps(parts, sort_keys=True), []).append(entry)
    return [({k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(key).items()}, group) for key, group in groups.items()]
