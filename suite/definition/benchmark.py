"""What a definition says, checked and with defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RETRAINING = 10_000_019  # a prime. Retraining k of seed s trains with seed s + k · RETRAINING; so where there are any, seeds lie below it


@dataclass(frozen=True)
class Tune:
    """Key `tune` of `models` and of an entry of `cells`: the grid of learning rates, from the smallest on, and how they are judged."""

    lr: tuple[float, ...]
    holdout: float
    epochs: int  # 0: as many as are trained with
    seeds: tuple[int, ...] | None = None  # nothing said: the first one


@dataclass(frozen=True)
class Models:
    """Section `models`; `settings` holds what the definition says itself, without defaults."""

    names: tuple[str, ...]
    rules: tuple[str, ...]
    settings: Mapping[str, Any]
    by_rule: Mapping[str, Mapping[str, Any]]
    tune: Tune | None = None


@dataclass(frozen=True)
class Search:
    """One entry of section `search`; `settings` as in `Models`."""

    methods: tuple[str, ...]
    rule_sets: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, Any]
    ranking: bool = False

    @property
    def names(self) -> list[str]:
        """Return method-set of every search."""
        return [f"{method}-{name}" for method in self.methods for name in self.rule_sets]


@dataclass(frozen=True)
class Cells:
    """One entry of section `cells`; `settings` and `by_method` as in `Models`. Nothing said is None."""

    genotypes: tuple[str, ...]
    rules: tuple[str, ...]
    settings: Mapping[str, Any]
    by_method: Mapping[str, Mapping[str, Any]]
    retrainings: int
    tune: Tune | None = None
    found_by: int | None = None  # the seed whose search makes the genotype; None: every seed's own
    searches: tuple[str, ...] | None = None
    train_on: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attack:
    """One attack of section `attacks`, by whatever entry of it: `label` is its name in files and tables."""

    label: str
    name: str
    parameters: Mapping[str, Any]
    gradients: tuple[str, ...]
    transfer_from: tuple[str, ...]
    released: bool
    networks: tuple[str, ...] | None  # all if nothing is said
    seeds: tuple[int, ...] | None


@dataclass(frozen=True)
class Attacks:
    """Section `attacks`: all of its entries."""

    images: int
    each: tuple[Attack, ...]


@dataclass(frozen=True)
class Protocol:
    """A row of default settings, and the seeds that it runs with where they are not the benchmark's."""

    name: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """One entry of section `comparisons`: a network under its rules, NETWORK/RULES, and those that it is set against."""

    of: str
    against: tuple[str, ...]
    metric: str
    about: str


@dataclass(frozen=True)
class Benchmark:
    """A checked definition, defaults filled in; only settings stay as written, because a protocol's row comes between."""

    name: str
    about: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    protocols: tuple[Protocol, ...]
    device: str
    threads: int
    models: Models | None
    searches: tuple[Search, ...]
    cells: tuple[Cells, ...]
    attacks: Attacks | None
    analyses: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    expect: Mapping[str, Mapping[str, Mapping[str, float]]]
    text: str = field(repr=False)
    tiny: bool = False
