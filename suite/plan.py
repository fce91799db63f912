"""A `Benchmark` → the searches and trials that it asks for, by id. Imports no torch.

Lists of a definition mean the cross product; what makes no sense is left out with a reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionas import catalog
from suite import price, spec
from suite.runs import Evaluation, Search, Trial


@dataclass(frozen=True)
class Plan:
    """All searches and trials of a benchmark, by id, and what was left out and why."""

    benchmark: spec.Benchmark
    searches: Mapping[str, Search]
    trials: Mapping[str, Trial]
    skipped: tuple[tuple[str, str], ...]  # (what, reason)

    @property
    def name(self) -> str:
        """The folder under results/."""
        return self.benchmark.name + ("-tiny" if self.benchmark.tiny else "")

    def files(self) -> Iterator[tuple[str, str, str]]:
        """Yield (file under results/runs/, run id, stage) of every result."""
        for id in self.searches:
            yield f"search/{id}/search.h5", id, "search"
        for id, trial in self.trials.items():
            yield f"trial/{id}/train.h5", id, "train"
            if trial.evaluation:
                yield f"trial/{id}/evaluation-{trial.evaluation.id}.h5", id, "evaluation"

    def to_dict(self) -> dict[str, Any]:
        b = self.benchmark
        return {
            "benchmark": self.name,
            "about": b.about,
            "datasets": list(b.datasets),
            "searches": [_entry(search) for search in self.searches.values()],
            "trials": [
                {**_entry(trial), "evaluation": trial.evaluation and {"id": trial.evaluation.id, **trial.evaluation.params}}
                for trial in self.trials.values()
            ],
            "skipped": [{"what": what, "reason": reason} for what, reason in self.skipped],
            "expect": {pattern: dict(bounds) for pattern, bounds in b.expect.items()},
        }


def load(path: str, size: str = "full") -> Plan:
    """Read a definition and plan it; `size="tiny"` cuts it first. Raises ValueError with one line for a mistake in it."""
    catalog.choose("size", size, ("full", "tiny"))
    benchmark = spec.read(path)
    try:
        return plan(cut(benchmark) if size == "tiny" else benchmark)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def cut(benchmark: spec.Benchmark) -> spec.Benchmark:
    """Cut to minutes: an epoch or two, small networks, a few images, one data set, protocol, model and seed. Bounds go.

    Every kind of run stays: each search method, with its first rule set; each rule of a model; each assignment of a cell.
    """
    models, attacks = benchmark.models, benchmark.attacks
    small = {"epochs": 1, "channels": 4, "cells": 3}
    searching = {"epochs": 2, "warmup": 1, "nodes": 2, "restarts": 2, "population": 4, "generations": 1, "candidates": 2, "batch_size": 256}
    searches = tuple(
        dataclasses.replace(
            search, rule_sets=dict([next(iter(search.rule_sets.items()))]), settings={**search.settings, **small, **searching}
        )
        for search in benchmark.searches
    )
    kept = [name for search in searches for name in search.names]
    return dataclasses.replace(
        benchmark,
        tiny=True,
        datasets=benchmark.datasets[:1],
        seeds=benchmark.seeds[:1],
        protocols=benchmark.protocols[:1],
        models=models and dataclasses.replace(models, names=models.names[:1], settings={**models.settings, "epochs": 1}),
        searches=searches,
        cells=tuple(
            dataclasses.replace(
                cells,
                genotypes=cells.genotypes[:1],
                searches=tuple(name for name in (kept if cells.searches is None else cells.searches) if name in kept)[:1],
                train_on=cells.train_on and cells.train_on[:1],
                settings={**cells.settings, **small},
                by_method={method: {k: v for k, v in settings.items() if k not in small} for method, settings in cells.by_method.items()},
            )
            for cells in benchmark.cells
        ),
        attacks=attacks and dataclasses.replace(attacks, images=min(attacks.images, 8)),
        expect={},
    )


def plan(benchmark: spec.Benchmark) -> Plan:
    """Expand the cross products. Raises ValueError if `expect` means no run, or a metric that a run does not have."""
    skipped: dict[str, str] = {}
    searches, trials = {}, {}
    for protocol in benchmark.protocols:
        found = list(_searches(benchmark, protocol))
        _merge(searches, found)
        _merge(trials, _model_trials(benchmark, protocol, skipped))
        for cells in benchmark.cells:
            _merge(trials, _cell_trials(benchmark, cells, protocol, found, skipped))
    runs = {**{f"search/{id}": s for id, s in searches.items()}, **{f"trial/{id}": t for id, t in trials.items()}}
    for pattern, bounds in benchmark.expect.items():
        matched = [run for path, run in runs.items() if fnmatch.fnmatchcase(path, pattern)]
        if not matched:
            raise ValueError(f"expect: {pattern!r} matches no run; runs are named like {next(iter(runs))!r}")
        for run in matched:
            for metric in bounds:
                catalog.choose(f"expect.{pattern}", metric, run.metrics)
    return Plan(benchmark, searches, trials, tuple(skipped.items()))


# ---------------------------------------------------------------------------------------------- the cross products


def _searches(benchmark: spec.Benchmark, protocol: str) -> Iterator[Search]:
    for search in benchmark.searches:
        merged, overrides = _settings("search", protocol, search.settings)
        for dataset, method, (set_name, rules) in itertools.product(benchmark.datasets, search.methods, search.rule_sets.items()):
            searcher = catalog.SEARCHERS[method.removesuffix("-null")]
            foreign = {name for other in catalog.SEARCHERS.values() if other is not searcher for name in other.settings}
            settings = _relevant({k: v for k, v in merged.items() if k not in foreign}, set(rules))
            for seed in benchmark.seeds:
                yield Search(
                    dataset=dataset,
                    name=f"{method}-{set_name}",
                    method=method,
                    rule_set=rules,
                    seed=seed,
                    settings=settings,
                    device=benchmark.device,
                    threads=benchmark.threads,
                    protocols=(protocol,),
                    overrides=tuple(name for name in overrides if name in settings),
                )


def _model_trials(benchmark: spec.Benchmark, protocol: str, skipped: dict[str, str]) -> Iterator[Trial]:
    models = benchmark.models
    if models is None:
        return
    for dataset in benchmark.datasets:
        for name in models.names:
            for rule in models.rules:
                merged, overrides = _settings("models", protocol, models.settings | models.by_rule.get(rule, {}))
                settings = _relevant(merged, {rule})
                for seed in benchmark.seeds:
                    yield _trial(benchmark, protocol, settings, overrides, skipped, dataset, name, None, rule, seed, plain=rule == "bp")


def _cell_trials(
    benchmark: spec.Benchmark, cells: spec.Cells, protocol: str, searches: list[Search], skipped: dict[str, str]
) -> Iterator[Trial]:
    wanted = [s for s in searches if cells.searches is None or s.name in cells.searches]
    published = [(name, None, dataset, seed) for name in cells.genotypes for dataset in benchmark.datasets for seed in benchmark.seeds]
    for network, parent, source, seed in [*published, *((s.name, s, s.dataset, s.seed) for s in wanted)]:
        own = cells.by_method.get(parent.method, {}) if parent else {}
        merged, overrides = _settings("cells", protocol, {**cells.settings, **own})
        for dataset in cells.train_on or (source,):
            for rules in cells.rules:
                if parent and len(parent.rule_set) == 1 and rules == "shuffled":
                    skipped[f"{network} shuffled"] = "its rule set has one rule, so that shuffling changes nothing"
                    continue
                if parent and rules in parent.rule_set and len(parent.rule_set) == 1 and "searched" in cells.rules:
                    skipped[f"{network} under {rules}"] = "that is the network as searched"
                    continue
                if not parent and network.startswith("darts_v") and rules in ("shuffled", "bp"):
                    skipped[f"{network} {rules}"] = "DARTS's own genotypes are BP's already, which `searched` says"
                    continue
                mentioned = set(catalog.RULES) if rules in ("searched", "shuffled") else {rules}
                settings = _relevant(merged, mentioned | {merged["outer_rule"]})
                plain = (rules == "bp" or (parent and parent.rule_set == ("bp",) and rules == "searched")) and merged["outer_rule"] == "bp"
                id = parent and parent.id
                yield _trial(benchmark, protocol, settings, overrides, skipped, dataset, network, id, rules, seed, plain=bool(plain))


def _trial(benchmark, protocol, settings, overrides, skipped, dataset, network, parent, rules, seed, *, plain: bool) -> Trial:
    """Make a trial; `plain` says that all of its network learns by BP."""
    return Trial(
        dataset=dataset,
        network=network,
        parent=parent,
        rules=rules,
        seed=seed,
        settings=settings,
        device=benchmark.device,
        threads=benchmark.threads,
        protocols=(protocol,),
        overrides=tuple(name for name in overrides if name in settings),
        evaluation=_evaluation(benchmark.attacks, plain, settings.get("backend", "native") == "native", skipped),
    )


def _settings(section: str, protocol: str, written: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings in force, and the names of those in which the definition departs from the protocol."""
    row = spec.default_settings(section) | spec.protocols()[protocol].get(section, {})
    return row | written, tuple(name for name, value in written.items() if row[name] != value)


def _relevant(settings: Mapping[str, Any], rules: set[str]) -> dict[str, Any]:
    """Drop what cannot move this run's numbers, so that it is one run whatever those say."""
    dropped = {name for name, (off, *_) in catalog.SPEED.items() if settings.get(name) == off}
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


def _evaluation(attacks: spec.Attacks | None, plain: bool, switchable: bool, skipped: dict[str, str]) -> Evaluation | None:
    if attacks is None:
        return None
    pairs = []
    for attack in sorted(attacks.names, key=list(catalog.ATTACKS).index):
        if not catalog.ATTACKS[attack].uses_gradient:
            pairs.append((attack, "none"))
            continue
        for gradient in sorted(attacks.gradients):
            if gradient == "true" and not switchable:
                skipped[f"attacks on biotorch's layers through the true gradient: {attack}"] = "their feedback cannot be switched off"
                continue
            if plain and switchable and gradient == "rule" and "true" in attacks.gradients:
                skipped[f"attacks on bp through the rule: {attack}"] = "bp's own gradient is the true one, which runs"
                continue
            pairs.append((attack, gradient))
    return Evaluation(attacks.preset, tuple(pairs), attacks.images) if pairs else None


def _entry(run: Search | Trial) -> dict[str, Any]:
    return {**run.params, "protocols": list(run.protocols), "overrides": list(run.overrides)}


def _merge(runs: dict[str, Any], more: Iterable[Any]) -> None:
    """Add runs by id; protocols that mean the same run share it."""
    for run in more:
        before = runs.get(run.id)
        new = before and [protocol for protocol in run.protocols if protocol not in before.protocols]
        runs[run.id] = dataclasses.replace(run, protocols=before.protocols + tuple(new)) if before else run


# ---------------------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.plan", description="Print what a definition would run; runs nothing.")
    parser.add_argument("file", help="a definition, such as benchmarks/demo.yaml")
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    parser.add_argument("--size", default="full", help="full, or tiny: one short trial of each kind (default: full)")
    parser.add_argument("--calibration", type=Path, help="what `python -m suite.run calibrate` wrote, for the hours")
    args = parser.parse_args(argv)
    plans = [load(str(file), args.size) for file in spec.listed(args.file)]
    speed = price.throughput(args.calibration)
    if args.json:
        content = [planned.to_dict() for planned in plans]
        print(json.dumps(content if len(content) > 1 else content[0], indent=2))
        return
    searches, trials = {}, {}
    for planned in plans:
        _print_table(planned)
        print(price.say(price.of(planned.searches, planned.trials), speed), end="\n\n")
        searches |= planned.searches
        trials |= planned.trials
    if len(plans) > 1:
        print(f"{args.file}: {len(plans)} definitions, {len(searches)} searches, {len(trials)} trials; what several ask for runs once")
        print(price.say(price.of(searches, trials), speed))


def _print_table(planned: Plan) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"{planned.name}: {escape(planned.benchmark.about)}", title_justify="left")
    for column in ("kind", "dataset", "network", "rules", "protocol", "epochs", "attacks", "seeds"):
        table.add_column(column, justify="right" if column == "epochs" else "left", no_wrap=column == "seeds")
    for row in _rows(planned):
        table.add_row(*row)
    console.print(table)
    for what, reason in planned.skipped:
        console.print(f"skipped  {escape(what)}: {escape(reason)}", highlight=False)
    counts = f"{len(planned.searches)} searches, {len(planned.trials)} trials"
    console.print(f"{counts}; results in results/{planned.name}/", highlight=False)


def _rows(planned: Plan) -> Iterator[tuple[str, ...]]:
    """Yield one row of the table for all runs that differ in their seed alone."""
    seeds: dict[tuple[tuple[str, ...], str], list[int]] = {}
    for run in (*planned.searches.values(), *planned.trials.values()):
        if isinstance(run, Search):
            kind, network, rules, attacks = "search", run.name, " ".join(run.rule_set), ""
        else:
            kind, network, rules, evaluation = "trial", run.network, run.rules, run.evaluation
            attacks = f"{len({attack for attack, _ in evaluation.attacks})} × {evaluation.images} images" if evaluation else "none"
        row = (kind, run.dataset, network, rules, ", ".join(run.protocols), str(run.settings["epochs"]), attacks)
        seeds.setdefault((row, json.dumps(run.settings, sort_keys=True)), []).append(run.seed)
    for (row, _), found in seeds.items():
        yield (*row, _ranges(found))


def _ranges(numbers: Iterable[int]) -> str:
    """Return 0..2 5 for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.plan: {error}")
