"""`only="network=resnet20 rules=bp,usf seed=0"`: the runs of plans that all of these words mean, and nothing else. Imports no torch.

The keys are the columns of the plan's table. Values are names or patterns (`darts-*`), several with commas. What a kept trial takes
its genotype or its adversarial images from is kept, too. A selection has a folder of its own, so that it never replaces the report of
the whole.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from bionas import catalog
from suite.definition.runs import Search, Trial
from suite.plan.expand import Plan

KEYS = ("kind", "dataset", "network", "rules", "protocol", "seed")


def select(plans: Sequence[Plan], text: str) -> list[Plan]:
    """Return the plans with the runs that `text` means, without those in which it means none.

    Raises ValueError for a key that there is not, a value that is no run's in any of the plans, and words that no run fits together.
    """
    wanted = _read(text)
    runs = [run for plan in plans for run in plan.runs.values()]
    for key, patterns in wanted.items():
        allowed = list(dict.fromkeys(value for run in runs for value in _facts(run)[key]))
        for pattern in patterns:
            if not fnmatch.filter(allowed, pattern):
                catalog.choose(f"only: {key}", pattern, allowed)
    kept = [selected for plan in plans if (selected := _select(plan, wanted))]
    if not kept:
        raise ValueError(f"only: no run is all of {_say(wanted)} at once")
    return kept


def _read(text: str) -> dict[str, tuple[str, ...]]:
    wanted: dict[str, tuple[str, ...]] = {}
    for word in text.split():
        key, _, values = word.partition("=")
        catalog.choose("only", key, KEYS)
        patterns = tuple(filter(None, values.split(",")))
        if not patterns:
            raise ValueError(f"only: {key} has no value; allowed: {key}=VALUE, several with commas")
        if key in wanted:
            raise ValueError(f"only: {key} stands twice; allowed: {key}=VALUE,VALUE")
        wanted[key] = patterns
    if not wanted:
        raise ValueError(f"only: is empty; allowed: KEY=VALUE with {', '.join(KEYS)}")
    return wanted


def _say(wanted: Mapping[str, Iterable[str]]) -> str:
    return " ".join(f"{key}={','.join(patterns)}" for key, patterns in wanted.items())


def _facts(run: Search | Trial) -> dict[str, tuple[str, ...]]:
    """Return what a run is, by key; a search is under no one assignment of rules."""
    network, rules = (run.name, ()) if isinstance(run, Search) else (run.network, (run.rules,))
    return {
        "kind": (run.STAGE,),
        "dataset": (run.dataset,),
        "network": (network,),
        "rules": rules,
        "protocol": run.protocols,
        "seed": (str(run.unit),),
    }


def _select(plan: Plan, wanted: Mapping[str, Sequence[str]]) -> Plan | None:
    """Return one plan's selection, which says of the words those that mean something in it; None if no run is meant."""
    runs = plan.runs

    def fits(run: Search | Trial, key: str, pattern: str) -> bool:
        return any(fnmatch.fnmatchcase(value, pattern) for value in _facts(run)[key])

    meant = [path for path, run in runs.items() if all(any(fits(run, key, p) for p in patterns) for key, patterns in wanted.items())]
    if not meant:
        return None
    kept: set[str] = set()
    while meant:
        kept.add(path := meant.pop())
        meant += [needed for needed in (*plan.needs(path), *plan.sources(path)) if needed not in kept]
    benchmark = dataclasses.replace(
        plan.benchmark,
        datasets=tuple(dict.fromkeys(run.dataset for path, run in runs.items() if path in kept)),
        expect={pattern: bounds for pattern, bounds in plan.benchmark.expect.items() if fnmatch.filter(kept, pattern)},
    )
    return dataclasses.replace(
        plan,
        benchmark=benchmark,
        searches={id: search for id, search in plan.searches.items() if f"search/{id}" in kept},
        trials={id: trial for id, trial in plan.trials.items() if f"trial/{id}" in kept},
        only=_say({key: [p for p in patterns if any(fits(run, key, p) for run in runs.values())] for key, patterns in wanted.items()}),
    )
