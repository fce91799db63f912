"""A `Benchmark` → the trials that it asks for, each a frozen set of parameters under an id. Imports no torch.

A run is what it is, not who asked for it: its id is a readable part and a hash of every parameter that shapes its numbers, so two
definitions that contain the same run share it, and a changed setting is another run.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bionas import catalog
from suite import spec

NUMERICS = 1  # raised by a commit that moves numbers; hashed into every id


@dataclass(frozen=True)
class Evaluation:
    """The attacks on one trial: (attack, gradient) pairs in the catalog's order."""

    preset: str
    attacks: tuple[tuple[str, str], ...]
    images: int

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter that shapes the numbers, those of the attacks themselves included."""
        return {
            "preset": self.preset,
            "attacks": [list(pair) for pair in self.attacks],
            "parameters": {attack: getattr(catalog.ATTACKS[attack], self.preset) for attack, _ in self.attacks},
            "images": self.images,
            "numerics": NUMERICS,
        }

    @property
    def id(self) -> str:
        return _hash(self.params)


@dataclass(frozen=True)
class Trial:
    """One network trained under one rule with one seed. `protocols` names the rows of settings that it stands for."""

    dataset: str
    model: str
    rule: str
    seed: int
    settings: Mapping[str, Any]
    device: str
    threads: int
    protocols: tuple[str, ...]
    overrides: tuple[str, ...]  # settings in which the definition departs from its protocol
    evaluation: Evaluation | None

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter that shapes the numbers, and the id that they hash to."""
        shaping = {
            "dataset": self.dataset,
            "model": self.model,
            "rule": self.rule,
            "seed": self.seed,
            "settings": dict(self.settings),
            "device": self.device,
            "threads": self.threads,
            "numerics": NUMERICS,
        }
        differing = {k: v for k, v in self.settings.items() if v != spec.default_settings("models")[k]}
        readable = "-".join([f"seed{self.seed}", *(f"{k}{_word(v)}" for k, v in differing.items())])[:100]
        return {"id": f"{self.dataset}/{self.model}/{self.rule}/{readable}-{_hash(shaping)}", **shaping}

    @property
    def id(self) -> str:
        return self.params["id"]

    @property
    def metrics(self) -> list[str]:
        """What `expect` may bound."""
        names = ["test_error", "test_loss", "train_loss", "train_accuracy"]
        names += ["val_loss", "val_accuracy"] if self.settings["holdout"] else []
        if self.evaluation:
            names += ["clean_accuracy", "worst_case_accuracy"]
            names += [f"robust_accuracy_{attack}_{gradient}" for attack, gradient in self.evaluation.attacks]
        return names


@dataclass(frozen=True)
class Plan:
    """All trials of a benchmark, by id, and what was left out and why."""

    benchmark: spec.Benchmark
    trials: Mapping[str, Trial]
    skipped: tuple[tuple[str, str], ...]  # (what, reason)

    @property
    def name(self) -> str:
        """The folder under results/."""
        return self.benchmark.name + ("-tiny" if self.benchmark.tiny else "")

    def to_dict(self) -> dict[str, Any]:
        b = self.benchmark
        return {
            "benchmark": self.name,
            "about": b.about,
            "datasets": list(b.datasets),
            "trials": [
                {
                    **trial.params,
                    "protocols": list(trial.protocols),
                    "overrides": list(trial.overrides),
                    "evaluation": trial.evaluation and {"id": trial.evaluation.id, **trial.evaluation.params},
                }
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
    """Cut to minutes: one epoch, a few images, the first data set, protocol, model and seed; every rule stays. Bounds go."""
    models, attacks = benchmark.models, benchmark.attacks
    return dataclasses.replace(
        benchmark,
        tiny=True,
        datasets=benchmark.datasets[:1],
        seeds=benchmark.seeds[:1],
        protocols=benchmark.protocols[:1],
        models=dataclasses.replace(models, names=models.names[:1], settings={**models.settings, "epochs": 1}),
        attacks=attacks and dataclasses.replace(attacks, images=min(attacks.images, 8)),
        expect={},
    )


def plan(benchmark: spec.Benchmark) -> Plan:
    """Expand the cross product. Raises ValueError if `expect` means no trial, or a metric that a trial does not have."""
    trials: dict[str, Trial] = {}
    skipped: dict[str, str] = {}
    for trial in _trials(benchmark, skipped):
        before = trials.get(trial.id)
        trials[trial.id] = dataclasses.replace(trial, protocols=before.protocols + trial.protocols) if before else trial
    for pattern, bounds in benchmark.expect.items():
        matched = [trial for id, trial in trials.items() if fnmatch.fnmatchcase(f"trial/{id}", pattern)]
        if not matched:
            raise ValueError(f"expect: {pattern!r} matches no run; runs are named like 'trial/{next(iter(trials))}'")
        for trial in matched:
            for metric in bounds:
                catalog.choose(f"expect.{pattern}", metric, trial.metrics)
    return Plan(benchmark, trials, tuple(skipped.items()))


def _trials(benchmark: spec.Benchmark, skipped: dict[str, str]) -> Iterator[Trial]:
    models = benchmark.models
    for protocol in benchmark.protocols:
        row = spec.default_settings("models") | spec.protocols()[protocol].get("models", {})
        merged = row | models.settings
        overrides = tuple(name for name, value in models.settings.items() if row[name] != value)
        for dataset in benchmark.datasets:
            for model in models.names:
                for rule in models.rules:
                    settings = _relevant(merged, rule)
                    for seed in benchmark.seeds:
                        yield Trial(
                            dataset=dataset,
                            model=model,
                            rule=rule,
                            seed=seed,
                            settings=settings,
                            device=benchmark.device,
                            threads=benchmark.threads,
                            protocols=(protocol,),
                            overrides=tuple(name for name in overrides if name in settings),
                            evaluation=_evaluation(benchmark.attacks, rule, skipped),
                        )


def _relevant(settings: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """Drop what cannot move this run's numbers, so that it is one run whatever those say."""
    dropped = set()
    if rule != "usf":
        dropped.add("scale")
    if rule != "brsf":
        dropped.add("brsf_redraw")
    if settings["schedule"] != "multistep":
        dropped.add("milestones")
    return {name: value for name, value in settings.items() if name not in dropped}


def _evaluation(attacks: spec.Attacks | None, rule: str, skipped: dict[str, str]) -> Evaluation | None:
    if attacks is None:
        return None
    pairs = []
    for attack in sorted(attacks.names, key=list(catalog.ATTACKS).index):
        if not catalog.ATTACKS[attack].uses_gradient:
            pairs.append((attack, "none"))
            continue
        for gradient in sorted(attacks.gradients):
            if rule == "bp" and gradient == "rule" and "true" in attacks.gradients:
                skipped[f"attacks on bp through the rule: {attack}"] = "bp's own gradient is the true one, which runs"
                continue
            pairs.append((attack, gradient))
    return Evaluation(attacks.preset, tuple(pairs), attacks.images)


def _hash(params: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "_".join(map(_word, value))
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.plan", description="Print what a definition would run; runs nothing.")
    parser.add_argument("file", help="a definition, such as benchmarks/demo.yaml")
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    parser.add_argument("--size", default="full", help="full, or tiny: one short trial of each kind (default: full)")
    args = parser.parse_args(argv)
    planned = load(args.file, args.size)
    if args.json:
        print(json.dumps(planned.to_dict(), indent=2))
    else:
        _print_table(planned)


def _print_table(planned: Plan) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"{planned.name}: {escape(planned.benchmark.about)}", title_justify="left")
    for column in ("dataset", "model", "rule", "seed", "protocol", "epochs", "attacks", "run"):
        table.add_column(column, justify="right" if column in ("seed", "epochs") else "left", no_wrap=column == "run")
    for trial in planned.trials.values():
        attacks = sorted({attack for attack, _ in trial.evaluation.attacks}) if trial.evaluation else []
        table.add_row(
            *(trial.dataset, trial.model, trial.rule, str(trial.seed), ", ".join(trial.protocols), str(trial.settings["epochs"])),
            f"{len(attacks)} × {trial.evaluation.images} images" if trial.evaluation else "none",
            trial.id.rpartition("-")[2],
        )
    console.print(table)
    for what, reason in planned.skipped:
        console.print(f"skipped  {escape(what)}: {escape(reason)}", highlight=False)
    epochs = sum(trial.settings["epochs"] for trial in planned.trials.values())
    console.print(f"{len(planned.trials)} trials, {epochs} epochs; results in results/{planned.name}/", highlight=False)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"suite.plan: {error}")
