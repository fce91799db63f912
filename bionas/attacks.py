"""Robust accuracy under a named attack, through the rule's gradient or the true one (paper §3.5).

The attacks are torchattacks'. Around them stands what makes the number mean something: images in [0, 1] with normalisation inside
the model, a random stream of the attack's own, frozen parameters, and everything left as it was found: random states, training
flags and `requires_grad` (torchattacks reseeds the global stream, and puts whole models into training mode).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bionas import catalog
from bionas.networks.parts import evaluating
from bionas.rules import true_gradient
from bionas.seeds import derive

CHUNK = {"cpu": 100, "cuda": 250}  # images attacked at once, by the kind of device; another number moves numbers


@dataclass(frozen=True)
class Outcome:
    """Which images were right before the attack, and which are right before and after it: bool (N,), on the CPU."""

    clean_correct: Tensor
    robust_correct: Tensor
    adversarial: Tensor | None = None  # (N, C, H, W) in [0, 1], when asked for


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
) -> Outcome:
    """Attack every image once and say which stay right.

    `images` (N, C, H, W) float in [0, 1] and `labels` (N,) lie on the model's device. An image that the model gets wrong counts as
    not robust, whatever the attack makes of it. Clean and robust outcomes are never mixed. An attack that uses no gradient ignores
    `gradient`. Raises ValueError for an unknown name, images outside [0, 1], or 'true' with layers that cannot be switched.
    """
    parts = list(chunks(model, images, labels, attack, gradient, preset, seed=seed))
    adversarial = torch.cat([part.adversarial for part in parts if part.adversarial is not None]) if keep_adversarial else None
    return Outcome(torch.cat([part.clean_correct for part in parts]), torch.cat([part.robust_correct for part in parts]), adversarial)


def chunks(
    model: nn.Module, images: Tensor, labels: Tensor, attack: str, gradient: str, preset: str, *, seed: int, start: int = 0
) -> Iterator[Outcome]:
    """Do as `evaluate`, a chunk of images at a time, from chunk `start` on. Each chunk has a random stream of its own."""
    spec = catalog.ATTACKS[catalog.choose("attack", attack, catalog.ATTACKS)]
    catalog.choose("gradient", gradient, catalog.GRADIENTS)
    catalog.choose("preset", preset, catalog.PRESETS)
    if not len(images):
        raise ValueError("images: none given; allowed: one or more")
    if images.min() < 0 or images.max() > 1:
        raise ValueError(f"images: values {images.min():.3g}..{images.max():.3g}; allowed: 0..1 (the model normalises)")
    at_once = CHUNK[images.device.type]
    for i, (x, y) in enumerate(zip(images.split(at_once), labels.split(at_once), strict=True)):
        if i < start:
            continue
        exact = true_gradient(model) if gradient == "true" and spec.uses_gradient else nullcontext()
        with _undisturbed(model), exact:
            attacker = catalog.load(spec.target)(model, **getattr(spec, preset))
            key = derive(seed, "attack", attack, i)
            torch.manual_seed(key)
            np.random.seed(key % 2**32)  # one-pixel draws from numpy's global stream
            if hasattr(attacker, "seed"):
                attacker.seed = key  # APGD reseeds torch by itself
            attacked = attacker(x, y).detach()
            with torch.no_grad():
                before, after = model(x).argmax(1) == y, model(attacked).argmax(1) == y
        yield Outcome(before.cpu(), (before & after).cpu(), attacked)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters within the block; modes, flags and random states as before after it."""
    trained = [p for p in model.parameters() if p.requires_grad]
    state = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), evaluating(model):
        try:
            model.requires_grad_(False)
            yield
        finally:
            for p in trained:
                p.requires_grad_(True)
            np.random.set_state(state)
