"""Convs of many layers at once for a GPU, by its library's kernels: what costs there is not the launch but every pass over a map.

Maps are (C, H, W, N). To a conv of three dimensions, whose kernel is one wide in the last, that is one image of C channels, and nothing
has to be laid out anew:

    depthwise     one grouped conv; one that all members share reads its input once, however many members there are
    pointwise     a product a member, all in one batch, reading the depthwise output where it lies
    backward      the depthwise output is computed again, and only where pointwise weights learn: it is the largest thing not to keep
    mixture       the weights are those of BatchNorm, whose backward pass has their gradient

Where W and B come together, (2, …), the first is W and the last is B; where they are the same, or B is not needed, there is but one.
`bionas.kernels.batched` is the same for a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bionas.kernels.batched import SIDE, gradient_of_weights


def _options(stride: int, dilation: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return stride, padding and dilation of a 5×5 conv that keeps the size."""
    return (stride, stride, 1), (2 * dilation, 2 * dilation, 0), (dilation, dilation, 1)


def _depthwise(x: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """x (G, H, W, N) under kernels (…, 25), the same number of them a channel → (…, P')."""
    return F.conv3d(x[None], _weight(kernels), None, *_options(stride, dilation), len(x)).view(*kernels.shape[:-1], -1)


def _weight(kernels: Tensor) -> Tensor:
    return kernels.reshape(-1, 1, SIDE, SIDE, 1)


class Separable(torch.autograd.Function):
    """Depthwise, then pointwise, of one `shared` input, x (C, H, W, N), or of inputs of the members' own, x (M·C, H, W, N)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, matrices: Tensor, stride: int, dilation: int, shared: bool) -> Tensor:
        ctx.save_for_backward(x, kernels, matrices)
        ctx.geometry, ctx.shared = (stride, dilation), shared
        return torch.bmm(matrices[0], Separable.hidden(ctx, x, kernels))

    @staticmethod
    def hidden(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        """The depthwise output as (M, C, P'): where all share an input it lies channels first."""
        out = _depthwise(x, kernels[0], *ctx.geometry)
        return out.transpose(0, 1) if ctx.shared else out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, kernels, matrices = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # autocast's output has a lower precision
        need_x, need_kernels, need_matrices = ctx.needs_input_grad[:3]
        stride, padding, dilation = _options(*ctx.geometry)
        size = [(n - 1) // s + 1 for n, s in zip(x.shape[1:], stride, strict=True)]
        grad_matrices = gradient_of_weights(matrices, grad, Separable.hidden(ctx, x, kernels)) if need_matrices else None
        hidden = grad.new_empty(*kernels.shape[1:3], grad.shape[2])  # as the conv wants it
        torch.bmm(matrices[-1].transpose(1, 2), grad, out=hidden.transpose(0, 1) if ctx.shared else hidden)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            hidden.view(1, -1, *size),
            x[None],
            _weight(kernels[-1]),
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0, 0],
            len(x),
            [need_x, need_kernels, False],
        )
        grad_kernels = None
        if need_kernels:
            grad_kernels = torch.zeros_like(kernels)
            grad_kernels[0] = grad_weight.view(kernels.shape[1:])
        return None if grad_x is None else grad_x[0], grad_kernels, grad_matrices, None, None, None


def shared(x: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
    """Depthwise convs of one input: x (C, H, W, N), kernels (2, C, M, 25) → (M, C, P'); without a backward pass of their own."""
    return _depthwise(x, kernels[0], stride, dilation).transpose(0, 1)


def own(x: Tensor, kernels: Tensor) -> Tensor:
    """Depthwise convs of stride 1, of inputs of their own: x (M, C, H, W, N), kernels (2, M, C, 25) → (M, C, P')."""
    return _depthwise(x.flatten(0, 1), kernels[0], 1, 1)


def shared_separable(x: Tensor, kernels: Tensor, matrices: Tensor, stride: int, dilation: int) -> Tensor:
    """`shared`, then pointwise: matrices (2, M, out, in) → (M, out, P')."""
    return Separable.apply(x, kernels, matrices, stride, dilation, True)


def own_separable(x: Tensor, kernels: Tensor, matrices: Tensor) -> Tensor:
    """`own`, then pointwise."""
    return Separable.apply(x.flatten(0, 1), kernels, matrices, 1, 1, False)


def mixture(norm: Any, members: Tensor, weights: Tensor) -> Tensor:
    """BatchNorm of members (E·K, C, P), weighted by (E, K) and added up: (E, C·P)."""
    channels = members.shape[1]
    scale = weights.flatten().to(norm.running_mean.dtype).repeat_interleave(channels, output_size=weights.numel() * channels)
    options = {"training": norm.training, "momentum": norm.momentum, "eps": norm.eps}
    scaled = F.batch_norm(members.reshape(1, -1, members.shape[2]), norm.running_mean, norm.running_var, scale, **options)
    return scaled.view(*weights.shape, -1).sum(1)
