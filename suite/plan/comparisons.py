"""The comparisons of a definition: which networks are set against which, on which data and seeds, before anything has run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bionas import catalog
from suite.definition import benchmark
from suite.definition.runs import Trial


@dataclass(frozen=True)
class Comparison:
    """One network under its rules set against another on one data set, paired by seed. Names are as in `Trial.name`."""

    dataset: str
    protocols: tuple[str, ...]
    of: str
    against: str
    metric: str
    about: str
    seeds: tuple[int, ...]  # which both sides are planned for


def compared(asked: Iterable[benchmark.Comparison], trials: Iterable[Trial]) -> tuple[Comparison, ...]:
    """Return one comparison for every data set and protocol where both sides have trials; protocols that share theirs share it.

    Raises ValueError for a name that no trial has, sides that nowhere meet or are the same, a metric that one of them does not have, a
    name that stands for several settings, and a comparison that stands twice, which would count twice in the correction.
    """
    variants: dict[str, dict[tuple[str, str], list[Trial]]] = {}  # name → (data set, protocol) → trials
    for trial in trials:
        for protocol in trial.protocols:
            variants.setdefault(trial.name, {}).setdefault((trial.dataset, protocol), []).append(trial)
    found: dict[tuple[frozenset[frozenset[str]], str], tuple[str, Comparison]] = {}
    for i, entry in enumerate(asked):
        if not variants:
            raise ValueError("comparisons: there are no trials to compare")
        ours = variants[catalog.choose(f"comparisons.{i}.of", entry.of, variants)]
        for j, against in enumerate(entry.against):
            where = f"comparisons.{i}.against.{j}"
            theirs = variants[catalog.choose(where, against, variants)]
            if ours is theirs:
                raise ValueError(f"{where}: {against!r} is `of` itself; allowed: another one")
            places = [place for place in ours if place in theirs]
            if not places:
                raise ValueError(f"{where}: {against!r} is nowhere trained on the same data set under the same protocol as {entry.of!r}")
            for place in places:
                for side in (ours[place], theirs[place]):
                    _check(side, i, where, entry.metric)
                sides = [frozenset(trial.id for trial in side) for side in (ours[place], theirs[place])]
                key = frozenset(sides), entry.metric
                before, shared = found.get(key, (where, None))
                if before != where:
                    raise ValueError(f"{where}: {entry.of!r} and {against!r} stand in {before}, too, and would count twice")
                dataset, protocol = place
                seeds = {trial.unit for trial in ours[place]} & {trial.unit for trial in theirs[place]}
                new = Comparison(dataset, (protocol,), entry.of, against, entry.metric, entry.about, tuple(sorted(seeds)))
                found[key] = where, replace(shared, protocols=(*shared.protocols, protocol)) if shared else new
    return tuple(comparison for _, comparison in found.values())


def _check(side: list[Trial], i: int, where: str, metric: str) -> None:
    for trial in side:
        catalog.choose(f"comparisons.{i}.metric", metric, trial.metrics)
    first = side[0]
    for other in side:
        names = sorted(name for name in {**first.settings, **other.settings} if first.settings.get(name) != other.settings.get(name))
        if names:
            raise ValueError(f"{where}: {first.name!r} on {first.dataset} stands for networks of several settings: {', '.join(names)}")
