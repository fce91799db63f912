"""A bank of layers: the same layers under several rules, side by side in one weight, so that one operation serves all of them.

Row r holds rule r's layers, a column is one element of a layer. A rule's B is a function of W and R element by element, so a whole
row is fed back at once. Every layer keeps the name that it has in the plain network, and with it its initial weights and its R.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from bionas.rules.drawing import Draw, places
from bionas.rules.feedback import FeedbackOwner, init_bound


@dataclass(frozen=True)
class Stack:
    """Layers of one shape: their names, by rule and edge, and the shape of a layer's weight."""

    names: Sequence[Sequence[str]]  # (rules, edges)
    shape: tuple[int, ...]


class _WithFeedback(torch.autograd.Function):
    """Put W and B together, edges first, so that what lays out the one lays out the other. B gets no gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, feedback: Tensor) -> Tensor:
        return torch.stack([weight.transpose(0, 1), feedback.transpose(0, 1)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad[0].transpose(0, 1), None


class Bank(FeedbackOwner):
    """Weights (rules, edges, elements) of `stacks` under `rules`. `scale`, `init` and `brsf_redraw` are as in `RuleConv2d`."""

    R: Tensor
    layer: Tensor

    def __init__(
        self,
        rules: Sequence[str],
        stacks: Mapping[Any, Stack],
        scale: str = "init_std",
        init: str = "xavier",
        brsf_redraw: str = "update",
    ) -> None:
        super().__init__()
        self.rules, self.stacks = tuple(rules), dict(stacks)
        edges = len(next(iter(self.stacks.values())).names[0])
        self.sizes = [math.prod(stack.shape) for stack in self.stacks.values()]
        self.weight = nn.Parameter(torch.zeros(len(self.rules), edges, sum(self.sizes)))
        self.register_buffer("R", torch.zeros_like(self.weight, requires_grad=False))
        self.learning = [r for r, rule in enumerate(self.rules) if self.definition(rule).learns]
        self.register_buffer("velocity", torch.zeros_like(self.weight[self.learning], requires_grad=False) if self.learning else None)
        self.bounds = [init_bound(torch.empty(stack.shape, device="meta"), init) for stack in self.stacks.values()]
        self.register_buffer("layer", places(self.sizes, self.R.device)[0], persistent=False)  # whose an element is
        self.set_feedback(scale, init, brsf_redraw)
        self.measured = [r for r, rule in enumerate(self.rules) if self._scale_of(rule) == "rms"]  # whose R is of the weight as it is

    def views(self, values: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (plain name, its part) of anything that has the weight's shape: weights, their gradients, B."""
        for stack, part in zip(self.stacks.values(), values.split(self.sizes, 2), strict=True):
            for names, row in zip(stack.names, part, strict=True):
                yield from zip(names, (layer.view(stack.shape) for layer in row), strict=True)

    def banked(self) -> Iterator[tuple[str, Tensor]]:
        return self.views(self.weight)

    def forward(self) -> dict[Any, Tensor]:
        """Return {stack: W and B together}, each (2, edges, rules, *shape); (1, …) where B is W, or nothing will be fed back."""
        self.count_forward()
        values = self.weight.transpose(0, 1)[None] if self.plain else _WithFeedback.apply(self.weight, self.feedback())
        return self.stacked(values)

    def stacked(self, values: Tensor) -> dict[Any, Tensor]:
        """Return {stack: its part} of values (…, edges, rules, elements), each (…, edges, rules, *shape)."""
        parts = zip(self.stacks.items(), values.split(self.sizes, 3), strict=True)
        return {name: part.unflatten(3, stack.shape) for (name, stack), part in parts}

    @property
    def plain(self) -> bool:
        """Whether B is W, or nobody will ask for it."""
        return self.exact or set(self.rules) == {"bp"} or not torch.is_grad_enabled()

    @torch.no_grad()
    def feedback(self) -> Tensor:
        """Return every B in use, of the weight's shape."""
        weight = self.weight.detach()
        return weight if self.exact else self.fed_back(weight, self.magnitudes())

    def magnitudes(self) -> Tensor:
        """Return R, up to date."""
        self.look(self.weight)
        for r in self.measured:
            means = [layers.square().mean(1, keepdim=True) for layers in self.weight[r].split(self.sizes, 1)]
            self.R[r] = torch.cat(means, 1).sqrt()[:, self.layer]
        return self.R

    def _scale_of(self, rule: str) -> str | None:
        """Return what R is of a rule whose R is one number."""
        definition = self.definition(rule)
        return definition.scale or self.scale if definition.draw == "scale" else None

    def fed_back(self, weight: Tensor, R: Tensor) -> Tensor:
        """Return B of any weights (rules, …). Neighbours that feed back by the same function do so at once."""
        parts, first = [], 0
        for feedback, alike in groupby(self.rules, lambda rule: self.definition(rule).feedback):
            last = first + len(list(alike))
            parts.append(feedback(weight[first:last], R[first:last]))
            first = last
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.no_grad()
    def draw(self) -> None:
        """Draw R of the rules that have one, element by element what the plain layers draw, and set that of uSF."""
        bound = torch.tensor(self.bounds, dtype=self.R.dtype, device=self.R.device)[self.layer]
        for r, rule in enumerate(self.rules):
            if scale := self._scale_of(rule):
                self.R[r] = 1.0 if scale == "none" else bound / math.sqrt(3)
        super().draw()

    def learned(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if self.velocity is not None:
            for r, velocity in zip(self.learning, self.velocity, strict=True):
                yield self.weight[r], self.R[r], velocity

    def draws(self) -> Iterator[Draw]:
        for r, rule in enumerate(self.rules):
            definition = self.definition(rule)
            if definition.draw in ("signed", "magnitude"):
                names = [name for by_edge in zip(*(stack.names[r] for stack in self.stacks.values()), strict=True) for name in by_edge]
                edges = len(self.R[r])
                yield Draw(self, r, definition, names, self.sizes * edges, self.bounds * edges)
