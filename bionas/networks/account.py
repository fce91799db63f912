"""What a network is made of: parameters, multiply-adds, and which layers and weights follow which rule."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from bionas import catalog
from bionas.networks.parts import evaluating
from bionas.rules import feedback_owners

# Rules that are counted even where no layer follows them. One that came later is where one does, so that files stay as they are.
COUNTED = (*catalog.BIOTORCH, "dfa")


def num_parameters(model: nn.Module) -> int:
    """Count trainable numbers; feedback is a buffer and is not among them, not even where it learns: see `num_feedback`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def num_feedback(model: nn.Module) -> int:
    """Count the numbers of feedback that learns: state, as parameters are, which no gradient reaches. Of B alone, without velocities."""
    return sum(owner.velocity.numel() for _, owner in feedback_owners(model) if owner.velocity is not None)


def flops(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Count forward multiply-adds of convs and linears for one image of (C, H, W)."""
    return counted(model, image_shape)[0]


@torch.no_grad()
def counted(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return (multiply-adds, numbers put out, calls) of convs and linears for one image of (C, H, W) going forward."""
    total = [0, 0, 0]

    def count(layer: Any, _inputs: Any, output: torch.Tensor) -> None:
        for i, what in enumerate((output.numel() * layer.weight[0].numel(), output.numel(), 1)):
            total[i] += what

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with evaluating(model):
            model(torch.zeros(1, *image_shape, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return total[0], total[1], total[2]


@cache
def of_model(target: str, num_classes: int, image_shape: tuple[int, int, int]) -> tuple[tuple[int, int, int], int]:
    """Build a model, as the catalog names it, and return (what `counted` does, parameters). Raises what the model raises."""
    model = catalog.load(target)("bp", num_classes, image_shape[0])
    return counted(model, image_shape), num_parameters(model)


def layers_by_rule(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return {rule: (layers, weights)} over every conv and linear; one without a rule counts as BP. Biases are not counted."""
    counts = dict.fromkeys(COUNTED, (0, 0))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rule = rule_of(layer)
            layers, weights = counts.get(rule, (0, 0))
            counts[rule] = (layers + 1, weights + layer.weight.numel())
    return counts


def rule_of(layer: nn.Module) -> str:
    """Return the rule that a conv or linear follows; one without a rule counts as BP."""
    rule = getattr(layer, "rule", getattr(layer, "type", "bp"))  # biotorch's layers say `type`
    return rule if rule in (*catalog.RULES, *catalog.NETWORK_RULES) else "bp"
