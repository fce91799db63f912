"""Which runs of two metrics files belong together.

Those with one id are the same run made twice; where ids differ, data set, network, rules and protocols tell what belongs together, and the
settings that changed are named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from reports.numbers import merging, names
from reports.numbers.tables import Results, SearchGroup, Variant
from suite import store

WHERE = ("device", "machine", "processor", "instructions", "threads")  # what seconds depend on
WHAT = ("id", "seed", "of_seed", "parent", "dataset", "name", "network", "rules", "protocols", "overrides", "sources", "trial", "tuning")


@dataclass(frozen=True)
class Metric:
    """What is compared: whether less of it is better, and how a difference of it is said."""

    name: str
    words: str
    stage: str
    lower_is_better: bool

    def said(self, difference: float) -> str:
        """Say the sign of a difference in words."""
        if difference != difference:
            return "–"
        points = f"{abs(difference):.2f}"
        if points == "0.00":
            return "no difference" if difference == 0 else "less than 0.01 points"
        if self.name == "test_error":
            return f"errs {points} points {'more' if difference > 0 else 'less'}"
        return f"{points} points {'higher' if difference > 0 else 'lower'}"


ERROR = Metric("test_error", "test error, %", "train", lower_is_better=True)
JUDGED = Metric("val_accuracy", "validation accuracy, %", "search", lower_is_better=False)


@dataclass(frozen=True)
class Member:
    """A network under its rules, or a search: what it is, and its runs."""

    of: Variant | SearchGroup
    table: str  # which table it stands in
    label: str
    rules: str
    entries: Mapping[str, Mapping[str, Any]]  # of the plan, by id

    @property
    def key(self) -> tuple[Any, ...]:
        of = self.of
        what = (of.name, of.rules) if isinstance(of, Variant) else (of.name,)
        return (of.dataset, *what, of.protocols)

    @property
    def stages(self) -> dict[str, Mapping[int, store.Run]]:
        """The runs by stage, and by their own seed."""
        of = self.of
        return {"search": of.runs} if isinstance(of, SearchGroup) else {"train": of.trains, "evaluation": of.evaluations}

    @cached_property
    def ids(self) -> dict[int, str]:
        """The id of each of its seeds that ran."""
        return {seed: run.id for runs in self.stages.values() for seed, run in runs.items()}

    def by_seed(self, metric: Metric) -> dict[int, float]:
        return {seed: value for seed, value in self.of.by_seed(metric.name).items() if math.isfinite(value)}

    def seconds(self, stage: str) -> dict[int, float]:
        """Return how long a stage took by the definition's seed: the mean, where that was trained more than once."""
        found: dict[int, list[float]] = {}
        for seed, run in self.stages.get(stage, {}).items():
            if run.status == "ok" and run.timings.get("seconds", 0) > 0:
                unit = self.of.of_seed.get(seed, seed) if isinstance(self.of, Variant) else seed
                found.setdefault(unit, []).append(float(run.timings["seconds"]))
        return {unit: sum(each) / len(each) for unit, each in found.items()}


class Twice(NamedTuple):
    """A run that both have, by its own seed, and whether its numbers are the same to the bit."""

    stage: str
    seed: int
    before: store.Run
    after: store.Run
    same: bool

    @property
    def again(self) -> bool:
        """Whether it is no second run, but the same one in two files."""
        return self.same and self.before.timings.get("seconds") == self.after.timings.get("seconds")

    @property
    def comparable(self) -> bool:
        """Whether its seconds can be set side by side: both say where they were made, and it is the same."""
        places = [tuple(str(run.provenance.get(name, "")) for name in WHERE) for run in (self.before, self.after)]
        return places[0] == places[1] and all(places[0])


@dataclass(frozen=True)
class Pair:
    """The same network or search, before and after; or only one of them."""

    before: Member | None
    after: Member | None

    @property
    def member(self) -> Member:
        found = self.after or self.before
        assert found
        return found

    @cached_property
    def shared(self) -> list[Twice]:
        """Every run that both have."""
        if not (self.before and self.after):
            return []
        stages = [(stage, self.before.stages.get(stage, {}), runs) for stage, runs in self.after.stages.items()]
        return [
            Twice(stage, seed, earlier[seed], run, same_numbers(earlier[seed], run))
            for stage, earlier, runs in stages
            for seed, run in runs.items()
            if seed in earlier
        ]

    @cached_property
    def same(self) -> frozenset[str]:
        """The stages whose numbers are the same to the bit, in every seed that both have, and no seed is but in one."""
        found: dict[str, bool] = {}
        for run in self.shared:
            found[run.stage] = found.get(run.stage, True) and run.same
        both = [member for member in (self.before, self.after) if member]
        return frozenset(stage for stage, same in found.items() if same and len({frozenset(m.stages[stage]) for m in both}) == 1)

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Return {setting: (before, after)} of those that differ, over the seeds that both have."""
        found: dict[str, tuple[Any, Any]] = {}
        if self.before and self.after:
            for seed in self.before.ids.keys() & self.after.ids.keys():
                ours, theirs = (_settings(m.entries.get(m.ids[seed], {})) for m in (self.after, self.before))
                found |= {where: (before, after) for where, before, after in merging.differing(theirs, ours)}
        return found


def members(results: Results) -> list[Member]:
    """Return the searches and networks of which anything ran, in the page's order."""
    searches = {entry["id"]: entry for entry in results.plan["searches"]}
    trials = {entry["id"]: entry for entry in results.plan["trials"]}
    found = [Member(group, f"searches on {group.dataset}", group.label, "", searches) for group in results.searches]
    for block in results.blocks:
        title = f"{'networks from genotypes' if block.network == 'cells' else block.network} on {block.dataset}"
        found += [Member(variant, title, names.name(variant, block), variant.rules, trials) for variant in block.variants]
    return [member for member in found if member.ids]


def paired(before: Sequence[Member], after: Sequence[Member]) -> list[Pair]:
    """Pair members that share a run's id, then those with one key, of several those whose settings differ least; each once."""
    by_id = {id: i for i, member in enumerate(before) for id in member.ids.values()}
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for i, member in enumerate(before):
        by_key.setdefault(member.key, []).append(i)
    found = ((j, next((by_id[id] for id in member.ids.values() if id in by_id), None)) for j, member in enumerate(after))
    partner = {j: i for j, i in found if i is not None}
    taken = set(partner.values())
    near = [
        (len(list(merging.differing(dict(before[i].of.settings), dict(member.of.settings)))), i, j)
        for j, member in enumerate(after)
        if j not in partner
        for i in by_key.get(member.key, [])
        if i not in taken
    ]
    for _, i, j in sorted(near):
        if j not in partner and i not in taken:
            partner[j] = i
            taken.add(i)
    pairs = [Pair(before[partner[j]] if j in partner else None, member) for j, member in enumerate(after)]
    return pairs + [Pair(member, None) for i, member in enumerate(before) if i not in taken]


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything of a plan's entry that shapes its numbers, beside what it is."""
    found = {name: value for name, value in entry.items() if name not in (*WHAT, "settings", "evaluation")}
    evaluation = {name: value for name, value in (entry.get("evaluation") or {}).items() if name not in WHAT}
    found |= {"rates": [rate for rate, _ in entry["tuning"]]} if entry.get("tuning") else {}
    return {**found, **entry.get("settings", {}), **{f"evaluation: {k}" if k in found else k: v for k, v in evaluation.items()}}


def same_numbers(one: store.Run, other: store.Run) -> bool:
    """Whether two runs hold the same numbers to the bit, whatever their ids: what equal digests say of runs with one id."""
    if one.status != other.status or one.metrics.keys() != other.metrics.keys() or one.arrays.keys() != other.arrays.keys():
        return False
    values = ((mine[name], its[name]) for mine, its in ((one.metrics, other.metrics), (one.arrays, other.arrays)) for name in mine)
    return all(_same_value(np.asarray(a), np.asarray(b)) for a, b in values)


def _same_value(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind != other.dtype.kind or one.shape != other.shape:
        return False
    return one.tolist() == other.tolist() if one.dtype.kind in "OUS" else one.tobytes() == other.tobytes()
