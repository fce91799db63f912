"""A bank of layers: the same layers under several rules, side by side in one weight, so that one operation serves all of them.

Row r holds rule r's layers, a column is one element of a layer. A rule's B is a function of W and R element by element, so a whole
row is fed back at once. Every layer keeps the name that it has in the plain network, and with it its initial weights and its R.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from bionas.rules import FeedbackOwner, init_bound, magnitude
from bionas.seeds import derive, uniform


@dataclass(frozen=True)
class Stack:
    """Layers of one shape: their names, by rule and edge, and the shape of a layer's weight."""

    names: Sequence[Sequence[str]]  # (rules, edges)
    shape: tuple[int, ...]


class Bank(FeedbackOwner, nn.Module):
    """Weights of `stacks` under `rules`. `scale`, `init` and `brsf_redraw` are as in `RuleConv2d`."""

    def __init__(
        self, rules: Sequence[str], stacks: Mapping[Hashable, Stack], scale: str = "init_std", init: str = "xavier", brsf_redraw: str = "update"
    ) -> None:
        super().__init__()
        self.rules, self.stacks = tuple(rules), dict(stacks)
        self.edges = len(next(iter(self.stacks.values())).names[0])
        self.sizes = [self.edges * math.prod(stack.shape) for stack in self.stacks.values()]
        self.weight = nn.Parameter(torch.zeros(len(self.rules), sum(self.sizes)))
        self.register_buffer("R", torch.zeros_like(self.weight, requires_grad=False))
        counts = [math.prod(stack.shape) for stack in self.stacks.values() for _ in range(self.edges)]
        bounds = [init_bound(torch.empty(stack.shape, device="meta"), init) for stack in self.stacks.values()]
        counter = torch.cat([torch.arange(1, count + 1) for count in counts])
        self.register_buffer("counter", counter, persistent=False)  # an element's place in its layer
        self.register_buffer("counts", torch.tensor(counts), persistent=False)
        self.register_buffer("bound", torch.tensor(bounds).repeat_interleave(torch.tensor(self.sizes)), persistent=False)
        self.set_feedback(scale, init, brsf_redraw)

    def views(self, values: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (plain name, its part) of anything that has the weight's shape: weights, their gradients, B."""
        for stack, part in zip(self.stacks.values(), values.split(self.sizes, 1), strict=True):
            for names, row in zip(stack.names, part, strict=True):
                yield from zip(names, row.view(self.edges, *stack.shape), strict=True)

    def forward(self) -> dict[Hashable, tuple[Tensor, Tensor | None]]:
        """Return {stack: (W, B)}, each (rules, edges, *shape); B is None if nothing will be fed back."""
        self.count_forward()
        feedback = self.feedback() if torch.is_grad_enabled() else None
        by_stack = {}
        for values in (self.weight, feedback):
            parts = [None] * len(self.sizes) if values is None else values.split(self.sizes, 1)
            for (name, stack), part in zip(self.stacks.items(), parts, strict=True):
                shaped = part if part is None else part.unflatten(1, (self.edges, *stack.shape))
                by_stack.setdefault(name, []).append(shaped)
        return {name: tuple(pair) for name, pair in by_stack.items()}

    @torch.no_grad()
    def feedback(self) -> Tensor:
        """Return every B in use, of the weight's shape."""
        weight = self.weight.detach()
        if self.exact or set(self.rules) == {"bp"}:
            return weight
        if self.scale == "rms":
            self._rescale()
        parts, first = [], 0  # neighbours that feed back by the same function do so at once
        for feedback, alike in groupby(self.rules, lambda rule: self.definition(rule).feedback):
            last = first + len(list(alike))
            parts.append(feedback(weight[first:last], self.R[first:last]))
            first = last
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _rescale(self) -> None:
        """Set R of uSF to the root mean square of each layer's weight."""
        for r, rule in enumerate(self.rules):
            if self.definition(rule).draw == "scale":
                layers = [part.view(self.edges, -1) for part in self.weight[r].split(self.sizes)]
                self.R[r] = torch.cat([layer.square().mean(1, keepdim=True).sqrt().expand_as(layer).flatten() for layer in layers])

    @torch.no_grad()
    def draw(self) -> None:
        """Draw R of the rules that have one, for this seed and update: element by element what the plain layers draw."""
        if self.R.is_meta:
            return
        for r, rule in enumerate(self.rules):
            definition = self.definition(rule)
            if definition.draw == "scale":
                self.R[r] = 1.0 if self.scale == "none" else self.bound / math.sqrt(3)
            elif definition.draw != "nothing" and (definition.redraw or self.update == 0):
                update = self.update if definition.redraw else 0
                names = [name for stack in self.stacks.values() for name in stack.names[r]]
                keys = torch.tensor([derive(self.seed, "feedback", name, update) for name in names], device=self.R.device)
                u = uniform(self.R[r], keys.repeat_interleave(self.counts), self.counter)
                self.R[r] = magnitude(definition, u, self.bound)
