"""Every name that a definition may use, and where the thing behind it lives. Imports no torch, so that the driver can read it.

To add a learning rule, a model or an attack, write it where its kind lives and add its line here: the definition format, the
workflow, the report and the contract tests follow from the line.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

RULES = {
    "bp": "bionas.rules.table:BP",
    "fa": "bionas.rules.table:FA",
    "usf": "bionas.rules.table:USF",
    "brsf": "bionas.rules.table:BRSF",
    "frsf": "bionas.rules.table:FRSF",
}

BIOTORCH = ("bp", "fa", "usf", "brsf", "frsf")  # the rules that biotorch has, too, to compare with

# Rules that need the whole network: for `models` alone; no cell can carry them and no search choose them (paper §3.1).
NETWORK_RULES = {
    "dfa": "bionas.rules.table:DFA",
}

MODELS = {
    "resnet20": "bionas.networks.resnet:resnet20",
    "resnet56": "bionas.networks.resnet:resnet56",
    "lenet": "bionas.networks.lenet:LeNet",
}
SIDES = {"lenet": 32}  # networks whose images have one size: pixels a side


# What trades the last bits of a training step for speed; the first word of each is off.
SPEED = {
    "precision": ("float32", "bfloat16"),
    "memory_format": ("contiguous", "channels_last"),
    "compile": ("none", "cudagraphs", "inductor"),
}


@dataclass(frozen=True)
class Searcher:
    """One search method: its module (`NONE`, `MIXES`, `Settings`, `prepare`, `search`), and the settings that are its alone."""

    module: str
    settings: tuple[str, ...]


SEARCHERS = {
    "darts": Searcher("bionas.search.darts", ("alpha_lr", "alpha_weight_decay")),
    "eg": Searcher(
        "bionas.search.eg",
        (
            "variant",
            "restarts",
            "population",
            "generations",
            "sigma",
            "zeta",
            "eta",
            "xi",
            "warmup",
            "likeness",
            "fitness_images",
            "genotype_of",
        ),
    ),
    "random": Searcher("bionas.search.random", ("candidates",)),
}
# Random search again, with as many epochs as make the multiply-adds of DARTS: a path costs about a twentieth of the mixture.
METHODS = (*SEARCHERS, "random-work")

# What a cell is trained as, beside under a single rule: as searched, and the controls, which are trained like it.
ASSIGNMENTS = ("searched", "shuffled", "uninformed", "random")

GENOTYPES = ("biodarts", "darts_v1", "darts_v2")  # published; bionas.space.PUBLISHED

GRADIENTS = ("rule", "true")
PRESETS = ("paper", "standard")


@dataclass(frozen=True)
class Attack:
    """One attack of torchattacks: its class, whether it uses a gradient, and its parameters by preset (pixels in [0, 1])."""

    target: str
    uses_gradient: bool = True
    paper: dict[str, Any] = field(default_factory=dict)  # paper §3.5
    standard: dict[str, Any] = field(default_factory=dict)  # 8/255 throughout, steps that can cross the ball


ATTACKS = {
    "fgsm": Attack("torchattacks:FGSM", paper={"eps": 0.35}, standard={"eps": 8 / 255}),
    "pgd": Attack(
        "torchattacks:PGD",
        paper={"eps": 0.35, "alpha": 2 / 255, "steps": 10, "random_start": True},
        standard={"eps": 8 / 255, "alpha": 2 / 255, "steps": 10, "random_start": True},
    ),
    "tpgd": Attack(
        "torchattacks:TPGD",
        paper={"eps": 8 / 255, "alpha": 2 / 255, "steps": 7},
        standard={"eps": 8 / 255, "alpha": 2 / 255, "steps": 10},
    ),
    "apgd": Attack(
        "torchattacks:APGD",
        paper={"norm": "Linf", "eps": 8 / 255, "steps": 50, "n_restarts": 1},
        standard={"norm": "Linf", "eps": 8 / 255, "steps": 50, "n_restarts": 1},
    ),
    # Needs no gradient, so no feedback can mislead it: where it beats a gradient attack, that one was led astray.
    "square": Attack(
        "torchattacks:Square",
        uses_gradient=False,
        paper={"norm": "Linf", "eps": 8 / 255, "n_queries": 1000},
        standard={"norm": "Linf", "eps": 8 / 255, "n_queries": 1000},
    ),
    # §3.5 leaves population and steps open; 10 and 10 are the library's defaults, which the public code used;
    # 30 and 150 biotorch's, which the paper's ResNet rows used.
    **{
        f"onepixel{pixels if pixels > 1 else ''}": Attack(
            "torchattacks:OnePixel",
            uses_gradient=False,
            paper={"pixels": pixels, "steps": 10, "popsize": 10},
            standard={"pixels": pixels, "steps": 30, "popsize": 150},
        )
        for pixels in (1, 2, 3, 4, 5)
    },
}


def base(method: str) -> str:
    """Return the name in SEARCHERS of a method."""
    return method.removesuffix("-work")


def searcher(method: str) -> Searcher:
    """Return whose module and settings a method uses."""
    return SEARCHERS[base(method)]


def choose(what: str, name: object, allowed: Collection[str]) -> str:
    """Return `name` if it is allowed; otherwise raise a ValueError that lists what is and guesses what was meant."""
    if isinstance(name, str) and name in allowed:
        return name
    near = difflib.get_close_matches(str(name).lower(), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what}: {name!r} is unknown; allowed: {', '.join(allowed)}{hint}")


def load(target: str) -> Any:
    """Import what `module:attribute` names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
