"""metrics.h5 → the numbers of the report: variants, which are runs that differ in the seed alone, and their summaries."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from suite import store


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and number of seeds; of no numbers at all, `n` is 0 and the rest NaN."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        array = np.array(list(values), dtype=float)
        n = len(array)
        return cls(float(array.mean()) if n else math.nan, float(array.std(ddof=1)) if n > 1 else math.nan, n)

    def __format__(self, digits: str) -> str:
        if not self.n:
            return "–"
        return f"{self.mean:{digits}}" + (f" ± {self.sd:{digits}}" if self.n > 1 else "")


@dataclass(frozen=True)
class Variant:
    """One network under one rule and one set of settings: its runs over seeds."""

    dataset: str
    model: str
    rule: str
    protocols: tuple[str, ...]
    overrides: tuple[str, ...]
    settings: Mapping[str, Any]
    trains: Mapping[int, store.Run]  # by seed
    evaluations: Mapping[int, store.Run]

    def metric(self, name: str) -> Summary:
        return Summary.of(self.by_seed(name).values())

    def by_seed(self, name: str) -> dict[int, float]:
        """Return the metric of every seed that ended well and has it: one row's columns then speak of the same seeds."""
        runs = [(seed, run) for stage in (self.trains, self.evaluations) for seed, run in stage.items()]
        return {seed: run.metrics[name] for seed, run in runs if name in run.metrics and self.trains[seed].status == "ok"}

    def one(self, name: str) -> Any:
        """Return a metric that no seed changes."""
        return next(iter(self.trains.values())).metrics[name]

    @property
    def failed(self) -> list[str]:
        """What went wrong, by seed."""
        return [f"seed {seed}: {run.status}" for seed, run in self.trains.items() if run.status != "ok"]

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Return {rule: (layers, weights)} without the rules that none follows."""
        metrics = next(iter(self.trains.values())).metrics
        rules = [name.removeprefix("layers_") for name in metrics if name.startswith("layers_")]
        return {r: (metrics[f"layers_{r}"], metrics[f"weights_{r}"]) for r in rules if metrics[f"layers_{r}"]}


@dataclass(frozen=True)
class Block:
    """The variants of one data set and model, in the definition's order: one table."""

    dataset: str
    model: str
    variants: tuple[Variant, ...]

    def difference(self, variant: Variant, metric: str) -> str:
        """Return the mean paired difference to BP, from three seeds on with its 95 % interval (t, over seeds); or a dash."""
        baseline = next((v for v in self.variants if v.rule == "bp" and v.protocols[:1] == variant.protocols[:1]), None)
        if baseline is None:
            baseline = next((v for v in self.variants if v.rule == "bp"), variant)
        if baseline is variant:
            return "–"
        ours, theirs = variant.by_seed(metric), baseline.by_seed(metric)
        gaps = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
        summary = Summary.of(gaps)
        if summary.n < 3:  # an interval from two seeds says more of the test set's grid than of the rule
            return f"{summary.mean:+.2f}" if summary.n else "–"
        half = stats.t.ppf(0.975, summary.n - 1) * summary.sd / math.sqrt(summary.n)
        return f"{summary.mean:+.2f} [{summary.mean - half:+.2f}, {summary.mean + half:+.2f}]"


@dataclass(frozen=True)
class Results:
    """Everything that the report shows."""

    benchmark: str
    about: str
    plan: Mapping[str, Any]
    definition: str
    verdict: Sequence[Mapping[str, Any]]
    blocks: tuple[Block, ...]
    digest: str

    @property
    def runs(self) -> list[store.Run]:
        return [run for b in self.blocks for v in b.variants for runs in (v.trains, v.evaluations) for run in runs.values()]

    @property
    def both_gradients(self) -> bool:
        """Whether some attack ran through both gradients."""
        return any({"rule", "true"} <= set(gradients) for _, gradients in self.attacks)

    @property
    def attack_parameters(self) -> dict[str, Mapping[str, Any]]:
        """Return {attack: its parameters}."""
        evaluations = [trial["evaluation"] for trial in self.plan["trials"] if trial["evaluation"]]
        return {attack: parameters for evaluation in evaluations for attack, parameters in evaluation["parameters"].items()}

    @property
    def attacks(self) -> list[tuple[str, list[str]]]:
        """Return [(attack, gradients)] in the order in which they ran."""
        found: dict[str, list[str]] = {}
        for trial in self.plan["trials"]:
            for attack, gradient in (trial["evaluation"] or {"attacks": []})["attacks"]:
                if gradient not in found.setdefault(attack, []):
                    found[attack].append(gradient)
        return [(attack, sorted(gradients)) for attack, gradients in found.items()]


def read(path: Path) -> Results:
    """Read a metrics file. Raises ValueError, with the path, if it is none."""
    with store.opened(path) as file:
        if "plan" not in file:
            raise ValueError(f"{path}: not a metrics file; make one with python -m suite.collect")
        plan = json.loads(file["plan"].asstr()[()])
        definition, verdict = file["definition"].asstr()[()], json.loads(file["verdict"].asstr()[()])
        runs = store.runs(file)
    groups: dict[str, list[dict[str, Any]]] = {}
    for trial in plan["trials"]:
        same = {k: trial[k] for k in ("dataset", "model", "rule", "settings", "protocols", "overrides")}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(trial)
    blocks: dict[tuple[str, str], list[Variant]] = {}
    for key, trials in groups.items():
        by_stage = {
            stage: {t["seed"]: runs[f"trial/{t['id']}/{stage}"] for t in trials if f"trial/{t['id']}/{stage}" in runs}
            for stage in ("train", "evaluation")
        }
        variant = Variant(**_tuples(json.loads(key)), trains=by_stage["train"], evaluations=by_stage["evaluation"])
        blocks.setdefault((variant.dataset, variant.model), []).append(variant)
    return Results(
        benchmark=plan["benchmark"],
        about=plan["about"],
        plan=plan,
        definition=definition,
        verdict=verdict,
        blocks=tuple(Block(*key, variants=tuple(variants)) for key, variants in blocks.items()),
        digest=store.digest(path),
    )


def _tuples(parts: dict[str, Any]) -> dict[str, Any]:
    return {**parts, "protocols": tuple(parts["protocols"]), "overrides": tuple(parts["overrides"])}


def masking(results: Results) -> list[dict[str, Any]]:
    """Return, by variant and attack, how many attacked images only the true gradient breaks, and how many only the rule's.

    Outcomes are paired by image and added over seeds. A rule whose own gradient is the better guide to an attacker would have the
    second number at least as large; the first one counts robustness that was only a poor gradient.
    """
    rows = []
    for block in results.blocks:
        for variant in block.variants:
            for attack, gradients in results.attacks:
                if not {"rule", "true"} <= set(gradients):
                    continue
                counts = np.zeros(3, dtype=int)
                for run in variant.evaluations.values():
                    by_rule = run.arrays.get(f"attacks/{attack}/rule/robust_correct")
                    by_true = run.arrays.get(f"attacks/{attack}/true/robust_correct")
                    if by_rule is not None and by_true is not None:
                        counts += [(by_rule & ~by_true).sum(), (by_true & ~by_rule).sum(), len(by_rule)]
                if counts[2]:
                    rows.append({"variant": variant, "attack": attack, "true_only": counts[0], "rule_only": counts[1], "of": counts[2]})
    return rows
