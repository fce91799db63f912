"""From a name and its parameters to what attacks: torchattacks' classes, told about our keys and kept from their traps, or ours."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import scipy
import torch
from torch import Tensor, nn

from bionas import catalog


def _postpone_scipy_stats() -> None:
    """Import scipy.stats when it is used: it takes 0.4 s of a job, and torchattacks wants it for an attack that is not here."""
    spec = importlib.util.find_spec("scipy.stats")
    if spec and spec.loader and "scipy.stats" not in sys.modules:
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["scipy.stats"] = scipy.stats = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


_postpone_scipy_stats()

Attacker = Callable[[Tensor, Tensor], Tensor]  # (images, labels) → adversarial images


def attacker(model: nn.Module, attack: str, parameters: Mapping[str, Any], key: int, logits: Tensor) -> Attacker:
    """Return the attack on a model whose `logits` tell its classes and device.

    Raises ValueError if these are too few for its loss, and for parameters that it does not take.

    Draws are from the global streams, or from one that starts at `key` in attacks that reseed.
    """
    spec, classes = catalog.ATTACKS[attack], logits.shape[1]
    if classes < spec.classes:
        raise ValueError(f"attack: the loss of {attack} needs {spec.classes} or more classes; the network has {classes}")
    given = {**parameters, **spec.fixed}
    given.pop("budget", None)  # a judge's
    restarts = given.pop("n_restarts", 1) if attack == "pgd" else 1
    target = _averaged(spec.target, attack, given)
    targeted = given.pop("targeted", None) if target.startswith("torchattacks:") else None
    if attack in ("apgd_t", "fab"):
        given["n_classes"] = classes
    make = catalog.load(target)
    try:
        signature(make).bind(model, **given)
    except TypeError as error:
        raise ValueError(f"attack: {attack}: {target} {error}; allowed in its line of the catalog: parameters that it takes") from None
    made = make(model, **given)
    made.device = logits.device  # which torchattacks takes from the first parameter, if there is one
    if hasattr(made, "seed"):
        made.seed = key  # the library reseeds torch itself, by default the same way for every batch
    if targeted:
        getattr(made, f"set_mode_targeted_{targeted}")(quiet=True)
    if attack == "cw":  # whose artanh has no slope at 0 and 1, so that black and white pixels would never move
        return lambda images, labels: made(images.clamp(1e-6, 1 - 1e-6), labels)
    return _restarted(model, made, restarts)


def _averaged(target: str, attack: str, given: dict[str, Any]) -> str:
    """Take `eot` out of what is given; return what averages so many gradients a step."""
    times = given.pop("eot", 1)
    if times == 1:
        return target
    given["eot_iter"] = times
    if attack == "fgsm":  # one step that crosses the ball, from the image itself
        given.update(alpha=given["eps"], steps=1, random_start=False)
    return "torchattacks:EOTPGD" if attack in ("fgsm", "pgd") else target


def _restarted(model: nn.Module, attack: Attacker, times: int) -> Attacker:
    """Attack so many times, each time what is right still."""

    def attacked(images: Tensor, labels: Tensor) -> Tensor:
        found = attack(images, labels).detach()
        for _ in range(times - 1):
            with torch.no_grad():
                left = (model(found).argmax(1) == labels).nonzero().flatten()
            if not len(left):
                break
            found[left] = attack(images[left], labels[left]).detach()
        return found

    return attacked
