"""Which images stay right under a named attack.

The attacks are torchattacks', but for one-pixel. Around them stands what makes the number mean something: images in [0, 1] with
normalisation inside the model, a random stream of the attack's own, frozen parameters, perturbations that are inside of their budget,
and everything left as it was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bionas import catalog
from bionas.attacks.attackers import attacker
from bionas.attacks.undisturbed import undisturbed
from bionas.rules import true_gradient
from bionas.seeds import derive

CHUNK = {"cpu": 100, "cuda": 250}  # images attacked at once, by the kind of device; another number moves numbers
BEYOND = (1.0, 1.001, 1.01, 1.02, 1.05, 1.1)  # how far the last word on a minimal perturbation goes: some stop on the boundary
ROUNDING = 1e-6, 1e-4  # of a perturbation in float32: absolute, and of its length in L2, a sum over the image


@dataclass(frozen=True)
class Outcome:
    """Which images were right before the attack, and which are right before and after it: bool (N,), on the CPU."""

    clean_correct: Tensor
    robust_correct: Tensor
    adversarial: Tensor | None = None  # (N, C, H, W) in [0, 1], when asked for
    distance: Tensor | None = None  # (N,) of a minimal-norm attack: what broke the image; inf if nothing did, 0 if it was wrong before


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str,
    gradient: str = "rule",
    preset: str = "paper",
    *,
    seed: int = 0,
    keep_adversarial: bool = False,
    source: nn.Module | None = None,
    **overrides: Any,
) -> Outcome:
    """Attack every image that the model gets right, once, and say which stay right.

    `images` (N, C, H, W) float in [0, 1] and `labels` (N,) lie on the model's device. An image that the model gets wrong counts as
    not robust, and is left alone. Clean and robust outcomes are never mixed. `overrides` are parameters of the attack that differ
    from the preset's. An attack that uses no gradient ignores `gradient`. With a `source`, adversarial images are made on that
    network through its true gradient, and given to this one; `gradient` is then `from-` and what the source learnt by. Raises
    ValueError for an unknown name or parameter, images outside [0, 1], 'true' with layers that cannot be switched, too few classes, or
    an attack that leaves its ball.
    """
    parameters = catalog.parameters(attack, preset, **overrides)
    parts = list(chunks(model, images, labels, attack, gradient, parameters, seed=seed, source=source))
    adversarial = [part.adversarial for part in parts if part.adversarial is not None and keep_adversarial]
    distance = [part.distance for part in parts if part.distance is not None]
    return Outcome(
        torch.cat([part.clean_correct for part in parts]),
        torch.cat([part.robust_correct for part in parts]),
        torch.cat(adversarial) if adversarial else None,
        torch.cat(distance) if distance else None,
    )


def chunks(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str,
    gradient: str,
    parameters: Mapping[str, Any],
    *,
    seed: int,
    start: int = 0,
    source: nn.Module | None = None,
) -> Iterator[Outcome]:
    """Do as `evaluate` with these parameters, a chunk of images at a time, from chunk `start` on.

    Each chunk has random streams of its own, so that it is the same whether or not others ran before.
    """
    parameters = catalog.parameters(attack, "standard", **parameters)
    _check(images, attack, gradient, source)
    at_once = CHUNK[images.device.type]
    for i, (x, y) in enumerate(zip(images.split(at_once), labels.split(at_once), strict=True)):
        if i >= start:
            yield _attacked(model, x, y, attack, gradient, parameters, derive(seed, "attack", attack, i), source or model)


def _check(images: Tensor, attack: str, gradient: str, source: nn.Module | None) -> None:
    if gradient.startswith("from-") != (source is not None):
        raise ValueError(f"gradient: {gradient!r} {'with' if source else 'without'} a source; allowed: from-… with one")
    if source is None:
        free = () if catalog.ATTACKS[attack].uses_gradient else ("none",)
        catalog.choose("gradient", gradient, (*catalog.GRADIENTS, *free))
    if not len(images):
        raise ValueError("images: none given; allowed: one or more")
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images: values {images.min():.3g}..{images.max():.3g}; allowed: 0..1 (the model normalises)")


def _attacked(
    model: nn.Module, x: Tensor, y: Tensor, attack: str, gradient: str, parameters: dict[str, Any], key: int, on: nn.Module
) -> Outcome:
    """Attack a chunk: perturbations are made on the model `on`."""
    spec, (norm, size) = catalog.ATTACKS[attack], catalog.budget(attack, parameters)
    exact = true_gradient(on) if gradient != "rule" and spec.uses_gradient else nullcontext()
    with undisturbed(key, *{model, on}), exact, torch.enable_grad():
        logits = _logits(model, x)
        before = logits.argmax(1) == y
        attacked, after, distance = x.clone(), before.clone(), None
        attack_on = attacker(on, attack, parameters, key, logits)
        attackable = before.nonzero().flatten()
        if len(attackable):
            clean, labels = x[attackable], y[attackable]
            found = attack_on(clean, labels).detach()
            broken = ~found.flatten(1).isfinite().all(1)  # DeepFool divides by the gradient; what is no image breaks none
            found[broken] = clean[broken]
            if spec.minimal:
                found, right = _pushed(model, clean, found, labels)
            else:
                right = _logits(model, found).argmax(1) == labels
            _check_bounds(attack, found, clean, norm, torch.inf if spec.minimal else size)
            attacked[attackable], after[attackable] = found, right
        if spec.minimal:
            distance = _length(attacked - x, norm).masked_fill(after, torch.inf).masked_fill(~before, 0)
            after = distance > size
    return Outcome(before.cpu(), after.cpu(), attacked, None if distance is None else distance.cpu())


def _check_bounds(attack: str, found: Tensor, clean: Tensor, norm: str, size: float) -> None:
    """Raise ValueError if an attack does not keep what its line in the catalog says of it: its outcomes would be those of another."""
    far = float(_length(found - clean, norm).max())
    if far > size + ROUNDING[0] + ROUNDING[1] * size * (norm == "l2"):
        allowed = "the norm that bounds it, or minimal=True and a budget for one that nothing bounds"
        raise ValueError(f"attack: {attack} left its ball, {far:.3g} from an image in {norm} where {size:.3g} is said; allowed: {allowed}")
    if not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(f"attack: {attack} left [0, 1], by values {found.min():.3g}..{found.max():.3g}")


def _pushed(model: nn.Module, clean: Tensor, found: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return perturbed images, each pushed on until it is wrong, and which are right all the same."""
    pushed, right = found.clone(), torch.ones_like(labels, dtype=torch.bool)
    for factor in BEYOND:
        left = right.nonzero().flatten()
        if len(left):
            pushed[left] = found[left] if factor == 1 else (clean + factor * (found - clean))[left].clamp(0, 1)
            right[left] = _logits(model, pushed[left]).argmax(1) == labels[left]
    return pushed, right


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def _length(perturbation: Tensor, norm: str) -> Tensor:
    """Return the norm of every image's perturbation; L0 counts pixels, whatever their channels."""
    if norm == "l0":
        return (perturbation != 0).any(1).flatten(1).sum(1).to(perturbation.dtype)
    return torch.linalg.vector_norm(perturbation.flatten(1), torch.inf if norm == "linf" else 2, dim=1)
