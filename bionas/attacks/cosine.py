"""Where a rule's gradient points: its cosine with the true one, a diagnostic beside attacks through both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bionas.attacks.outcomes import CHUNK
from bionas.attacks.undisturbed import undisturbed
from bionas.rules import true_gradient
from bionas.seeds import derive


def gradient_cosine(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return, for every image, the cosine of the cross-entropy's input gradient by the rule with the true one: (N,) on the CPU.

    1 where the two are the same, 0 where one of them is nothing. Raises ValueError for layers that cannot be switched.
    """
    at_once, found = CHUNK[images.device.type], []
    for i, (x, y) in enumerate(zip(images.split(at_once), labels.split(at_once), strict=True)):
        with undisturbed(derive(0, "gradient cosine", i), model):
            rule = _input_gradient(model, x, y)
            with true_gradient(model):
                true = _input_gradient(model, x, y)
        cosine = F.cosine_similarity(rule, true, dim=1, eps=0).nan_to_num(0)
        found.append(torch.where((rule == true).all(1), 1, cosine).float().cpu())
    return torch.cat(found)


def _input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return it for every image, its largest element 1: (N, ·) in float64, for the squares of what is small are nothing."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)
    gradient = gradient.flatten(1).double()
    return gradient / gradient.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
