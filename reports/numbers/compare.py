"""Results against earlier ones, of another commit or another machine: what differs between the two, and what that did to the numbers.

Runs are paired by seed: those with one id are the same run made twice; where ids differ, data set, network, rules and protocols tell what
belongs together, and the settings that changed are named. A difference is the later less the earlier.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from reports.numbers import attacked, merging, names
from reports.numbers.statistics import Difference, Step, Summary, holm
from reports.numbers.tables import Results, SearchGroup, Variant
from reports.numbers.writing import setting
from suite import store
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS

MADE_BY = ("commit", "dirty", "image", "image_digest", "device", "machine", "processor", "instructions", "python")  # of provenance
WHERE = ("device", "machine", "processor", "instructions", "threads")  # what seconds depend on
WHAT = ("id", "seed", "of_seed", "parent", "dataset", "name", "network", "rules", "protocols", "overrides", "sources", "trial", "tuning")
MARKS = BETTER, WORSE, TIE, SAME, HERE, THERE = "better", "worse", "not told apart", "same numbers", "only here", "only there"
SHOWN = 3  # of a long list
UNTESTED = Step(math.nan, math.nan, False)
ELSEWHERE = "not comparable"  # seconds of two machines


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


@dataclass(frozen=True)
class Row:
    """One number of one network or search, before and after."""

    member: Member
    metric: Metric
    before: Summary
    after: Summary
    difference: Difference
    only: str = ""  # HERE or THERE, of what has no counterpart
    step: Step = field(default=UNTESTED)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at the level of its step; it leaves 0 out exactly where the test is rejected."""
        return self.difference.interval(self.step.level)

    @property
    def mark(self) -> str:
        if self.only or not (self.before.n and self.after.n):
            return self.only or (HERE if self.after.n else THERE)
        if self.difference.n and self.difference.mean == 0 and (self.difference.sd == 0 or self.difference.n == 1):
            return SAME
        if not self.step.rejected or self.difference.n < CLAIM_SEEDS:
            return TIE
        return BETTER if (self.difference.mean < 0) == self.metric.lower_is_better else WORSE

    @property
    def words(self) -> str:
        return self.metric.said(self.difference.mean)


@dataclass(frozen=True)
class Seconds:
    """How long one stage took, before and after: their ratio is the mean of the seeds' ratios, as they multiply."""

    member: Member
    stage: str
    before: Summary
    after: Summary
    logs: Difference
    comparable: bool
    step: Step = field(default=UNTESTED)

    @property
    def ratio(self) -> float:
        return math.exp(self.logs.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        ends = self.logs.interval(self.step.level) if self.comparable else None
        return ends and (math.exp(ends[0]), math.exp(ends[1]))

    @property
    def mark(self) -> str:
        if not self.comparable:
            return ELSEWHERE
        if not self.step.rejected or self.logs.n < CLAIM_SEEDS:
            return TIE
        return BETTER if self.logs.mean < 0 else WORSE


@dataclass(frozen=True)
class Table:
    """What stands in one table: the networks of one kind on one data set, or the searches on one."""

    title: str
    rows: tuple[Row, ...]
    seconds: tuple[Seconds, ...]
    same: tuple[str, ...]  # networks or searches all of whose numbers are the same

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Differing:
    """One thing that differs between the two; `where`: the networks and searches that have it so, nothing if it is all of them."""

    what: str
    before: str
    after: str
    where: tuple[str, ...] = ()

    @property
    def places(self) -> str:
        return few(self.where) or "everywhere"


@dataclass(frozen=True)
class Compared:
    """Results against earlier ones."""

    names: tuple[str, str]  # of the files, before and after
    made: tuple[str, str]  # by which commits, where
    differing: tuple[Differing, ...]
    tables: tuple[Table, ...]
    statuses: tuple[tuple[str, str, str], ...]  # (run, before, after) of those that ended otherwise
    shared: tuple[Twice, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many rows have each mark, of those that some have."""
        marks = [row.mark for table in self.tables for row in table.rows]
        return {mark: marks.count(mark) for mark in MARKS if mark in marks}

    @property
    def took(self) -> tuple[float, float]:
        """The seconds of all runs that both made, before and after."""
        made = [run for run in self.shared if not run.again]
        sides = [[run.before for run in made], [run.after for run in made]]
        before, after = (math.fsum(float(run.timings.get("seconds", 0)) for run in side) for side in sides)
        return before, after

    @property
    def again(self) -> int:
        """How many runs are in both files, and were made but once."""
        return sum(run.again for run in self.shared)

    @property
    def comparable(self) -> bool:
        return all(run.comparable for run in self.shared)

    @property
    def same(self) -> int:
        """How many runs that both have hold the same numbers to the bit."""
        return sum(run.same for run in self.shared)


def compare(before: Results, after: Results) -> Compared:
    """Set results against earlier ones. Raises ValueError, with the files' names, if they have nothing in common."""
    ours, theirs = _members(after), _members(before)
    pairs = _paired(theirs, ours)
    both = tuple(" and ".join(source.name for source in results.sources) or "metrics" for results in (before, after))
    met = [pair for pair in pairs if pair.before and pair.after]
    if not met:
        raise ValueError(f"{both[1]} and {both[0]} have nothing in common: no network or search of one data set, name, rules and protocol")
    metrics = [ERROR, *_worst_cases(before, after), JUDGED]
    titles = list(dict.fromkeys(pair.member.table for pair in pairs))
    return Compared(
        names=(both[0], both[1]),
        made=(_made(before), _made(after)),
        differing=(*_made_differently(before, after), *_set_differently(before, after, met)),
        tables=tuple(_table(title, [pair for pair in pairs if pair.member.table == title], metrics) for title in titles),
        statuses=tuple(
            (f"{pair.member.label} ({pair.member.table}), seed {run.seed}, {run.stage}", run.before.status, run.after.status)
            for pair in met
            for run in pair.shared
            if run.before.status != run.after.status
        ),
        shared=tuple(run for pair in met for run in pair.shared),
    )


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


# ------------------------------------------------------------------------------------------------------------ what belongs together


def _members(results: Results) -> list[Member]:
    """Return the searches and networks of which anything ran, in the page's order."""
    searches = {entry["id"]: entry for entry in results.plan["searches"]}
    trials = {entry["id"]: entry for entry in results.plan["trials"]}
    found = [Member(group, f"searches on {group.dataset}", group.label, "", searches) for group in results.searches]
    for block in results.blocks:
        title = f"{'networks from genotypes' if block.network == 'cells' else block.network} on {block.dataset}"
        found += [Member(variant, title, names.name(variant, block), variant.rules, trials) for variant in block.variants]
    return [member for member in found if member.ids]


def _paired(before: Sequence[Member], after: Sequence[Member]) -> list[Pair]:
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


# ----------------------------------------------------------------------------------------------------------------- what differs


def _values(results: Results, name: str) -> list[str]:
    found = {str(run.provenance[name]) for run in (*results.runs, *results.again) if name in run.provenance}
    return sorted(value[:10] if name == "commit" else value for value in found)


def _made(results: Results) -> str:
    """Say which commits made it, and on which machines."""
    commits = _values(results, "commit")
    places = sorted({merging.machine(run) for run in (*results.runs, *results.again)})
    return "; ".join(
        filter(None, (f"commit {few(commits)}" if commits else "", " and ".join(places) if len(places) < 3 else f"{len(places)} machines"))
    )


def few(words: Sequence[str]) -> str:
    """Write the first words of a list that may be long."""
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def _made_differently(before: Results, after: Results) -> Iterator[Differing]:
    """Yield what differs in code and machine, over all runs."""
    versions = {name for results in (before, after) for run in results.runs for name in run.provenance if name.startswith("version_")}
    for name in (*MADE_BY, *sorted(versions)):
        old, new = (_values(results, name) for results in (before, after))
        if old != new:
            yield Differing(name.replace("version_", "").replace("_", " "), few(old) or "–", few(new) or "–")
    commits, codes = ([_values(results, name) for results in (before, after)] for name in ("commit", "code"))
    if codes[0] != codes[1] and commits[0] == commits[1]:
        yield Differing("code, of one commit", few(codes[0]) or "–", few(codes[1]) or "–")


def _set_differently(before: Results, after: Results, met: Sequence[Pair]) -> Iterator[Differing]:
    """Yield what differs in the definitions, as far as it shows in what both ran."""
    seeds = [", ".join(map(str, sorted(results.seeds))) for results in (before, after)]
    for what, old, new in (("benchmark", before.benchmark, after.benchmark), ("seeds", *seeds)):
        if old != new:
            yield Differing(what, old, new)
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in met:
        for what, (old_value, new_value) in pair.changes().items():
            key = what, _written(old_value), _written(new_value)
            found.setdefault(key, []).append(f"{pair.member.label} ({pair.member.table})")
    for (what, old, new), where in found.items():
        yield Differing(what, old, new, () if len(where) == len(met) else tuple(where))


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else setting(value)


# -------------------------------------------------------------------------------------------------------------------- the numbers


def _worst_cases(before: Results, after: Results) -> list[Metric]:
    """Return the worst case within each budget that attacks of either are compared in."""
    budgets = sorted({budget for results in (before, after) for budget in attacked.budgets(attacked.attacks(results))[0]})
    named = [f"worst_case_accuracy_{budget.norm}_{budget.size:.3g}" for budget in budgets]
    return [Metric(name, f"{attacked.metric_words(name)}, %", "evaluation", lower_is_better=False) for name in named]


def _table(title: str, pairs: Sequence[Pair], metrics: Sequence[Metric]) -> Table:
    rows = [row for pair in pairs for row in _rows(pair, metrics)]
    seconds = [row for pair in pairs for row in _seconds(pair)]
    steps = holm([row.difference.p for row in rows], sum(row.difference.n >= INTERVAL_SEEDS for row in rows))
    timed = holm([row.logs.p if row.comparable else math.nan for row in seconds])
    same = [pair.member.label for pair in pairs if pair.same and pair.same == {run.stage for run in pair.shared}]
    return Table(
        title,
        tuple(replace(row, step=step) for row, step in zip(rows, steps, strict=True)),
        tuple(replace(row, step=step) for row, step in zip(seconds, timed, strict=True)),
        tuple(same),
    )


def _rows(pair: Pair, metrics: Sequence[Metric]) -> Iterator[Row]:
    """Yield a row for every number of which not all is the same to the bit; of what has no counterpart, one."""
    if not (pair.before and pair.after):
        metric = JUDGED if isinstance(pair.member.of, SearchGroup) else ERROR
        found, none = Summary.of(pair.member.by_seed(metric).values()), Summary.of([])
        before, after, only = (none, found, HERE) if pair.after else (found, none, THERE)
        yield Row(pair.member, metric, before, after, Difference.paired({}, {}), only)
        return
    for metric in metrics:
        theirs, ours = pair.before.by_seed(metric), pair.after.by_seed(metric)
        if (ours or theirs) and metric.stage in pair.member.stages and metric.stage not in pair.same:
            shared = sorted(ours.keys() & theirs.keys())
            sides = [Summary.of([side[seed] for seed in shared or sorted(side)]) for side in (theirs, ours)]
            yield Row(pair.member, metric, sides[0], sides[1], Difference.paired(ours, theirs))


def _seconds(pair: Pair) -> Iterator[Seconds]:
    """Yield a row for every stage that both have, unless it is the same run."""
    if not (pair.before and pair.after):
        return
    for stage in pair.after.stages:
        theirs, ours = pair.before.seconds(stage), pair.after.seconds(stage)
        shared = sorted(ours.keys() & theirs.keys())
        if not shared or all(ours[seed] == theirs[seed] for seed in shared):
            continue
        comparable = all(run.comparable for run in pair.shared if run.stage == stage)
        logs = Difference.paired({s: math.log(ours[s]) for s in shared}, {s: math.log(theirs[s]) for s in shared})
        sides = [Summary.of([side[seed] for seed in shared]) for side in (theirs, ours)]
        yield Seconds(pair.member, stage, sides[0], sides[1], logs, comparable)
