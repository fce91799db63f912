"""What the paper's public evaluator computes, to be shown beside the real number, labelled, and never instead of it.

`BioNAS-DARTS/attacks.py` of imanehmz/LR-NAS hands normalised images to attacks that clamp to [0, 1], so that an ε is an ε of
normalised values and most of the image is cut off; it attacks wrong images, too; and it counts the clean pass and the attacked pass
into one meter, whose mean is printed as robust accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bionas import catalog
from bionas.attacks.attackers import attacker
from bionas.attacks.outcomes import CHUNK
from bionas.attacks.undisturbed import undisturbed
from bionas.networks.parts import Normalize
from bionas.seeds import derive


def released_accuracy(model: nn.Module, images: Tensor, labels: Tensor, attack: str, parameters: Mapping[str, Any], *, seed: int) -> float:
    """Return the "robust accuracy" in percent that the public script would have printed, through the network's own gradient.

    `images` (N, C, H, W) in [0, 1], as in `evaluate`. What the model subtracts and divides by is what the script's loader would have.
    """
    parameters = catalog.parameters(attack, "standard", **parameters)
    at_once, right = CHUNK[images.device.type], 0
    public = _WithoutNormalisation(model)
    for i, (x, y) in enumerate(zip(images.split(at_once), labels.split(at_once), strict=True)):
        key = derive(seed, "released", attack, i)
        with undisturbed(key, public), torch.enable_grad():
            x = public.normalised(x)
            with torch.no_grad():
                logits = public(x)
            attacked = attacker(public, attack, parameters, key, logits)(x, y).detach()
            with torch.no_grad():
                right += int((logits.argmax(1) == y).sum()) + int((public(attacked).argmax(1) == y).sum())
    return 100 * right / (2 * len(images))


class _WithoutNormalisation(nn.Module):
    """A model as the public code has it: it is given normalised images, for its loader normalises."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        layers = [layer for layer in model.modules() if isinstance(layer, Normalize)]
        assert len(layers) <= 1
        self.mean, self.std = (layers[0].mean, layers[0].std) if layers else (torch.zeros(()), torch.ones(()))

    def normalised(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x * self.std + self.mean)
