"""A `Benchmark` → the searches and trials that it asks for, by id. Imports no torch.

Lists of a definition mean the cross product; what makes no sense is left out with a reason.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from bionas import catalog, plugins
from bionas.space import SKIP_RULES
from suite.definition import price, schema
from suite.definition.benchmark import RETRAINING, Benchmark, Cells, Tune
from suite.definition.runs import Search, Trial, tuners
from suite.plan.attacks import Asked, evaluated
from suite.plan.comparisons import Comparison, compared

MOST = 20_000  # searches, and trials: a list too long times another is millions
T = TypeVar("T")
MOST_TRIED = 1000  # rates of a grid, each with every seed
Kind = TypeVar("Kind", Search, Trial)


@dataclass(frozen=True)
class Plan:
    """All searches and trials of a benchmark, by id, and what was left out and why."""

    benchmark: Benchmark
    searches: Mapping[str, Search]
    trials: Mapping[str, Trial]
    skipped: tuple[tuple[str, str], ...]  # (what, reason)
    comparisons: tuple[Comparison, ...] = ()
    only: str = ""  # which of the definition's runs these are, if not all; see suite.plan.only

    @cached_property
    def tuning(self) -> dict[str, Trial]:
        """The trials that choose learning rates, by id: they are run, and are none of those that are compared."""
        return tuners(self.trials.values())

    @property
    def name(self) -> str:
        """The folder under results/."""
        return self.benchmark.name + ("-tiny" if self.benchmark.tiny else "") + ("-only" if self.only else "")

    def run(self, path: str) -> Search | Trial:
        """Return the run of a path, which may be one that chooses a learning rate."""
        kind, _, id = path.partition("/")
        return self.searches[id] if kind == "search" else (self.trials.get(id) or self.tuning[id])

    @property
    def runs(self) -> dict[str, Search | Trial]:
        """Every run that is compared, by its path: search/<id> or trial/<id>."""
        return {f"search/{id}": search for id, search in self.searches.items()} | {
            f"trial/{id}": trial for id, trial in self.trials.items()
        }

    def needs(self, path: str) -> Iterator[str]:
        """Yield the path of every run whose result this one takes: a trial its search's genotype, and those that chose its rate."""
        run = self.run(path)
        if isinstance(run, Trial):
            yield from (f"search/{parent}" for parent in dict.fromkeys(trial.parent for trial in (run, *run.tuners)) if parent)
            yield from (f"trial/{tuner.id}" for tuner in run.tuners)

    def sources(self, path: str) -> Iterator[str]:
        """Yield the path of every trial whose network makes images to attack this one with."""
        run = self.run(path)
        if isinstance(run, Trial) and run.evaluation:
            yield from (f"trial/{id}" for id in run.evaluation.sources.values())

    def files(self) -> Iterator[tuple[str, str, str]]:
        """Yield (file under results/runs/, run id, stage) of every result."""
        for id in self.searches:
            yield f"search/{id}/search.h5", id, "search"
        for id in self.tuning:
            yield f"trial/{id}/train.h5", id, "train"
        for id, trial in self.trials.items():
            yield f"trial/{id}/train.h5", id, "train"
            if trial.evaluation:
                yield f"trial/{id}/evaluation-{trial.evaluation.id}.h5", id, "evaluation"

    def results(self) -> Iterator[tuple[str, str, str]]:
        """Yield (file under results/runs/, path of the run as `run` takes it, stage) of every result."""
        for where, id, stage in self.files():
            yield where, f"search/{id}" if stage == "search" else f"trial/{id}", stage

    def to_dict(self) -> dict[str, Any]:
        b = self.benchmark
        return {
            **({"only": self.only} if self.only else {}),
            "benchmark": self.name,
            "about": b.about,
            "datasets": list(b.datasets),
            "searches": [_entry(search) for search in self.searches.values()],
            "tuning": [_entry(trial) for trial in self.tuning.values()],
            "trials": [
                {**_entry(trial), "evaluation": trial.evaluation and {"id": trial.evaluation.id, **trial.evaluation.params}}
                for trial in self.trials.values()
            ],
            "skipped": [{"what": what, "reason": reason} for what, reason in self.skipped],
            "comparisons": [dataclasses.asdict(comparison) for comparison in self.comparisons],
            "expect": {pattern: dict(bounds) for pattern, bounds in b.expect.items()},
        }


def plan(benchmark: Benchmark) -> Plan:
    """Expand the cross products. Raises ValueError if `expect` or `comparisons` mean no run, or a metric that a run does not have."""
    skipped: dict[str, str] = {}
    searches: dict[str, Search] = {}
    trials: dict[str, Trial] = {}
    for protocol in benchmark.protocols:
        seeded = dataclasses.replace(benchmark, seeds=protocol.seeds or benchmark.seeds)
        found = list(_few(_searches(seeded, protocol.name)))
        _merge(searches, found)
        of_cells = [_cell_trials(seeded, cells, protocol.name, found, skipped) for cells in benchmark.cells]
        asked = list(_few(itertools.chain(_model_trials(seeded, protocol.name), *of_cells)))
        _merge(trials, evaluated(seeded, asked, skipped))
    runs: dict[str, Search | Trial] = {f"search/{id}": search for id, search in searches.items()}
    runs |= {f"trial/{id}": trial for id, trial in trials.items()}
    for pattern, bounds in benchmark.expect.items():
        matched = [run for path, run in runs.items() if fnmatch.fnmatchcase(path, pattern)]
        if not matched:
            raise ValueError(f"expect: {pattern!r} matches no run; runs are named like {next(iter(runs))!r}")
        for run in matched:
            for metric in bounds:
                catalog.choose(f"expect.{pattern}", metric, run.metrics)
    return Plan(benchmark, searches, trials, tuple(skipped.items()), compared(benchmark.comparisons, trials.values()))


# ---------------------------------------------------------------------------------------------- the cross products


def _few(runs: Iterable[T]) -> Iterator[T]:
    """Raise ValueError for too many, before they are all made."""
    for number, run in enumerate(runs):
        if number >= MOST:
            raise ValueError(
                f"asks for more than {MOST:,} searches or trials under one protocol; allowed: several definitions with fewer each"
            )
        yield run


def _searches(benchmark: Benchmark, protocol: str) -> Iterator[Search]:
    for search in benchmark.searches:
        for dataset, method, (set_name, rules) in itertools.product(benchmark.datasets, search.methods, search.rule_sets.items()):
            searcher = catalog.searcher(method)
            merged, overrides = _settings("search", protocol, search.settings, catalog.base(method))
            foreign = {name for other in catalog.SEARCHERS.values() for name in other.settings} - {*searcher.settings}
            settings = _relevant({k: v for k, v in merged.items() if k not in foreign}, set(rules))
            for seed in benchmark.seeds:
                own = {"name": f"{method}-{set_name}", "method": method, "rule_set": rules, "ranking": search.ranking}
                added = _plugins(dataset, rules, searchers=catalog.base(method))
                found = _fill(Search, benchmark, protocol, settings, overrides, dataset=dataset, seed=seed, plugins=added, **own)
                if method == "random-work" and not benchmark.tiny:
                    found = dataclasses.replace(found, settings={**settings, "epochs": price.epochs_of_equal_work(found)})
                yield found


def _model_trials(benchmark: Benchmark, protocol: str) -> Iterator[Asked]:
    models = benchmark.models
    if models is None:
        return
    for dataset, name, rule in itertools.product(benchmark.datasets, models.names, models.rules):
        written = {**models.settings, **models.by_rule.get(rule, {}), **_rate(models.tune)}
        merged, overrides = _settings("models", protocol, written)
        settings = _relevant(merged, {rule})
        native = settings.get("backend", "native") == "native"
        for seed in benchmark.seeds:
            own = {"network": name, "parent": None, "rules": rule, "evaluation": None}
            added = _plugins(dataset, (rule,), models=name)
            trial = _fill(Trial, benchmark, protocol, settings, overrides, dataset=dataset, seed=seed, plugins=added, **own)
            yield Asked(_tuned(trial, models.tune, dict.fromkeys(benchmark.seeds)), (dataset, name), rule == "bp", switchable=native)


def _cell_trials(benchmark: Benchmark, cells: Cells, protocol: str, searches: list[Search], skipped: dict[str, str]) -> Iterator[Asked]:
    wanted = [s for s in searches if cells.searches is None or s.name in cells.searches]
    found = [(s.name, s, s.dataset, s.seed) for s in wanted]
    if cells.found_by is not None:
        ones = [s for s in wanted if s.seed == cells.found_by]
        found = [(f"{s.name}-seed{s.seed}", s, s.dataset, seed) for s in ones for seed in benchmark.seeds]
    published = [(name, None, dataset, seed) for name in cells.genotypes for dataset in benchmark.datasets for seed in benchmark.seeds]
    for network, parent, source, seed in [*published, *found]:
        method = parent.method if parent else None
        written = {**cells.settings, **cells.by_method.get(method or "", {}), **_rate(cells.tune)}
        merged, overrides = _settings("cells", protocol, written, method)
        parents = {own: s.id if s else None for name, s, where, own in [*published, *found] if (name, where) == (network, source)}
        for dataset in cells.train_on or (source,):
            for rules in cells.rules:
                if parent and len(parent.rule_set) == 1 and rules == "shuffled":
                    skipped[f"{network} shuffled"] = "its rule set has one rule, so that shuffling changes nothing"
                    continue
                if not parent and rules in ("uninformed", "random"):
                    skipped[f"{network} {rules}"] = "no search found it whose α could be permuted, or whose space drawn from"
                    continue
                if parent and not catalog.searcher(parent.method).mixes and rules == "uninformed":
                    skipped[f"{network} uninformed"] = f"{parent.method} search moves no α; `random` is its genotype without a ranking"
                    continue
                if parent and parent.rule_set == (rules,) and "searched" in cells.rules and _as_searched(rules, merged):
                    skipped[f"{network} under {rules}"] = "that is the network as searched"
                    continue
                if not parent and network.startswith("darts_v") and rules in ("shuffled", "bp"):
                    skipped[f"{network} {rules}"] = "DARTS's own genotypes are BP's already, which `searched` says"
                    continue
                mentioned = set(catalog.RULES) if rules in catalog.ASSIGNMENTS else {rules}
                settings = _relevant(merged, mentioned | {merged["outer_rule"]})
                by_bp = rules == "bp" or (parent is not None and parent.rule_set == ("bp",) and rules in catalog.ASSIGNMENTS)
                own = {"network": network, "parent": parent and parent.id, "rules": rules, "evaluation": None}
                follows = (parent.rule_set if parent else ()) if rules in catalog.ASSIGNMENTS else (rules,)
                added = _plugins(dataset, (*follows, settings.get("outer_rule", "")))
                trial = _fill(Trial, benchmark, protocol, settings, overrides, dataset=dataset, seed=seed, plugins=added, **own)
                alike = (dataset, network, trial.parent, json.dumps(merged, sort_keys=True))
                asked = Asked(_tuned(trial, cells.tune, parents), alike, by_bp and merged["outer_rule"] == "bp")
                yield asked
                for again in range(1, cells.retrainings):
                    retrained = dataclasses.replace(asked.trial, seed=seed + again * RETRAINING, of_seed=seed)
                    yield dataclasses.replace(asked, trial=retrained)


def _rate(tune: Tune | None) -> dict[str, Any]:
    """What `tune` says of the settings."""
    return {"lr": "tuned"} if tune else {}


def _tuned(trial: Trial, tune: Tune | None, parents: Mapping[int, str | None]) -> Trial:
    """Return the trial with those that choose its learning rate: the same but for rate and seed, judged on a held-out share alone.

    `parents`: the search that makes the genotype, by seed. Of a protocol's seeds none may be one to tune with; then its first one is.
    """
    if tune is None:
        return trial
    seeds = [seed for seed in tune.seeds or () if seed in parents] or list(parents)[:1]
    if len(tune.lr) * len(seeds) > MOST_TRIED:
        raise ValueError(f"tune: {len(tune.lr)} rates with {len(seeds)} seeds; allowed: at most {MOST_TRIED} of both together")

    def at(rate: float, seed: int) -> Trial:
        settings = {**trial.settings, "lr": rate, "holdout": tune.holdout, "selection": "none"}
        settings["epochs"] = tune.epochs or settings["epochs"]
        return dataclasses.replace(trial, seed=seed, parent=parents[seed], settings=settings, evaluation=None)

    return dataclasses.replace(trial, tuning=tuple((rate, tuple(at(rate, seed) for seed in seeds)) for rate in tune.lr))


def _plugins(dataset: str, rules: Iterable[str], **more: str) -> dict[str, str]:
    """Return the plugins that add the data set, one of the rules, or what else is named by its kind."""
    return plugins.used(("datasets", dataset.partition("-")[0]), *(("rules", rule) for rule in rules), *more.items())


def _as_searched(rule: str, settings: Mapping[str, Any]) -> bool:
    """Whether a cell searched with one rule alone is the same network under that rule: its skips may follow it or not."""
    return rule == "bp" or (rule in SKIP_RULES and settings["single_rule_scope"] == "cells")


def _fill(
    kind: type[Kind], benchmark: Benchmark, protocol: str, settings: Mapping[str, Any], overrides: tuple[str, ...], **own: Any
) -> Kind:
    """Make a search or a trial: what is its own, and what its benchmark and protocol say of every run."""
    return kind(
        settings=settings,
        device=benchmark.device,
        threads=benchmark.threads,
        protocols=(protocol,),
        overrides=tuple(name for name in overrides if name in settings),
        **own,
    )


def _settings(section: str, protocol: str, written: Mapping[str, Any], method: str | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings in force, and the names of those in which the definition departs from the protocol."""
    row = schema.protocol_settings(protocol, section, method)
    return {**row, **written}, tuple(name for name, value in written.items() if row[name] != value)


def _relevant(settings: Mapping[str, Any], rules: set[str]) -> dict[str, Any]:
    """Drop what cannot move this run's numbers, so that it is one run whatever those say."""
    dropped = {name for name, (off, *_) in catalog.SPEED.items() if settings.get(name) == off}
    if not settings.get("recompute"):
        dropped.add("recompute")
    if "usf" not in rules:
        dropped.add("scale")
    if "brsf" not in rules:
        dropped.add("brsf_redraw")
    if settings.get("backend") == "native":
        dropped.add("backend")
    elif "backend" in settings:
        dropped.add("brsf_redraw")  # biotorch's layers have their own way
    if settings.get("schedule") != "multistep":
        dropped.add("milestones")
    if settings.get("scope") == "cells" and settings.get("single_rule_scope") == "cells":
        dropped.add("outer_rule")
    return {name: value for name, value in settings.items() if name not in dropped}


def _entry(run: Search | Trial) -> dict[str, Any]:
    return {**run.params, "protocols": list(run.protocols), "overrides": list(run.overrides)}


def _merge(runs: dict[str, Kind], more: Iterable[Kind]) -> None:
    """Add runs by id; protocols that mean the same run share it."""
    for run in more:
        if before := runs.get(run.id):
            new = tuple(protocol for protocol in run.protocols if protocol not in before.protocols)
            run = dataclasses.replace(before, protocols=before.protocols + new, overrides=run.overrides)
        runs[run.id] = run
