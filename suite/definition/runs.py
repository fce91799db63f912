"""What a run is: a search, a trial or an evaluation, each a frozen set of parameters under an id. Imports no torch.

A run is what it is, not who asked for it: its id is a readable part and a hash of every parameter that shapes its numbers, so two
definitions that contain the same run share it, and a changed setting is another run. It does not hash the code: edited code makes a
run under the same id, and what it makes says so (`suite.code`, `suite.plan.outdated`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from bionas import catalog, plugins
from suite.definition import schema

BATCHES = 20  # of training images, by which gradients are analysed: of the size that the network learnt from
TRACKED = 128  # training images by which a network is analysed after every epoch
NUMERICS = 7  # raised by a commit that moves numbers; hashed into every id


@dataclass(frozen=True)
class Attacked:
    """One attack on one trial: its label, its name and parameters in the catalog, and the gradients that it goes through."""

    label: str
    name: str
    parameters: Mapping[str, Any]
    gradients: tuple[str, ...]  # rule, true, from-RULE, or none alone

    @property
    def params(self) -> dict[str, Any]:
        found: dict[str, Any] = {"attack": self.name, "parameters": dict(self.parameters), "gradients": list(self.gradients)}
        if plugins.package("attacks", self.name):  # for reports where it is not installed
            spec = catalog.ATTACKS[self.name]
            found |= {"norm": spec.norm, "source": spec.source, "minimal": spec.minimal}
        return found


@dataclass(frozen=True)
class Evaluation:
    """What is done to one trained trial: attacks on so many test images, and analyses.

    `released` are the labels of attacks whose number by the public evaluator is recorded, too; `sources` the trials that make images for
    this one, by rule; `switchable` says whether its feedback can be switched off.
    """

    attacks: tuple[Attacked, ...]
    images: int
    analyses: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    switchable: bool = True

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter that shapes the numbers, those of the attacks themselves included; what few have, others have no key for."""
        some = {"analyses": list(self.analyses), "released": list(self.released), "sources": dict(self.sources)}
        some["plugins"] = plugins.used(*(("attacks", attacked.name) for attacked in self.attacks))
        return {
            "attacks": {attacked.label: attacked.params for attacked in self.attacks},
            "images": self.images,
            **{key: value for key, value in some.items() if value},
            "numerics": NUMERICS,
        }

    @property
    def id(self) -> str:
        return _hash(self.params)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every (label, gradient)."""
        return [(attacked.label, gradient) for attacked in self.attacks for gradient in attacked.gradients]

    @property
    def metrics(self) -> list[str]:
        """What it measures."""
        if not self.attacks:
            return []
        return [
            "clean_accuracy",
            *(f"worst_case_accuracy_{budget}" for budget in budgets(self.params["attacks"])),
            *(f"robust_accuracy_{label}_{gradient}" for label, gradient in self.pairs),
            *(["gradient_cosine"] if self.switchable else []),
            *(f"released_accuracy_{label}" for label in self.released),
        ]


def budgets(attacks: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the labels of the attacks that stay within each budget, NORM_SIZE, of an evaluation's attacks; the smallest of a norm first.

    What lies in a smaller ball lies in a larger one of the same norm, too.
    """
    sizes = {label: catalog.budget(attack["attack"], attack["parameters"]) for label, attack in attacks.items()}
    largest: dict[str, tuple[str, float]] = {}  # of those that are written alike
    for norm, size in sorted(sizes.values()):
        largest[f"{norm}_{size:.3g}"] = norm, size
    return {
        budget: [label for label, (other, size) in sizes.items() if other == norm and size <= limit]
        for budget, (norm, limit) in largest.items()
    }


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a search and a trial share. `protocols` names the rows of settings that it stands for."""

    STAGE: ClassVar[str]
    OWN: ClassVar[tuple[str, ...]]  # fields that shape numbers, beside those of every run

    dataset: str
    seed: int
    settings: Mapping[str, Any]
    device: str
    threads: int
    protocols: tuple[str, ...]
    overrides: tuple[str, ...]  # settings in which the definition departs from its protocol
    plugins: Mapping[str, str] = field(default_factory=dict)  # {package: version} of those that it uses something of

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every parameter that shapes the numbers, and the id that they hash to."""
        fields = {name: getattr(self, name) for name in ("dataset", *self.OWN, "seed", "settings", "device", "threads")} | self.more
        fields |= {"plugins": dict(self.plugins)} if self.plugins else {}
        shaping = json.loads(json.dumps({**fields, "settings": dict(self.settings), "numerics": NUMERICS}))
        return {"id": run_id(self.STAGE, shaping), **shaping}

    @property
    def id(self) -> str:
        return str(self.params["id"])

    @property
    def unit(self) -> int:
        """The definition's seed, by which a run is paired with others: retrainings of a seed are no more seeds."""
        return self.seed

    @property
    def more(self) -> dict[str, Any]:
        """Parameters that few runs have: the others have no key for them, and so the ids that they always had."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Search(Planned):
    """One search for a genotype. `name` is method-set, as definitions and reports call it."""

    STAGE, OWN = "search", ("name", "method", "rule_set")

    name: str
    method: str
    rule_set: tuple[str, ...]
    ranking: bool = False  # whether several genotypes are judged by its shared weights

    @property
    def more(self) -> dict[str, Any]:
        return {"ranking": True} if self.ranking else {}

    @property
    def metrics(self) -> list[str]:
        """What `expect` may bound."""
        return ["train_loss", "train_accuracy", "val_accuracy"] + (["val_loss"] if catalog.searcher(self.method).mixes else [])


@dataclass(frozen=True, kw_only=True)
class Trial(Planned):
    """One network trained under one assignment of rules with one seed.

    `network` is a model's, a published genotype's or a search's name; `parent` the search that makes its genotype, by id. `rules` is
    a rule, or one of the catalog's ASSIGNMENTS. `of_seed` is the definition's seed of a retraining, whose own is another; `track` the
    analyses of every epoch; `tuning` the trials that choose the learning rate, by rate, of a trial whose settings say `tuned`.
    """

    STAGE, OWN = "trial", ("network", "parent", "rules")

    network: str
    parent: str | None
    rules: str
    evaluation: Evaluation | None
    of_seed: int | None = None
    track: tuple[str, ...] = ()
    tuning: tuple[tuple[float, tuple[Trial, ...]], ...] = ()

    @property
    def unit(self) -> int:
        return self.seed if self.of_seed is None else self.of_seed

    @property
    def more(self) -> dict[str, Any]:
        found: dict[str, Any] = {} if self.of_seed is None else {"of_seed": self.of_seed}
        found |= {"track": list(self.track)} if self.track else {}
        return found | ({"tuning": [[rate, [trial.id for trial in trials]] for rate, trials in self.tuning]} if self.tuning else {})

    @property
    def tuners(self) -> list[Trial]:
        """The trials that choose its learning rate."""
        return [trial for _, trials in self.tuning for trial in trials]

    @property
    def name(self) -> str:
        """NETWORK/RULES, as in its id: what it is, without its data set and seed."""
        return trial_name(self.params)

    @property
    def metrics(self) -> list[str]:
        """What `expect` may bound and `comparisons` compare."""
        names = ["test_error", "test_loss", "train_loss", "train_accuracy"]
        names += ["val_loss", "val_accuracy"] if self.settings["holdout"] else []
        names += ["test_error_last"] if self.settings["selection"] == "best_test" else []
        return names + (self.evaluation.metrics if self.evaluation else [])


def tuners(trials: Iterable[Trial]) -> dict[str, Trial]:
    """Return the trials that choose the learning rates of others, by id."""
    return {tuner.id: tuner for trial in trials for tuner in trial.tuners}


def section_of(stage: str, params: Mapping[str, Any]) -> str:
    """Return the section of the definition that a run's settings belong to."""
    if stage == "search":
        return "search"
    return "models" if params["network"] in catalog.MODELS else "cells"


def trial_name(params: Mapping[str, Any]) -> str:
    """Return NETWORK/RULES, or NETWORK@DATA/RULES if its genotype was searched on another data set than it is trained on."""
    source = params["parent"].partition("/")[0] if params["parent"] else params["dataset"]
    network = params["network"] if source == params["dataset"] else f"{params['network']}@{source}"
    return f"{network}/{params['rules']}"


def run_id(stage: str, params: Mapping[str, Any]) -> str:
    """Return the id of a search's or trial's parameters: what it is, what differs from the defaults, and a hash of all of them."""
    what = params["name"] if stage == "search" else trial_name(params)
    differing = {k: v for k, v in params["settings"].items() if v != schema.default_settings(section_of(stage, params)).get(k)}
    seed = f"seed{params['seed']}" + (f"-of{params['of_seed']}" if "of_seed" in params else "")
    readable = "-".join([seed, *(f"{k}{_word(v)}" for k, v in differing.items())])[:100]
    return f"{params['dataset']}/{what}/{readable}-{_hash(params)}"


def _hash(params: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "_".join(map(_word, value))
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
