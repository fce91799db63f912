"""The mixture, fused: all candidates of all edges that leave one state, computed together. `supernet.MixedOp` is what it must equal.

Inside a cell maps are (C, H, W, N), so that what dominates becomes matrix products over all pixels of the batch, P = H·W·N:

    first depthwise    every candidate sees the same input: its 25 taps are laid out once, and 3×3 kernels are 5×5 ones with a rim of 0
    pointwise          a product a candidate, all in one batch
    second depthwise   of sep convs, whose inputs are their own: products with its whole matrix on small maps, with banded ones on large
    BatchNorm          has no parameters, so that of many candidates is that of many channels
    mixture            a product an edge: its weights times its candidates
    evaluation         what follows the last ReLU is linear then, BatchNorm included: one map an edge

A member is one candidate of one edge; members are ordered by (edge, kernel size, rule).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bionas import kernels
from bionas.kernels.batched import SIDE, Product, mix, normalise
from bionas.space import CONVS, POOLS, Candidate, SearchSpace
from bionas.supernet.bank import Bank, Stack

KINDS = ("sep", "dil")


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

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (C, H, W, N) and weights (E, candidates in the order of `columns`) → what every edge hands on, (E, C, H', W', N)."""
        shape = ((x.shape[1] - 1) // self.stride + 1, (x.shape[2] - 1) // self.stride + 1, x.shape[3])
        convs = 2 * len(self.convs.rules)
        sep, dil, pools, skips = weights.split([convs, convs, len(POOLS), weights.shape[1] - 2 * convs - len(POOLS)], 1)
        skips = skips[:, : self.num_skips] if self.stride == 1 else skips[:, -self.num_skips :]
        stacks = self.convs()
        positive = x.relu()
        mixed = self._separable(positive, stacks, shape, sep) + self._dilated(positive, stacks, dil)
        plain = self._pooled(x)
        if self.stride == 2:
            mixed = mixed + mix(skips, self._reduced(positive))
        else:
            pools, plain = torch.cat([pools, skips.sum(1, keepdim=True)], 1), torch.cat([plain, x.view(1, -1)])
        mixed = torch.addmm(mixed, pools, plain)
        return mixed.view(len(self.edges), self.channels, *shape)

    def _learns(self) -> bool:
        """Whether anything is: in a mere evaluation what follows the last ReLU is one linear map an edge, and is computed as one."""
        return self.training or torch.is_grad_enabled()

    def _layouts(self, stacks: dict[Any, Tensor], kind: str) -> tuple[Tensor, Tensor]:
        """The first depthwise kernels, (2, C, M, 25), and the pointwise matrices, (2, M, C, C), of a kind."""
        small, large = (op for op in CONVS if op.startswith(kind))
        return _kernels(stacks[small, 1], stacks[large, 1]), _matrices(stacks[small, 2], stacks[large, 2])

    def _dilated(self, x: Tensor, stacks: dict[Any, Tensor], weights: Tensor) -> Tensor:
        layout = kernels.form(x)
        depthwise, matrices = self._layouts(stacks, "dil")
        if self._learns():
            return layout.mixture(self.norms["dil"], layout.shared_separable(x, depthwise, matrices, self.stride, 2), weights)
        hidden = layout.shared(x, depthwise, self.stride, 2)
        maps, shift = _as_maps(matrices, self.norms["dil"], weights)
        return torch.baddbmm(shift.unsqueeze(2), _side_by_side(maps), hidden.reshape(len(weights), -1, hidden.shape[2])).flatten(1)

    def _separable(self, x: Tensor, stacks: dict[Any, Tensor], shape: tuple[int, ...], weights: Tensor) -> Tensor:
        layout = kernels.form(x)
        depthwise, matrices = self._layouts(stacks, "sep")
        second = _members(stacks["sep_conv_3x3", 5], stacks["sep_conv_5x5", 5]).flatten(1, 3).flatten(3)
        last = _matrices(stacks["sep_conv_3x3", 6], stacks["sep_conv_5x5", 6])
        if self._learns():
            halfway = layout.shared_separable(x, depthwise, matrices, self.stride, 1)
            positive = normalise(self.norms["sep halfway"], halfway, torch.relu_)
            out = layout.own_separable(positive.view(*positive.shape[:2], *shape), second, last)
            return layout.mixture(self.norms["sep"], out, weights)
        hidden = layout.shared(x, depthwise, self.stride, 1)
        maps, shift = _as_maps(matrices, self.norms["sep halfway"], weights.new_ones(len(hidden), 1))
        positive = torch.baddbmm(shift.unsqueeze(2), maps.squeeze(1), hidden).relu_()
        out = layout.own(positive.view(*positive.shape[:2], *shape), second)
        maps, shift = _as_maps(last, self.norms["sep"], weights)
        maps = _side_by_side(maps)
        return torch.baddbmm(shift.unsqueeze(2), maps, out.view(*maps.shape[::2], -1)).flatten(1)

    def _reduced(self, x: Tensor) -> Tensor:
        """Skips at stride 2: two 1×1 convs on shifted grids, side by side."""
        parts = []
        for grid, both in zip((x[:, ::2, ::2], x[:, 1::2, 1::2]), self.skips().values(), strict=True):
            out = Product.apply(grid.reshape(1, self.channels, -1), both.reshape(len(both), 1, -1, self.channels))
            parts.append(out.view(len(self.edges) * self.num_skips, -1, out.shape[2]))
        return normalise(self.norms["skip"], torch.cat(parts, 1))

    def _pooled(self, x: Tensor) -> Tensor:
        """Pools have no weights: they are the same on every edge. (C, H, W, N) → (pools, C·P), in the order of POOLS."""
        maps = x.permute(0, 3, 1, 2)  # channels_last in torch's eyes, which its pools know
        pools = [F.max_pool2d(maps, 3, self.stride, 1), F.avg_pool2d(maps, 3, self.stride, 1, count_include_pad=False)]
        pooled = torch.stack([pool.permute(0, 2, 3, 1) for pool in pools])
        return normalise(self.norms["pools"], pooled.view(len(POOLS), self.channels, -1)).view(len(POOLS), -1)


def columns(space: SearchSpace) -> list[int]:
    """Return the candidates in the order in which a fan wants their weights: separable, dilated, pools, skips. `none` adds nothing."""
    order = [Candidate(op, rule) for op in CONVS for rule in space.rules] + [Candidate(pool) for pool in POOLS]
    return [space.candidates.index(candidate) for candidate in order] + [
        i for i, candidate in enumerate(space.candidates) if candidate.operation == "skip_connect"
    ]


def _kernels(small: Tensor, large: Tensor) -> Tensor:
    """3×3 and 5×5 kernels, (2, E, R, C, 1, k, k) each, as (2, C, M, 25)."""
    return _members(small, large).view(len(large), -1, large.shape[3], SIDE * SIDE).transpose(1, 2)


def _members(small: Tensor, large: Tensor) -> Tensor:
    """Kernels of both sizes in the members' order: (2, E, sizes, R, C, 1, 5, 5)."""
    return torch.stack([F.pad(small, (1, 1, 1, 1)), large], 2)


def _matrices(small: Tensor, large: Tensor) -> Tensor:
    """Pointwise convs behind kernels of both sizes, (2, E, R, C, C, 1, 1) each, as (2, M, C, C)."""
    return torch.stack([small, large], 2).view(len(small), -1, *small.shape[3:5])


def _as_maps(matrices: Tensor, norm: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pointwise convs, BatchNorm with its running statistics, and mixture: linear maps (E, K, out, in), and what an edge adds, (E, out)."""
    edges, convs = weights.shape
    mean, inv = (part.view(edges, convs, -1) for part in (norm.running_mean, (norm.running_var + norm.eps).rsqrt()))
    scale = weights.unsqueeze(2) * inv
    return scale.unsqueeze(3) * matrices[0].view(edges, convs, *matrices.shape[2:]), -(scale * mean).sum(1)


def _side_by_side(maps: Tensor) -> Tensor:
    """The maps of an edge's members as one of all their channels: (E, K, out, in) → (E, out, K·in)."""
    return maps.transpose(1, 2).flatten(2)
