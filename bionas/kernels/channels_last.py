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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bionas.kernels.batched import SIDE

GATHERED = True  # W and B of all of a cell's layers come by one gather, apart
PART = 1024  # pixels of a part of a weight gradient
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
    learns: bool,
) -> Tensor:
    """Mix sep convs of a positive x, (N, H, W, C), with BatchNorms `halfway` and `norm` → (E, P'·C)."""
    W, B = zip(kernels, matrices, second, last, strict=True)
    return _Separable.apply(x, *W, weights, B, halfway, norm, stride).flatten(1)


def dilated(x: Tensor, kernels: Pair, matrices: Pair, norm: Any, weights: Tensor, stride: int, learns: bool) -> Tensor:
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
    y = _batch_norm(norm, torch.cat(parts, 2).flatten(1)).view(-1, *weights.shape, x.shape[3])
    return torch.einsum("ek,pekc->epc", weights.to(y.dtype), y).flatten(1)


def pooled(x: Tensor, norm: Any, stride: int) -> Tensor:
    """Return max and average pool of x, normalised, and at stride 1 x itself: (2 or 3, P'·C)."""
    maps = x.permute(0, 3, 1, 2)
    first = maps.contiguous()  # channels last, CUDA's gradient of an average pool with padding is wrong (pytorch/pytorch#188344)
    pools = [F.max_pool2d(maps, 3, stride, 1), F.avg_pool2d(first, 3, stride, 1, count_include_pad=False)]
    side_by_side = torch.cat([pool.permute(0, 2, 3, 1) for pool in pools], 3)  # (N, H', W', 2·C)
    normalised = _batch_norm(norm, side_by_side.flatten(0, 2)).unflatten(1, (2, -1)).unbind(1)
    return torch.stack(normalised if stride == 2 else (*normalised, x.view(-1, x.shape[3]))).flatten(1)


def parts(mixed: Tensor, like: Tensor, stride: int) -> Tensor:
    """What edges hand on, (E, P'·C), as maps: (E, N, H', W', C)."""
    images, height, width, channels = like.shape
    return mixed.view(-1, images, (height - 1) // stride + 1, (width - 1) // stride + 1, channels)


# ---------------------------------------------------------------------------------------------- forward, and back


def _precision(*tensors: Tensor) -> list[Tensor]:
    """As autocast has it, which does not look into what follows."""
    kind = tensors[0].device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors] if enabled else list(tensors)


def _repeated(x: Tensor, members: int) -> Tensor:
    """(N, H, W, C) → (N, H, W, M·C)."""
    return x.unsqueeze(3).expand(*x.shape[:3], members, x.shape[3]).flatten(3)


def _geometry(stride: int, dilation: int) -> tuple[list[int], list[int], list[int]]:
    return [stride] * 2, [SIDE // 2 * dilation] * 2, [dilation] * 2


def _depthwise(x: Tensor, kernels: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """x (N, H, W, M·C), kernels (M, C, 25) → (N, H', W', M·C)."""
    weight = kernels.reshape(-1, 1, SIDE, SIDE)
    return F.conv2d(x.permute(0, 3, 1, 2), weight, None, *_geometry(stride, dilation), len(weight)).permute(0, 2, 3, 1).contiguous()


def _depthwise_back(grad: Tensor, x: Tensor, feedback: Tensor, wanted: Sequence[bool], stride: int = 1, dilation: int = 1) -> Any:
    """Return the gradients of x, through B, and of the kernels, as far as wanted."""
    weight = feedback.reshape(-1, 1, SIDE, SIDE)
    grads = torch.ops.aten.convolution_backward(
        grad.permute(0, 3, 1, 2),
        x.permute(0, 3, 1, 2),
        weight,
        None,
        *_geometry(stride, dilation),
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )
    grad_x = grads[0].permute(0, 2, 3, 1).contiguous() if wanted[0] else None
    return grad_x, grads[1].view(feedback.shape) if wanted[1] else None


def _pointwise(h: Tensor, matrices: Tensor) -> Tensor:
    """h (P, M, in), matrices (M, out, in) → (P, M, out)."""
    out = h.new_empty(len(h), *matrices.shape[:2])
    torch.bmm(h.transpose(0, 1), matrices.transpose(1, 2), out=out.transpose(0, 1))
    return out


def _gradient_of_matrices(grad: Tensor, h: Tensor) -> Tensor:
    """grad (P, M, out), h (P, M, in) → (M, out, in)."""
    pixels, members, width = grad.shape
    parts = pixels // PART & -(pixels // PART) if pixels % PART == 0 else 1  # its largest power of two
    by_part = torch.bmm(
        grad.view(pixels // parts, parts * members, width).permute(1, 2, 0),  # every parts-th pixel: a view
        h.view(pixels // parts, parts * members, -1).transpose(0, 1),
    )
    return by_part.view(parts, members, width, -1).sum(0)


class _Statistics(NamedTuple):
    """What BatchNorm's backward pass wants to know: its scale, buffers, the batch's statistics, and how it ran."""

    scale: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    mean: Tensor
    inv: Tensor
    training: bool
    eps: float


def _normalised(z: Tensor, scale: Tensor | None, norm: Any) -> tuple[Tensor, _Statistics]:
    """BatchNorm of (P, M, C), each of M·C channels over its pixels."""
    buffers = norm.running_mean, norm.running_var
    y, mean, inv = torch.native_batch_norm(z.flatten(1), scale, None, *buffers, norm.training, norm.momentum, norm.eps)
    return y, _Statistics(scale, *buffers, mean, inv, norm.training, norm.eps)


def _normalised_back(grad: Tensor, z: Tensor, known: _Statistics, need_scale: bool) -> tuple[Tensor, Tensor | None]:
    """grad and z (P, M, C) → the gradients of z and of the scale."""
    grad_z, grad_scale, _ = torch.ops.aten.native_batch_norm_backward(
        grad.view(len(z), -1), z.flatten(1), *known, [True, need_scale, False]
    )
    return grad_z.view(z.shape), grad_scale if need_scale else None


class _Mixture:
    """Pointwise convs, BatchNorm, mixture: (P, M, C) → (E, P, C)."""

    @staticmethod
    def forward(h: Tensor, matrices: Tensor, weights: Tensor, norm: Any, learns: bool) -> tuple[Tensor, Tensor, _Statistics]:
        """Return the mixture, the map that is kept, and statistics."""
        z = _pointwise(h, matrices)
        y, known = _normalised(z, weights.flatten().to(norm.running_mean.dtype), norm)
        return y.view(len(z), len(weights), -1, z.shape[2]).permute(1, 0, 2, 3).sum(2), h if learns else z, known

    @staticmethod
    def back(
        grad: Tensor,
        kept: Tensor,
        matrices: Tensor,
        feedback: Tensor,
        weights: Tensor,
        known: _Statistics,
        wanted: Sequence[bool],
        learned: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the gradients of h, of matrices and weights as far as wanted."""
        z = _pointwise(kept, matrices) if learned else kept
        members = z.shape[1] // len(weights)
        spread = grad.permute(1, 0, 2).unsqueeze(2).expand(-1, -1, members, -1).contiguous().view(z.shape)
        grad_z, grad_scale = _normalised_back(spread, z, known, wanted[1])
        grad_weights = None if grad_scale is None else grad_scale.view(weights.shape).to(weights.dtype)
        grad_matrices = _gradient_of_matrices(grad_z, kept) if wanted[0] else None
        return _pointwise(grad_z, feedback.transpose(1, 2)), grad_matrices, grad_weights


class _Shared(torch.autograd.Function):
    """Depthwise convs of one input x (N, H, W, C), pointwise ones, BatchNorm, mixture → (E, P, C)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernels: Tensor, matrices: Tensor, weights: Tensor, feedback: Sequence[Tensor], norm: Any, dilation: int
    ) -> Tensor:
        x, kernels, matrices, *ctx.feedback = _precision(x, kernels, matrices, *feedback)
        members = len(matrices)
        ctx.dilation, ctx.learned = dilation, ctx.needs_input_grad[2]
        h = _depthwise(_repeated(x, members), kernels, 1, dilation).view(-1, members, x.shape[3])
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
        grad_x, grad_kernels = _depthwise_back(
            grad_h.view(*x.shape[:3], -1), _again(x, members, need_kernels), ctx.feedback[0], (need_x, need_kernels), 1, ctx.dilation
        )
        return _summed(grad_x, members), grad_kernels, grad_matrices, grad_weights, None, None, None


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
        x, kernels, matrices, second, last, *ctx.feedback = _precision(x, kernels, matrices, second, last, *feedback)
        members, channels = len(matrices), x.shape[3]
        ctx.stride, ctx.learned = stride, ctx.needs_input_grad[2]
        maps = _depthwise(_repeated(x, members), kernels, stride)
        h = maps.view(-1, members, channels)
        z = _pointwise(h, matrices)
        y, ctx.halfway = _normalised(z, None, halfway)
        positive = y.relu_().view(maps.shape)
        again = _depthwise(positive, second).view(-1, members, channels)
        mixed, kept, ctx.known = _Mixture.forward(again, last, weights, norm, ctx.learned)
        ctx.save_for_backward(x, matrices, last, weights, h if ctx.learned else z, positive, kept)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, matrices, last, weights, early, positive, kept = ctx.saved_tensors
        need_x, need_kernels, need_matrices, need_second, need_last, need_weights = ctx.needs_input_grad[:6]
        first, pointwise, second, final = ctx.feedback
        grad_again, grad_last, grad_weights = _Mixture.back(
            grad.to(kept.dtype), kept, last, final, weights, ctx.known, (need_last, need_weights), ctx.learned
        )
        grad_y, grad_second = _depthwise_back(grad_again.view(positive.shape), positive, second, (True, need_second))
        torch.ops.aten.threshold_backward.grad_input(grad_y, positive, 0, grad_input=grad_y)
        z = _pointwise(early, matrices) if ctx.learned else early
        grad_z, _ = _normalised_back(grad_y, z, ctx.halfway, False)
        grad_matrices = _gradient_of_matrices(grad_z, early) if need_matrices else None
        grad_h = _pointwise(grad_z, pointwise.transpose(1, 2)).view(positive.shape)
        members = len(matrices)
        grad_x, grad_kernels = _depthwise_back(grad_h, _again(x, members, need_kernels), first, (need_x, need_kernels), ctx.stride)
        return _summed(grad_x, members), grad_kernels, grad_matrices, grad_second, grad_last, grad_weights, None, None, None, None


def _again(x: Tensor, members: int, read: bool) -> Tensor:
    """`_repeated`; or, unless anybody will read it, memory of that shape."""
    return _repeated(x, members) if read else x.new_empty(*x.shape[:3], members * x.shape[3])


def _summed(grad: Tensor | None, members: int) -> Tensor | None:
    """The adjoint of `_repeated`."""
    return None if grad is None else grad.unflatten(3, (members, -1)).sum(3)


class _Product(torch.autograd.Function):
    """Pointwise convs: h (P, M, in), matrices (M, out, in) → (P, M, out)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, matrices: Tensor, feedback: Tensor) -> Tensor:
        h, matrices, ctx.feedback = _precision(h, matrices, feedback)
        ctx.save_for_backward(h)
        return _pointwise(h, matrices)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (h,) = ctx.saved_tensors
        need_h, need_matrices, _ = ctx.needs_input_grad
        grad = grad.to(h.dtype).contiguous()
        grad_h = _pointwise(grad, ctx.feedback.transpose(1, 2)) if need_h else None
        return grad_h, _gradient_of_matrices(grad, h) if need_matrices else None, None


def _batch_norm(norm: Any, z: Tensor) -> Tensor:
    """BatchNorm of the columns of (P, channels)."""
    return F.batch_norm(z, norm.running_mean, norm.running_var, training=norm.training, momentum=norm.momentum, eps=norm.eps)
