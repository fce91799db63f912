"""R of many layers, drawn at once: many small draws would take longer than the drawing.

Element i of a layer's R is a hash of (the layer's key, its update, i), the same on every device. Updates are counted on the device, too, so
that drawing anew after each of them takes no word from the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bionas.rules.table import Rule
from bionas.seeds import GOLDEN, derive, scrambled, unit_interval


class Owner(Protocol):
    """Who has an R: a layer, or a bank of layers."""

    seed: int
    name: str
    update: int

    @property
    def R(self) -> Tensor | None: ...

    def draws(self) -> Iterator[Draw]:
        """Yield what is drawn into R, for every rule that draws."""


@dataclass(frozen=True)
class Draw:
    """What an owner draws under one rule: into R, or into a row of it, layer after layer. A layer's range is its bound."""

    owner: Owner
    row: int | None
    rule: Rule
    names: Sequence[str]
    sizes: Sequence[int]
    bounds: Sequence[float]

    @property
    def into(self) -> Tensor:
        assert self.owner.R is not None
        return self.owner.R if self.row is None else self.owner.R[self.row]


@dataclass
class _Group:
    """Draws of one rule, type, device and update; `seeds` and `bounds` are every element's."""

    draws: list[Draw]
    seeds: Tensor
    bounds: Tensor
    update: Tensor


class Streams:
    """What these owners draw: all of it, or only what is drawn anew after every update."""

    def __init__(self, owners: Sequence[Owner], redrawn: bool) -> None:
        self.owners, self.ahead = owners, 0
        self.known = [(owner.seed, owner.name, owner.update) for owner in owners]
        alike: dict[object, list[Draw]] = {}
        for owner in owners:
            for draw in owner.draws():
                if draw.rule.redraw or not redrawn:
                    alike.setdefault((draw.rule, draw.into.dtype, draw.into.device, owner.update), []).append(draw)
        self.groups = [_group(draws) for draws in alike.values()]

    def fit(self) -> bool:
        """Whether the owners are what these streams take them for: of the same names, at their update, on their device."""
        here = all(draw.into.device == group.seeds.device for group in self.groups for draw in group.draws[:1])
        now = ((owner.seed, owner.name, owner.update) for owner in self.owners)
        return here and all((*known[:2], known[2] + self.ahead) == state for known, state in zip(self.known, now, strict=True))

    @torch.no_grad()
    def draw(self) -> None:
        """Draw for the update that the owners are at. The next call is for the next one."""
        for group in self.groups:
            drawn = unit_interval(scrambled(group.seeds + scrambled(group.update * GOLDEN)), group.bounds.dtype)
            R = magnitude(group.draws[0].rule, drawn, group.bounds)
            targets = [draw.into for draw in group.draws]
            parts = R.split([target.numel() for target in targets])
            torch._foreach_copy_(targets, [part.view_as(target) for part, target in zip(parts, targets, strict=True)])
            group.update += 1
        self.ahead += 1


def _group(draws: list[Draw]) -> _Group:
    R = draws[0].into
    keys = torch.tensor([derive(draw.owner.seed, "feedback", name, 0) for draw in draws for name in draw.names], device=R.device)
    bounds = torch.tensor([bound for draw in draws for bound in draw.bounds], dtype=R.dtype, device=R.device)
    whose, place = places([size for draw in draws for size in draw.sizes], R.device)
    update = torch.tensor(draws[0].owner.update, device=R.device)
    return _Group(draws, place * GOLDEN + keys[whose], bounds[whose], update)


def places(sizes: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return whose each element is, and its place there from 1 on, of layers of these sizes one after the other."""
    each = torch.tensor(sizes, device=device)
    whose = torch.arange(len(sizes), device=device).repeat_interleave(each, output_size=sum(sizes))
    return whose, torch.arange(1, len(whose) + 1, device=device) - (each.cumsum(0) - each)[whose]


def magnitude(rule: Rule, u: Tensor, bound: Tensor | float) -> Tensor:
    """Return R of the rule from uniform numbers in [0, 1): U(-bound, bound) where R is signed, its magnitude elsewhere."""
    return (2 * u - 1) * bound if rule.draw == "signed" else u * bound
