"""The mixture, fused: all candidates of all edges that leave one state, computed together. `supernet.MixedOp` is what it must equal.

What is computed together is said here; how it lies in memory, in `bionas.kernels`, by device. A member is one candidate of one edge;
members are ordered by (edge, kernel size, rule). Operations that are not DARTS's are no members: each is a module beside the fans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bionas import kernels
from bionas.kernels.batched import SIDE
from bionas.space import Candidate, SearchSpace
from bionas.supernet.bank import Bank, Stack

KINDS = ("sep", "dil")
CONVS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
POOLS = ("max_pool_3x3", "avg_pool_3x3")
TOGETHER = ("none", *POOLS, "skip_connect", *CONVS)


class Fan(nn.Module):
    """Every candidate of the edges that leave one state. `name` and `edges` say what the plain network calls them."""

    def __init__(self, space: SearchSpace, channels: int, stride: int, name: str, edges: list[int], **learning: Any) -> None:
        super().__init__()
        self.channels, self.stride, self.edges = channels, stride, edges
        allowed = [i for i, ok in enumerate(space.allowed(stride)) if ok]

        def names(candidate: Candidate, layer: int | str) -> list[str]:
            return [f"{name}.edges.{edge}.{allowed.index(space.candidates.index(candidate))}.{layer}" for edge in edges]

        def by_edge(candidates: list[Candidate], layer: int | str) -> list[str]:
            return [name for row in zip(*(names(candidate, layer) for candidate in candidates), strict=True) for name in row]

        members = {kind: [Candidate(op, rule) for op in CONVS if op.startswith(kind) for rule in space.rules] for kind in KINDS}
        pointwise = (channels, channels, 1, 1)
        stacks: dict[Any, Stack] = {}
        for operation in CONVS:
            kernel = (channels, 1, int(operation[-1]), int(operation[-1]))
            layers = {1: kernel, 2: pointwise} | ({5: kernel, 6: pointwise} if operation.startswith("sep") else {})
            for layer, shape in layers.items():
                stacks[operation, layer] = Stack([names(Candidate(operation, rule), layer) for rule in space.rules], shape)
        self.convs = Bank(space.rules, stacks, **learning)
        self.normed = {  # the plain names of what each normalises
            "sep halfway": by_edge(members["sep"], 3),
            "sep": by_edge(members["sep"], 7),
            "dil": by_edge(members["dil"], 3),
            "pools": [names(Candidate(pool), 1)[0] for pool in POOLS],  # the same on every edge
        }
        skips = [space.candidates[i] for i in allowed if space.candidates[i].operation == "skip_connect"]
        self.num_skips = len(skips)
        if stride == 2:
            self.normed["skip"] = by_edge(skips, "bn")
            rules = ["bp" if space.protocol == "released" else skip.rule or "bp" for skip in skips]
            widths = {"conv1": channels // 2, "conv2": channels - channels // 2}
            stacks = {layer: Stack([names(skip, layer) for skip in skips], (width, channels, 1, 1)) for layer, width in widths.items()}
            self.skips = Bank(rules, stacks, **learning)
        self.norms = nn.ModuleDict({key: nn.BatchNorm2d(len(names) * channels, affine=False) for key, names in self.normed.items()})

    def statistics(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (plain name, running mean, running variance) of every candidate's BatchNorm; of pools, the first edge's."""
        for key, names in self.normed.items():
            norm: Any = self.norms[key]
            yield from zip(names, norm.running_mean.split(self.channels), norm.running_var.split(self.channels), strict=True)

    def layers(self, stacks: dict[Any, Tensor]) -> list[Tensor]:
        """Lay out what `convs` holds: of sep, first and second kernels and matrices; of dil, kernels and matrices."""
        return [
            *(layer for i in (1, 5) for layer in (_members(stacks, "sep", i), _matrices(stacks, "sep", i + 1))),
            _members(stacks, "dil", 1),
            _matrices(stacks, "dil", 2),
        ]

    def forward(self, x: Tensor, layers: Sequence[Any], mixture: Mixture) -> Tensor:
        """x as `form` lays maps out → what every edge hands on, (E, *maps). `layers` are W and B of what `layers` lists."""
        layout, stride = kernels.form(x), self.stride
        positive = x.relu()
        sep = layout.separable(positive, *layers[:4], self.norms["sep halfway"], self.norms["sep"], mixture.sep, stride)
        mixed = sep + layout.dilated(positive, *layers[4:], self.norms["dil"], mixture.dil, stride)
        if stride == 2:
            halves = [half.flatten(1, 2).flatten(3) for half in self.skips().values()]
            mixed = mixed + layout.reduced(positive, halves, self.norms["skip"], mixture.skips[:, -self.num_skips :])
        plain = layout.pooled(x, self.norms["pools"], stride)
        weights = mixture.plain if stride == 1 else mixture.plain[:, : len(POOLS)]
        return layout.parts(torch.addmm(mixed, weights, plain), x, stride)


class Mixture(NamedTuple):
    """The weights of edges, by what is computed together: sep convs, dil convs, pools and identity, skips; and what is not."""

    sep: Tensor
    dil: Tensor
    plain: Tensor
    skips: Tensor
    others: Tensor

    @classmethod
    def of(cls, weights: Tensor, num_convs: int, num_identities: int, num_others: int) -> Mixture:
        """Take weights (E, candidates in the order of `columns`) apart; of skips, so many are one identity at stride 1."""
        num_skips = weights.shape[1] - 2 * num_convs - len(POOLS) - num_others
        sep, dil, pools, skips, others = weights.split([num_convs, num_convs, len(POOLS), num_skips, num_others], 1)
        return cls(sep, dil, torch.cat([pools, skips[:, :num_identities].sum(1, keepdim=True)], 1), skips, others)

    def split(self, edges: list[int]) -> list[Mixture]:
        """Take the edges apart, so many to a part."""
        return [Mixture(*parts) for parts in zip(*(weights.split(edges) for weights in self), strict=True)]


def columns(space: SearchSpace) -> list[int]:
    """Return the candidates in the order of a `Mixture`: separable, dilated, pools, skips, others. `none` adds nothing."""
    order = [Candidate(op, rule) for op in CONVS for rule in space.rules] + [Candidate(pool) for pool in POOLS]
    skips = [i for i, candidate in enumerate(space.candidates) if candidate.operation == "skip_connect"]
    return [*(space.candidates.index(candidate) for candidate in order), *skips, *others(space)]


def others(space: SearchSpace) -> list[int]:
    """Return the candidates that are computed one by one."""
    return [i for i, candidate in enumerate(space.candidates) if candidate.operation not in TOGETHER]


def _members(stacks: dict[Any, Tensor], kind: str, layer: int) -> Tensor:
    """Kernels of both sizes, (2, E, R, C, 1, k, k) each, in the members' order and of the larger size: (2, M, C, 25)."""
    small, large = (stacks[operation, layer] for operation in CONVS if operation.startswith(kind))
    return torch.stack([F.pad(small, (1, 1, 1, 1)), large], 2).view(len(large), -1, large.shape[3], SIDE * SIDE)


def _matrices(stacks: dict[Any, Tensor], kind: str, layer: int) -> Tensor:
    """Pointwise convs behind kernels of both sizes, (2, E, R, C, C, 1, 1) each, as (2, M, C, C)."""
    small, large = (stacks[operation, layer] for operation in CONVS if operation.startswith(kind))
    return torch.stack([small, large], 2).view(len(large), -1, *large.shape[3:5])
