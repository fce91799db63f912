"""Attacked networks: which of their images stay right, by what an attack may do and by the gradient that it goes through.

A *way* is how an attack reaches a network: `rule` (its own feedback), `true`, `none` (no gradient) or `from-RULE` (images made on
the same network under that rule). Attacks are set side by side within a *budget*: whoever stays within a smaller ball of the same
norm stays within the larger one, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from bionas import catalog
from reports.numbers.names import spell
from reports.numbers.statistics import Summary, proportion
from reports.numbers.tables import Results, Variant
from suite import store

NORMS = {"linf": "L∞", "l2": "L2"}
KINDS = OWN, TRUE, NONE, TRANSFER = "own", "true", "none", "transfer"  # of way
EIGHTHS = 32  # sizes up to 32/255 are written as fractions


@dataclass(frozen=True, order=True)
class Budget:
    """How far a perturbation may go: a norm and a size in it, to three digits, as the names of metrics have it."""

    norm: str
    size: float

    @classmethod
    def of(cls, attack: str, parameters: Mapping[str, Any], norm: str = "unknown") -> Budget:
        norm, size = catalog.budget(attack, parameters, norm)
        return cls(norm, float(f"{size:.3g}"))

    def allows(self, other: Budget) -> bool:
        return self.norm == other.norm and other.size <= self.size

    @property
    def words(self) -> str:
        if self.norm == "l0":
            return f"{self.size:g} pixel{'s' if self.size != 1 else ''}"
        return f"ε = {pixels(self.size)} in {NORMS.get(self.norm, self.norm)}"

    @property
    def at_most(self) -> str:
        """What stands beside numbers of a larger budget's table: ε ≤ 8/255."""
        return f"≤ {self.words}" if self.norm == "l0" else f"ε ≤ {pixels(self.size)}"


def pixels(value: float) -> str:
    """0.0314 → 8/255, where that is what the three digits stand for."""
    steps = round(value * 255)
    fraction = 0 < steps <= EIGHTHS and f"{steps / 255:.3g}" == f"{value:.3g}"
    return f"{steps}/255" if fraction else f"{value:.3g}"


def metric_words(name: str) -> str:
    """Write a metric's name for a reader: worst_case_accuracy_linf_0.0314 → worst case within ε = 8/255 in L∞."""
    worst = re.fullmatch(r"worst_case_accuracy_(\w+?)_([\d.e+-]+)", name)
    if worst:
        return f"worst case within {Budget(worst[1], float(worst[2])).words}"
    one = re.fullmatch(r"robust_accuracy_(.+)_([^_]+)", name)
    return f"robust accuracy, {one[1]} {way_words(one[2])}" if one else name.replace("_", " ")


FULL = {"test_error_last": "test error after the last epoch"}  # of metrics whose names say too little


def metric_in_full(name: str, planned: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a metric's name with the budget of its attack, which `planned` attacks give by label (`Results.attacks`)."""
    one = re.fullmatch(r"robust_accuracy_(.+)_([^_]+)", name)
    known = one and planned.get(one[1])
    if not one or not known:
        return FULL.get(name) or metric_words(name).replace("worst case", "worst-case accuracy")
    return f"robust accuracy, {one[1]} ({_budget(known).words}) {way_words(one[2])}"


def way_words(way: str) -> str:
    words = {"rule": "through its own gradient", "true": "through the true gradient", "none": "without gradient"}
    return words.get(way) or f"from the {spell(way.removeprefix('from-'))} network"


@dataclass(frozen=True)
class Attack:
    """One attack of the plan, which its label names; networks differ in the ways that it took."""

    label: str
    name: str = field(compare=False)
    parameters: Mapping[str, Any] = field(compare=False)
    ways: tuple[str, ...] = field(compare=False)
    budget: Budget = field(compare=False)
    spec: catalog.Attack = field(compare=False)

    @property
    def words(self) -> str:
        """Its name with its budget: fgsm (ε = 0.35 in L∞)."""
        return f"{self.label} ({self.budget.words})"

    @property
    def in_full(self) -> str:
        """Its name with its budget, and whether its steps are too short for that."""
        return f"{self.label} ({self.budget.words}{f'; {self.short}' if self.short else ''})"

    @property
    def minimal(self) -> bool:
        """Whether it looks for the nearest wrong image."""
        return self.spec.minimal

    @property
    def source(self) -> str:
        """Who proposes it, and whether with these parameters."""
        known = not self.spec.target or dict(self.parameters) == (self.spec.standard if self.spec.paper is None else self.spec.paper)
        return self.spec.source + ("" if known else "; parameters ours")

    @property
    def settings(self) -> str:
        """What it does within its budget, in the library's words."""
        found = {key: value for key, value in self.parameters.items() if key not in ("eps", "norm", "pixels", "budget")}
        words = [f"{key} {pixels(value) if key == 'alpha' else value}" for key, value in found.items() if not isinstance(value, bool)]
        words += [key if value else f"no {key}" for key, value in found.items() if isinstance(value, bool)]
        return ", ".join(words) + (f"; {self.short}" if self.short else "")

    @property
    def curve(self) -> str:
        """What it shares with the other points of its curve: all but ε."""
        rest = {key: value for key, value in self.parameters.items() if key != "eps"}
        return json.dumps([self.name, rest], sort_keys=True) if "eps" in self.parameters else ""

    @property
    def thorough(self) -> bool:
        """Whether it goes on until it could have crossed its ball, to no one wrong answer in particular.

        A single step, or steps too short, may leave images that are easy to break: that an attack without gradient breaks them says
        nothing of the gradient.
        """
        return self.parameters.get("steps", 1) > 1 and self.reach >= self.budget.size and not self.parameters.get("targeted")

    @property
    def reach(self) -> float:
        """How far its steps go together, where they have a size of their own."""
        return float(self.parameters.get("steps", 1) * self.parameters.get("alpha", np.inf))

    @property
    def short(self) -> str:
        """Say so where that is not as far as its budget: from where it starts, it does not cross its ball."""
        if self.reach >= self.budget.size:
            return ""
        step = pixels(self.parameters["alpha"])
        if "steps" not in self.parameters:
            return f"its one step is {step}"
        return f"its {self.parameters['steps']} steps of {step} together go no further than {self.reach:.2g}"


def _spec(one: Mapping[str, Any]) -> catalog.Attack:
    """Return what the catalog says of an attack; of one that it lost, such as a plugin's that is not installed, what its run says."""
    lost = catalog.Attack("", one.get("norm", "unknown"), one.get("source", "not known here"), minimal=one.get("minimal", False))
    return catalog.ATTACKS.get(one["attack"], lost)


def _budget(one: Mapping[str, Any]) -> Budget:
    return Budget.of(one["attack"], one["parameters"], _spec(one).norm)


def attacks(results: Results) -> tuple[Attack, ...]:
    """Return every attack of the plan, as the catalog has them; of one that it lost, as the run says."""
    found = [
        Attack(label, one["attack"], one["parameters"], tuple(one["gradients"]), _budget(one), _spec(one))
        for label, one in results.attacks.items()
    ]
    order = {name: i for i, name in enumerate(catalog.ATTACKS)}
    return tuple(sorted(found, key=lambda attack: (order.get(attack.name, len(order)), attack.budget, attack.label)))  # files keep none


def curves(found: Iterable[Attack]) -> list[tuple[Attack, ...]]:
    """Return the attacks that ran at three sizes or more, by size."""
    by: dict[str, dict[float, Attack]] = {}
    for attack in found:
        if attack.curve:
            by.setdefault(attack.curve, {}).setdefault(attack.budget.size, attack)
    return [tuple(curve[size] for size in sorted(curve)) for curve in by.values() if len(curve) >= 3]


def budgets(found: Sequence[Attack]) -> tuple[list[Budget], list[Budget]]:
    """Return the budgets that attacks are compared within, and the others: those that only points of curves have."""
    points = {attack.label for curve in curves(found) for attack in curve if not _preset(attack)}
    chosen = {attack.budget for attack in found if attack.label not in points}
    for norm in {attack.budget.norm for attack in found} - {budget.norm for budget in chosen}:
        chosen.add(max(attack.budget for attack in found if attack.budget.norm == norm))
    return sorted(chosen), sorted({attack.budget for attack in found} - chosen)


def _preset(attack: Attack) -> bool:
    return attack.parameters["eps"] in [(preset or {}).get("eps") for preset in (attack.spec.paper, attack.spec.standard)]


@dataclass(frozen=True)
class Network:
    """One attacked network, and which images stay right under each attack and way."""

    variant: Variant
    seed: int
    run: store.Run
    plain: bool  # learns by BP throughout: its own gradient is the true one
    outcomes: Mapping[tuple[Attack, str], np.ndarray] = field(repr=False)
    distances: Mapping[tuple[Attack, str], np.ndarray] = field(repr=False)  # of minimal-norm attacks

    @property
    def unit(self) -> int:
        """The definition's seed."""
        return self.variant.of_seed.get(self.seed, self.seed)

    @property
    def images(self) -> int:
        return len(next(iter(self.outcomes.values())))

    def kind(self, way: str) -> str:
        if way == "rule" or (way == "true" and self.plain):
            return OWN
        return TRANSFER if way.startswith("from-") else way

    def within(self, budget: Budget, *kinds: str) -> dict[tuple[Attack, str], np.ndarray]:
        """Return the outcomes of the attacks within a budget, of all kinds of way or of some."""
        return {
            (attack, way): left
            for (attack, way), left in self.outcomes.items()
            if budget.allows(attack.budget) and (not kinds or self.kind(way) in kinds)
        }

    def under(self, attack: Attack, kind: str) -> np.ndarray | None:
        """Return which images stay right under one attack by all ways of a kind that it took."""
        found = [left for (one, way), left in self.outcomes.items() if one == attack and self.kind(way) == kind]
        return survivors(found) if found else None


def survivors(outcomes: Iterable[np.ndarray]) -> np.ndarray:
    """Return which images stay right under all of them."""
    return reduce(np.logical_and, outcomes)


def networks_of(variant: Variant, planned: Iterable[Attack]) -> tuple[Network, ...]:
    """Return the variant's attacked networks, of those seeds whose training ended well."""
    pairs = [(attack, way) for attack in planned for way in attack.ways]

    def arrays(run: store.Run, name: str) -> dict[tuple[Attack, str], np.ndarray]:
        keys = {(attack, way): f"attacks/{attack.label}/{way}/{name}" for attack, way in pairs}
        return {pair: run.arrays[key] for pair, key in keys.items() if key in run.arrays}

    sound = {seed for seed, run in variant.trains.items() if run.status == "ok"}
    runs = [(seed, run) for seed, run in variant.evaluations.items() if run.status == "ok" and seed in sound]
    plain = variant.rules == "bp" or set(variant.layers) == {"bp"}
    found = [Network(variant, seed, run, plain, arrays(run, "robust_correct"), arrays(run, "distance")) for seed, run in runs]
    return tuple(network for network in found if network.outcomes)


@dataclass(frozen=True)
class Share:
    """A share of images in percent with its 95 % interval: of one network by its images, of several by their seeds."""

    over: Summary
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, found: Iterable[Network], measure: Callable[[Network], float | None]) -> Share:
        """Summarise a percentage of each network; of a seed that was trained more than once, the mean counts."""
        values: dict[int, list[float]] = {}
        images = []
        for network in found:
            if (value := measure(network)) is not None:
                values.setdefault(network.unit, []).append(value)
                images.append(network.images)
        over = Summary.of(sum(each) / len(each) for each in values.values())
        if len(images) == 1:
            return cls(over, proportion(over.mean, images[0]))
        ends = over.interval
        return cls(over, ends and (max(ends[0], 0.0), min(ends[1], 100.0)))


def percent(left: np.ndarray) -> float:
    return 100 * int(left.sum()) / len(left)


def clean(network: Network) -> float:
    return float(network.run.metrics["clean_accuracy"])


def left_by(budget: Budget, *kinds: str) -> Callable[[Network], float | None]:
    """Return what measures the images that stay right under all attacks of some kinds within a budget."""

    def measure(network: Network) -> float | None:
        found = network.within(budget, *kinds)
        return percent(survivors(found.values())) if found else None

    return measure


def outcome_of(attack: Attack, *ways: str) -> Callable[[Network], float | None]:
    """Return what measures the images that stay right under one attack, by the first of these ways that it took."""

    def measure(network: Network) -> float | None:
        found = [network.outcomes[attack, way] for way in ways if (attack, way) in network.outcomes]
        return percent(found[0]) if found else None

    return measure
