"""Every name that a definition may use, and where the thing behind it lives. Imports no torch, so that the driver can read it.

To add a learning rule, a model or an attack, write it where its kind lives and add its line here: the definition format, the
workflow, the report and the contract tests follow from the line. So they do of what installed packages add (`bionas.plugins`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

from bionas import plugins
from bionas.entries import BUDGETS
from bionas.entries import Attack as Attack
from bionas.entries import Searcher as Searcher

RULES = {
    "bp": "bionas.rules.table:BP",
    "fa": "bionas.rules.table:FA",
    "usf": "bionas.rules.table:USF",
    "brsf": "bionas.rules.table:BRSF",
    "frsf": "bionas.rules.table:FRSF",
    "kp": "bionas.rules.table:KP",
}

SPELLING = {"usf": "uSF", "brsf": "brSF", "frsf": "frSF"}  # as the paper has them; of every other rule, its name in capitals

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
    "random": Searcher("bionas.search.random", ("candidates",), mixes=False),
}

# What a cell is trained as, beside under a single rule: as searched, and the controls, which are trained like it.
ASSIGNMENTS = ("searched", "shuffled", "uninformed", "random")

GENOTYPES = ("biodarts", "darts_v1", "darts_v2")  # published; bionas.space.PUBLISHED

GRADIENTS = ("rule", "true")
PRESETS = ("paper", "standard")


_PAPER, _AUTO = "paper §3.5", "AutoAttack (Croce & Hein 2020)"
_STEP = {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10}
_AUTO_STEPS = {"norm": "Linf", "eps": 8 / 255, "steps": 100, "n_restarts": 1}

# Every parameter's kind: words, True or False, a whole number (1 or more), a number (0 or more). All but four are the library's own:
# `n_restarts` of pgd (random starts, of which the worst counts), `eot` (gradients averaged where a backward is random), `targeted`
# (towards which label), `budget` (of a minimal-norm attack).
KINDS: dict[str, tuple[str, ...] | type] = {
    "norm": ("Linf", "L2"),
    "loss": ("margin", "ce"),
    "targeted": ("random", "least_likely"),
    "random_start": bool,
    "multi_targeted": bool,
    "resc_schedule": bool,
    "steps": int,
    "n_restarts": int,
    "eot": int,
    "n_queries": int,
    "pixels": int,
    "popsize": int,
    "eps": float,
    "alpha": float,
    "rho": float,
    "alpha_max": float,
    "eta": float,
    "beta": float,
    "p_init": float,
    "overshoot": float,
    "c": float,
    "kappa": float,
    "lr": float,
    "budget": float,
}

ATTACKS = {
    "fgsm": Attack("torchattacks:FGSM", "linf", _PAPER, targets=True, paper={"eps": 0.35}, standard={"eps": 8 / 255}, more=("eot",)),
    "pgd": Attack(
        "torchattacks:PGD",
        "linf",
        _PAPER,
        targets=True,
        paper={"eps": 0.35, "alpha": 2 / 255, "steps": 10, "random_start": True},
        standard={**_STEP, "random_start": True},
        more=("n_restarts", "eot"),
    ),
    # TRADES' PGD: away from the clean prediction by the KL divergence, whatever the label; the T is no target.
    "tpgd": Attack("torchattacks:TPGD", "linf", _PAPER, paper={**_STEP, "steps": 7}, standard=_STEP),
    "apgd": Attack("torchattacks:APGD", "linf", _PAPER, paper={**_AUTO_STEPS, "steps": 50}, standard=_AUTO_STEPS, more=("rho", "eot")),
    # The difference of logits ratio is blind to their scale, by which a network can hide from the cross-entropy.
    "apgd_dlr": Attack("torchattacks:APGD", "linf", _AUTO, standard=_AUTO_STEPS, more=("rho", "eot"), fixed={"loss": "dlr"}, classes=3),
    "apgd_t": Attack("torchattacks:APGDT", "linf", _AUTO, standard=_AUTO_STEPS, more=("rho", "eot"), classes=4),
    "fab": Attack("torchattacks:FAB", "linf", _AUTO, standard=_AUTO_STEPS, more=("alpha_max", "eta", "beta", "multi_targeted")),
    # Needs no gradient, so no feedback can mislead it: where it beats a gradient attack, that one was led astray.
    "square": Attack(
        "torchattacks:Square",
        "linf",
        "Andriushchenko et al. 2020; AutoAttack gives it 5,000 queries",
        uses_gradient=False,
        targets=True,
        standard={"norm": "Linf", "eps": 8 / 255, "n_queries": 1000},
        more=("n_restarts", "p_init", "loss", "resc_schedule"),
    ),
    # §3.5 leaves population and steps open; 10 and 10 are the library's defaults, which the public code used;
    # 30 and 150 biotorch's, which the paper's ResNet rows used.
    **{
        f"onepixel{pixels if pixels > 1 else ''}": Attack(
            "bionas.attacks.onepixel:OnePixel",
            "l0",
            _PAPER,
            uses_gradient=False,
            targets=True,
            paper={"pixels": pixels, "steps": 10, "popsize": 10},
            standard={"pixels": pixels, "steps": 30, "popsize": 150},
        )
        for pixels in (1, 2, 3, 4, 5)
    },
    "deepfool": Attack(
        "torchattacks:DeepFool",
        "l2",
        "Moosavi-Dezfooli et al. 2016",
        minimal=True,
        standard={"steps": 50, "overshoot": 0.02, "budget": 0.5},
    ),
    "cw": Attack(
        "torchattacks:CW",
        "l2",
        "Carlini & Wagner 2017",
        minimal=True,
        targets=True,
        standard={"c": 1.0, "kappa": 0.0, "steps": 50, "lr": 0.01, "budget": 0.5},
    ),
}

# What else can be said of a network: when it is trained, or of all of its training, for what has to be recorded after every epoch.
ANALYSES = {name: f"bionas.analyses:{name}" for name in ("weights", "alignment", "gradients")}
TRACKED = ("alignment",)

# What plugins add, behind ours.
_SETTINGS = {name for searcher in SEARCHERS.values() for name in searcher.settings}
RULES |= plugins.found("rules", (*RULES, *NETWORK_RULES, *ASSIGNMENTS))
MODELS |= plugins.found("models", (*MODELS, *GENOTYPES))
ATTACKS |= plugins.found("attacks", ATTACKS, Attack, lambda attack: attack.mistakes(KINDS))
_SEARCHERS = plugins.found("searchers", SEARCHERS, Searcher, lambda searcher: searcher.mistakes(_SETTINGS))

# Random search again, with as many epochs as make the multiply-adds of DARTS: a path costs about a twentieth of the mixture.
METHODS = (*SEARCHERS, "random-work", *_SEARCHERS)
SEARCHERS |= _SEARCHERS


def parameters(attack: str, preset: str, **overrides: Any) -> dict[str, Any]:
    """Return an attack's parameters: a preset's, but for what is said otherwise. Raises ValueError for what does not exist or fit."""
    spec = ATTACKS[choose("attack", attack, ATTACKS)]
    preset = choose("preset", preset, PRESETS)
    chosen = spec.standard if preset == "standard" or spec.paper is None else spec.paper
    known = dict.fromkeys([*(spec.paper or {}), *spec.standard, *spec.more, *(["targeted"] if spec.targets else [])])
    kinds = {**KINDS, **spec.kinds}
    for key, value in overrides.items():
        kind = kinds[choose(f"{attack}: parameter", key, known)]
        if isinstance(kind, tuple):
            choose(f"{attack}: {key}", value, kind)
        elif kind is bool:
            fits, what = isinstance(value, bool), "true, false"
        elif kind is int:
            fits, what = type(value) is int and value >= 1, "a whole number, 1 or more"
        else:
            fits, what = type(value) in (int, float) and 0 <= value < math.inf, "a number, 0 or more"
        if not isinstance(kind, tuple) and not fits:
            raise ValueError(f"{attack}: {key}: {value!r} does not fit; allowed: {what}")
    return chosen | {key: float(value) if kinds[key] is float else value for key, value in overrides.items()}


def budget(attack: str, parameters: Mapping[str, Any], norm: str = "unknown") -> tuple[str, float]:
    """Return how far an attack may go: the norm, and the size in that norm. One that is not known here is in `norm`."""
    size = next(parameters[key] for key in BUDGETS if key in parameters)
    norm = parameters.get("norm") or (ATTACKS[attack].norm if attack in ATTACKS else norm)
    return str(norm).lower(), float(size)


def label(attack: str, preset: str, overrides: Mapping[str, Any]) -> str:
    """Return how files and tables call an attack: `pgd`, `pgd@standard`, `pgd@standard-n_restarts5`, `pgd@targeted-random`."""
    words = [preset] if preset != "paper" else []
    for key, value in overrides.items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        words.append(f"{key}-{value}" if isinstance(value, str) else f"{key}{value:g}")
    return f"{attack}@{'-'.join(words)}" if words else attack


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
    """Import what `module:attribute` names, or a module."""
    return plugins.load(target)
