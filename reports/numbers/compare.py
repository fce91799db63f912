"""Results against earlier ones, of another commit or another machine: what differs between the two, and what that did to the numbers.

Runs are paired by seed (pairing.py). A difference is the later less the earlier.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reports.numbers import attacked, merging
from reports.numbers.claims import too_few
from reports.numbers.pairing import ERROR, JUDGED, Member, Metric, Pair, Twice, members, paired
from reports.numbers.statistics import Difference, Step, Summary, holm
from reports.numbers.tables import Results, SearchGroup
from reports.numbers.writing import setting
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS

MADE_BY = ("commit", "dirty", "image", "image_digest", "device", "machine", "processor", "instructions", "python")  # of provenance
MARKS = BETTER, WORSE, TIE, SAME, HERE, THERE = "better", "worse", "not told apart", "same numbers", "only here", "only there"
NONE = "no seed in common"
FEW = "with too few seeds to tell"  # what counts say of marks that say how many
SHOWN = 3  # of a long list
UNTESTED = Step(math.nan, math.nan, False)
ELSEWHERE = "not comparable"  # seconds of two machines


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
        if self.difference.n < CLAIM_SEEDS:
            return too_few(self.difference.n) if self.difference.n else NONE
        if not self.step.rejected:
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
        if self.logs.n < CLAIM_SEEDS:
            return too_few(self.logs.n)
        if not self.step.rejected:
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
        marks = [row.mark if row.mark in MARKS else FEW for table in self.tables for row in table.rows]
        return {mark: marks.count(mark) for mark in (*MARKS, FEW) if mark in marks}

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
    pairs = paired(members(before), members(after))
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
