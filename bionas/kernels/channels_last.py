"""A supernet's candidates on a GPU, by its library's kernels. What costs there is every pass over a map, and how well it is read:

    maps         (N, H, W, C), members (P, M, C), P = N·H·W: the one layout in which depthwise convs run near the memory's speed
    depthwise    one grouped conv of all members; an input that they share is repeated, since convs that repeat it themselves are slow
    dilated      pixels that a dilated kernel sees together become maps of their own; the mixture alone is put together again
    pointwise    a product a member, all in one batch; weight gradients in parts of a thousand pixels, which fill the device
    mixture      its weights are those of BatchNorm, whose backward pass has their gradient
    kept         of every conv-BatchNorm pair one map: the pointwise conv's input where weights learn, its output where α alone does

Kernels are pairs of (M, C, 25) and matrices of (M, out, in), W and B of M members; `weights` are (E, M / E · C), one a channel.
`batch_last` is the same for a CPU, and offers the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bionas.kernels.passes import (
    Statistics,
    again,
    batch_norm,
    depthwise,
    depthwise_back,
    gradient_of_matrices,
    normalised,
    normalised_back,
    pointwise,
    precision,
    repeated,
    summed,
)
from bionas.kernels.pools import average_pool

GATHERED = True  # W and B of all layers come by one gather, apart
Pair = Sequence[Tensor]  # W and B


def spread(weights: Tensor, channels: int) -> Tensor:
    """A mixture's weights (E, K) as this layout has them: (E, K·C)."""
    return weights.unsqueeze(2).expand(-1, -1, channels).flatten(1)


def enter(x: Tensor) -> Tensor:
    """(N, C, H, W) as this layout has it."""
    return x.permute(0, 2, 3, 1).contiguous()


def leave(maps: Sequence[Tensor]) -> Tensor:
    """Maps in this layout, side by side, as (N, C, H, W), which lies channels last."""
    return torch.cat(list(maps), 3).permute(0, 3, 1, 2)


def separable(
    x: Tensor,
    kernels: Pair,
    matrices: Pair,
    second: Pair,
    last: Pair,
    halfway: Any,
    norm: Any,
    weights: Tensor,
    stride: int,
) -> Tensor:
    """Mix sep convs of a positive x, (N, H, W, C), with BatchNorms `halfway` and `norm` → (E, P'·C)."""
    W, B = zip(kernels, matrices, second, last, strict=True)
    return _Separable.apply(x, *W, weights, B, halfway, norm, stride).flatten(1)


def dilated(x: Tensor, kernels: Pair, matrices: Pair, norm: Any, weights: Tensor, stride: int) -> Tensor:
    """Mix dil convs of a positive x, (N, H, W, C) → (E, P'·C)."""
    W, B = zip(kernels, matrices, strict=True)
    if stride == 2:  # every second pixel sees every second pixel: an ordinary conv on those
        return _Shared.apply(x[:, ::2, ::2], *W, weights, B, norm, 1).flatten(1)
    if x.shape[1] % 2 or x.shape[2] % 2:
        return _Shared.apply(x, *W, weights, B, norm, 2).flatten(1)
    images, height, width, channels = x.shape
    split = (images, height // 2, 2, width // 2, 2, channels)
    apart = x.view(split).permute(2, 4, 0, 1, 3, 5).reshape(-1, height // 2, width // 2, channels)
    mixed = _Shared.apply(apart, *W, weights, B, norm, 1)
    return mixed.view(-1, 2, 2, images, height // 2, width // 2, channels).permute(0, 3, 4, 1, 5, 2, 6).reshape(len(weights), -1)


def reduced(x: Tensor, halves: Sequence[Tensor], norm: Any, weights: Tensor) -> Tensor:
    """Mix skips of stride 2, whose matrices on two shifted grids are `halves`, each (2, M, out, in) → (E, P'·C)."""
    parts = []
    for grid, both in zip((x[:, ::2, ::2], x[:, 1::2, 1::2]), halves, strict=True):
        W, B = (matrices.flatten(0, 1).unsqueeze(0) for matrices in (both[0], both[-1].detach()))
        parts.append(_Product.apply(grid.flatten(0, 2).unsqueeze(1), W, B).view(-1, *both.shape[1:3]))
    y = batch_norm(norm, torch.cat(parts, 2).flatten(1)).view(-1, *weights.shape, x.shape[3])
    return torch.einsum("ek,pekc->epc", weights.to(y.dtype), y).flatten(1)


def pooled(x: Tensor, norm: Any, stride: int) -> Tensor:
    """Return max and average pool of x, normalised, and at stride 1 x itself: (2 or 3, P'·C)."""
    maps = x.permute(0, 3, 1, 2)
    pools = [F.max_pool2d(maps, 3, stride, 1), average_pool(maps, stride)]
    side_by_side = torch.cat([pool.permute(0, 2, 3, 1) for pool in pools], 3)  # (N, H', W', 2·C)
    rows = batch_norm(norm, side_by_side.flatten(0, 2)).unflatten(1, (2, -1)).unbind(1)
    return torch.stack(rows if stride == 2 else (*rows, x.view(-1, x.shape[3]))).flatten(1)


def parts(mixed: Tensor, like: Tensor, stride: int) -> Tensor:
    """What edges hand on, (E, P'·C), as maps: (E, N, H', W', C)."""
    images, height, width, channels = like.shape
    return mixed.view(-1, images, (height - 1) // stride + 1, (width - 1) // stride + 1, channels)


class _Mixture:
    """Pointwise convs, BatchNorm, mixture: (P, M, C) → (E, P, C)."""

    @staticmethod
    def forward(h: Tensor, matrices: Tensor, weights: Tensor, norm: Any, learns: bool) -> tuple[Tensor, Tensor, Statistics]:
        """Return the mixture, the map that is kept, and statistics."""
        z = pointwise(h, matrices)
        y, known = normalised(z, weights.flatten().to(norm.running_mean.dtype), norm)
        return y.view(len(z), len(weights), -1, z.shape[2]).permute(1, 0, 2, 3).sum(2), h if learns else z, known

    @staticmethod
    def back(
        grad: Tensor,
        kept: Tensor,
        matrices: Tensor,
        feedback: Tensor,
        weights: Tensor,
        known: Statistics,
        wanted: Sequence[bool],
        learned: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the gradients of h, of matrices and weights as far as wanted."""
        z = pointwise(kept, matrices) if learned else kept
        members = z.shape[1] // len(weights)
        spread = grad.permute(1, 0, 2).unsqueeze(2).expand(-1, -1, members, -1).contiguous().view(z.shape)
        grad_z, grad_scale = normalised_back(spread, z, known, wanted[1])
        grad_weights = None if grad_scale is None else grad_scale.view(weights.shape).to(weights.dtype)
        grad_matrices = gradient_of_matrices(grad_z, kept) if wanted[0] else None
        return pointwise(grad_z, feedback.transpose(1, 2)), grad_matrices, grad_weights


class _Shared(torch.autograd.Function):
    """Depthwise convs of one input x (N, H, W, C), pointwise ones, BatchNorm, mixture → (E, P, C)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernels: Tensor, matrices: Tensor, weights: Tensor, feedback: Sequence[Tensor], norm: Any, dilation: int
    ) -> Tensor:
        x, kernels, matrices, *ctx.feedback = precision(x, kernels, matrices, *feedback)
        members = len(matrices)
        ctx.dilation, ctx.learned = dilation, ctx.needs_input_grad[2]
        h = depthwise(repeated(x, members), kernels, 1, dilation).view(-1, members, x.shape[3])
        mixed, kept, ctx.known = _Mixture.forward(h, matrices, weights, norm, ctx.learned)
        ctx.save_for_backward(x, matrices, weights, kept)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, matrices, weights, kept = ctx.saved_tensors
        need_x, need_kernels, *wanted = ctx.needs_input_grad[:4]
        grad_h, grad_matrices, grad_weights = _Mixture.back(
            grad.to(kept.dtype), kept, matrices, ctx.feedback[1], weights, ctx.known, wanted, ctx.learned
        )
        members = len(matrices)
        grad_x, grad_kernels = depthwise_back(
            grad_h.view(*x.shape[:3], -1), again(x, members, need_kernels), ctx.feedback[0], (need_x, need_kernels), 1, ctx.dilation
        )
        return summed(grad_x, members), grad_kernels, grad_matrices, grad_weights, None, None, None


class _Separable(torch.autograd.Function):
    """Depthwise convs of one input x (N, H, W, C), pointwise ones, BatchNorm, ReLU; the same of what this gives, with a mixture."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Tensor,
        matrices: Tensor,
        second: Tensor,
        last: Tensor,
        weights: Tensor,
        feedback: Sequence[Tensor],
        halfway: Any,
        norm: Any,
        stride: int,
    ) -> Tensor:
        x, kernels, matrices, second, last, *ctx.feedback = precision(x, kernels, matrices, second, last, *feedback)
        members, channels = len(matrices), x.shape[3]
        ctx.stride, ctx.learned = stride, ctx.needs_input_grad[2]
        maps = depthwise(repeated(x, members), kernels, stride)
        h = maps.view(-1, members, channels)
        z = pointwise(h, matrices)
        y, ctx.halfway = normalised(z, None, halfway)
        positive = y.relu_().view(maps.shape)
        last_h = depthwise(positive, second).view(-1, members, channels)
        mixed, kept, ctx.known = _Mixture.forward(last_h, last, weights, norm, ctx.learned)
        ctx.save_for_backward(x, matrices, last, weights, h if ctx.learned else z, positive, kept)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, matrices, last, weights, early, positive, kept = ctx.saved_tensors
        need_x, need_kernels, need_matrices, need_second, need_last, need_weights = ctx.needs_input_grad[:6]
        B_kernels, B_matrices, B_second, B_last = ctx.feedback
        grad_last_h, grad_last, grad_weights = _Mixture.back(
            grad.to(kept.dtype), kept, last, B_last, weights, ctx.known, (need_last, need_weights), ctx.learned
        )
        grad_y, grad_second = depthwise_back(grad_last_h.view(positive.shape), positive, B_second, (True, need_second))
        torch.ops.aten.threshold_backward.grad_input(grad_y, positive, 0, grad_input=grad_y)
        z = pointwise(early, matrices) if ctx.learned else early
        grad_z, _ = normalised_back(grad_y, z, ctx.halfway, False)
        grad_matrices = gradient_of_matrices(grad_z, early) if need_matrices else None
        grad_h = pointwise(grad_z, B_matrices.transpose(1, 2)).view(positive.shape)
        members = len(matrices)
        grad_x, grad_kernels = depthwise_back(grad_h, again(x, members, need_kernels), B_kernels, (need_x, need_kernels), ctx.stride)
        return summed(grad_x, members), grad_kernels, grad_matrices, grad_second, grad_last, grad_weights, None, None, None, None


class _Product(torch.autograd.Function):
    """Pointwise convs: h (P, M, in), matrices (M, out, in) → (P, M, out)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, matrices: Tensor, feedback: Tensor) -> Tensor:
        h, matrices, ctx.feedback = precision(h, matrices, feedback)
        ctx.save_for_backward(h)
        return pointwise(h, matrices)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (h,) = ctx.saved_tensors
        need_h, need_matrices, _ = ctx.needs_input_grad
        grad = grad.to(h.dtype).contiguous()
        grad_h = pointwise(grad, ctx.feedback.transpose(1, 2)) if need_h else None
        return grad_h, gradient_of_matrices(grad, h) if need_matrices else None, None
