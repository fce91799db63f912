"""A supernet's candidates on a CPU. Maps are (C, H, W, N), so that what dominates becomes matrix products over P = H·W·N numbers:

    first depthwise    every candidate sees the same input: its 25 taps are laid out once, and 3×3 kernels are 5×5 ones with a rim of 0
    pointwise          a product a candidate, all in one batch
    second depthwise   of sep convs, whose inputs are their own: products with its whole matrix on small maps, with banded ones on large
    BatchNorm          has no parameters, so that of many candidates is that of many channels
    mixture            a product an edge: its weights times its candidates
    evaluation         what follows the last ReLU is linear then, BatchNorm included: one map an edge

Kernels are (2, M, C, 25) and matrices (2, M, out, in), W and B of M members; `weights` are (E, M / E). `channels_last` is the same for
a GPU, and offers the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bionas.kernels.batched import SIDE, SMALL, LargeDepthwise, Product, SharedDepthwise, SmallDepthwise
from bionas.kernels.pools import average_pool

GATHERED = False  # W and B of a layer come together, each layer's by operations of its own


def spread(weights: Tensor, channels: int) -> Tensor:
    """A mixture's weights (E, K) as this layout has them."""
    return weights


def enter(x: Tensor) -> Tensor:
    """(N, C, H, W) as this layout has it."""
    return x.permute(1, 2, 3, 0).contiguous()


def leave(maps: Sequence[Tensor]) -> Tensor:
    """Maps in this layout, side by side, as (N, C, H, W)."""
    return torch.cat(list(maps)).permute(3, 0, 1, 2).contiguous()


def separable(
    x: Tensor,
    kernels: Tensor,
    matrices: Tensor,
    second: Tensor,
    last: Tensor,
    halfway: Any,
    norm: Any,
    weights: Tensor,
    stride: int,
) -> Tensor:
    """Mix sep convs of a positive x, (C, H, W, N), with BatchNorms `halfway` and `norm` → (E, C·P')."""
    size = [(n - 1) // stride + 1 for n in x.shape[1:3]]
    hidden = _shared(x, kernels, stride, 1)
    if _learns(norm):
        positive = _normalise(halfway, Product.apply(hidden, matrices), relu=True)
        return _mix(weights, _normalise(norm, Product.apply(_own(positive, second, size), last)))
    maps, shift = _as_maps(matrices, halfway, weights.new_ones(len(hidden), 1))
    positive = torch.baddbmm(shift.unsqueeze(2), maps.squeeze(1), hidden).relu_()
    return _mapped(_own(positive, second, size), last, norm, weights)


def dilated(x: Tensor, kernels: Tensor, matrices: Tensor, norm: Any, weights: Tensor, stride: int) -> Tensor:
    """Mix dil convs of a positive x, (C, H, W, N) → (E, C·P')."""
    hidden = _shared(x, kernels, stride, 2)
    return _mix(weights, _normalise(norm, Product.apply(hidden, matrices))) if _learns(norm) else _mapped(hidden, matrices, norm, weights)


def reduced(x: Tensor, halves: Sequence[Tensor], norm: Any, weights: Tensor) -> Tensor:
    """Mix skips of stride 2, whose matrices on two shifted grids are `halves`, each (2, M, out, in) → (E, C·P')."""
    parts = []
    for grid, both in zip((x[:, ::2, ::2], x[:, 1::2, 1::2]), halves, strict=True):
        out = Product.apply(grid.reshape(1, len(x), -1), both.reshape(len(both), 1, -1, len(x)))
        parts.append(out.view(both.shape[1], -1, out.shape[2]))
    return _mix(weights, _normalise(norm, torch.cat(parts, 1)))


def pooled(x: Tensor, norm: Any, stride: int) -> Tensor:
    """Return max and average pool of x, normalised, and at stride 1 x itself: (2 or 3, C·P')."""
    maps = x.permute(0, 3, 1, 2)  # channels_last in torch's eyes, which its pools know
    pools = [F.max_pool2d(maps, 3, stride, 1), average_pool(maps, stride)]
    pooled = torch.stack([pool.permute(0, 2, 3, 1) for pool in pools])
    normalised = _normalise(norm, pooled.view(2, len(x), -1)).view(2, -1)
    return normalised if stride == 2 else torch.cat([normalised, x.view(1, -1)])


def parts(mixed: Tensor, like: Tensor, stride: int) -> Tensor:
    """What edges hand on, (E, C·P'), as maps: (E, C, H', W', N)."""
    size = [(n - 1) // stride + 1 for n in like.shape[1:3]]
    return mixed.view(len(mixed), len(like), *size, like.shape[3])


def _learns(norm: Any) -> bool:
    """Whether anything does: in a mere evaluation what follows the last ReLU is linear."""
    return norm.training or torch.is_grad_enabled()


def _shared(x: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """Depthwise convs of one input: x (C, H, W, N) → (M, C, P')."""
    if stride == dilation == 2:  # every second pixel sees every second pixel: an ordinary conv on those
        x, stride, dilation = x[:, ::2, ::2], 1, 1
    return SharedDepthwise.apply(x, kernels.transpose(1, 2), stride, dilation).transpose(0, 1)


def _own(x: Tensor, kernels: Tensor, size: Sequence[int]) -> Tensor:
    """Depthwise convs of stride 1 of inputs of their own, maps of `size`: x (M, C, P) → (M, C, P)."""
    kernels = kernels.flatten(1, 2)
    if size[0] * size[1] <= SMALL:
        grid = (tuple(size), (SIDE, SIDE), (1, 1), (2, 2), (1, 1))
        out = SmallDepthwise.apply(x.view(kernels.shape[1], size[0] * size[1], -1), kernels, grid)
    else:
        out = LargeDepthwise.apply(x.view(kernels.shape[1], *size, -1), kernels)
    return out.view(x.shape)


def _normalise(norm: Any, z: Tensor, relu: bool = False) -> Tensor:
    """BatchNorm of (M, C, P), each of M·C channels over its pixels; then, in place on what is no view yet, ReLU."""
    options = {"training": norm.training, "momentum": norm.momentum, "eps": norm.eps}
    y = F.batch_norm(z.view(1, -1, z.shape[2]), norm.running_mean, norm.running_var, **options)
    return (y.relu_() if relu else y).view(z.shape)


def _mix(weights: Tensor, members: Tensor) -> Tensor:
    """Weights (E, K) and members (E·K, C, P) → (E, C·P)."""
    return torch.bmm(weights.unsqueeze(1), members.view(*weights.shape, -1)).squeeze(1)


def _mapped(hidden: Tensor, matrices: Tensor, norm: Any, weights: Tensor) -> Tensor:
    """In an evaluation: pointwise convs, BatchNorm and mixture as one map an edge, (M, C, P) → (E, C·P)."""
    maps, shift = _as_maps(matrices, norm, weights)
    side_by_side = maps.transpose(1, 2).flatten(2)  # (E, out, K·in)
    return torch.baddbmm(shift.unsqueeze(2), side_by_side, hidden.reshape(len(weights), -1, hidden.shape[2])).flatten(1)


def _as_maps(matrices: Tensor, norm: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pointwise convs, BatchNorm with its running statistics, and mixture: linear maps (E, K, out, in), and what an edge adds, (E, out)."""
    edges, convs = weights.shape
    mean, inv = (part.view(edges, convs, -1) for part in (norm.running_mean, (norm.running_var + norm.eps).rsqrt()))
    scale = weights.unsqueeze(2) * inv
    return scale.unsqueeze(3) * matrices[0].view(edges, convs, *matrices.shape[2:]), -(scale * mean).sum(1)
