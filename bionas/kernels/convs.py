"""Convs for which torch takes several times as long on a CPU as it need: laid out anew, otherwise the same.

    small depthwise    on maps of a few pixels: a product with the whole matrix that the conv is
    pointwise          a product, without the rearranging that torch's convs begin and end with
    dilated depthwise  pixels that a dilated kernel sees together become a map of their own, its conv an ordinary one
    5×5 depthwise      the weight gradient is quick where channels lie last

Each takes (conv, x, B), with x (N, C, H, W) and B of the weight's shape, and hands its error down through B. Biases are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bionas.kernels.batched import SMALL, SmallDepthwise

Conv = Callable[[nn.Conv2d, Tensor, Tensor], Tensor]


def quicker(conv: nn.Conv2d, x: Tensor) -> Conv | None:
    """Return the function that is quicker than torch's for this conv of this x, if one is: on a CPU alone."""
    if not x.is_cpu or x.dim() != 4 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    depthwise = 1 < conv.groups == conv.in_channels == conv.out_channels
    if depthwise and x.shape[2] * x.shape[3] <= SMALL:
        return small_depthwise
    if not x.is_contiguous() or conv.stride != conv.stride[:1] * 2:
        return None
    if conv.kernel_size == (1, 1) and conv.padding == (0, 0) and conv.groups == 1:
        return pointwise
    if depthwise and torch.is_grad_enabled() and conv.kernel_size in ((3, 3), (5, 5)):
        k, s, d = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
        if conv.dilation != (d, d) or conv.padding != (d * (k // 2),) * 2:
            return None
        if d == 1:
            return plain_depthwise if k == 5 else None
        if s == d:
            return strided_depthwise
        if s == 1 and x.shape[2] % d == x.shape[3] % d == 0:
            return dilated_depthwise
    return None


def small_depthwise(conv: nn.Conv2d, x: Tensor, feedback: Tensor) -> Tensor:
    weight = conv.weight.flatten(1)
    both = weight[None] if feedback is conv.weight else torch.stack([weight, feedback.flatten(1)])
    grid: Any = (tuple(x.shape[2:]), conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    out = SmallDepthwise.apply(_BatchLast.apply(x), both, grid).permute(2, 0, 1)
    size = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*grid, strict=True))
    return out.contiguous().unflatten(2, tuple(size))


def pointwise(conv: nn.Conv2d, x: Tensor, feedback: Tensor) -> Tensor:
    x = _every(x, conv.stride[0])
    return _Pointwise.apply(x.flatten(2), conv.weight.flatten(1), feedback.detach().flatten(1)).unflatten(2, x.shape[2:])


def plain_depthwise(conv: nn.Conv2d, x: Tensor, feedback: Tensor) -> Tensor:
    return _Depthwise.apply(x, conv.weight, feedback.detach(), conv.stride[0])


def strided_depthwise(conv: nn.Conv2d, x: Tensor, feedback: Tensor) -> Tensor:
    """Stride and dilation the same: the other pixels are never seen."""
    return _Depthwise.apply(_every(x, conv.stride[0]), conv.weight, feedback.detach(), 1)


def dilated_depthwise(conv: nn.Conv2d, x: Tensor, feedback: Tensor) -> Tensor:
    maps = _Depthwise.apply(apart(x, conv.dilation[0]), conv.weight, feedback.detach(), 1)
    return together(maps, conv.dilation[0])


def apart(x: Tensor, d: int) -> Tensor:
    """Make maps of pixels d apart: (N, C, H, W) → (d·d·N, C, H/d, W/d)."""
    images, channels, height, width = x.shape
    return x.view(images, channels, height // d, d, width // d, d).permute(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // d, width // d)


def together(maps: Tensor, d: int) -> Tensor:
    """The inverse of `apart`."""
    _, channels, height, width = maps.shape
    return maps.view(d, d, -1, channels, height, width).permute(2, 3, 4, 0, 5, 1).reshape(-1, channels, height * d, width * d)


def _every(x: Tensor, stride: int) -> Tensor:
    return x if stride == 1 else x[:, :, ::stride, ::stride].contiguous()


class _BatchLast(torch.autograd.Function):
    """(N, C, H, W) → (C, H·W, N). The gradient comes back laid out as x, since a ReLU's would take twenty times as long otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[2:]
        return x.transpose(0, 1).flatten(2).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.permute(2, 0, 1).contiguous().unflatten(2, ctx.size)


class _Pointwise(torch.autograd.Function):
    """x (N, in, P), W and B (out, in) → (N, out, P)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        return torch.bmm(weight.expand(len(x), -1, -1), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, feedback = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # autocast's output has a lower precision
        need_x, need_weight = ctx.needs_input_grad[:2]
        grad_x = torch.bmm(feedback.t().expand(len(x), -1, -1), grad) if need_x else None
        grad_weight = torch.bmm(grad, x.transpose(1, 2)).sum(0) if need_weight else None
        return grad_x, grad_weight, None


class _Depthwise(torch.autograd.Function):
    """x (N, C, H, W), W and B (C, 1, k, k), dilation 1, padding k // 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, feedback: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, feedback)
        reach = weight.shape[2] // 2
        ctx.geometry = (None, (stride, stride), (reach, reach), (1, 1), False, (0, 0), len(weight))
        return F.conv2d(x, weight, None, stride, reach, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, feedback = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        need_x, need_weight = ctx.needs_input_grad[:2]
        grad_x = grad_weight = None
        if need_x:
            grad_x = torch.ops.aten.convolution_backward(grad, x, feedback, *ctx.geometry, [True, False, False])[0]
        if need_weight:
            last = (t.contiguous(memory_format=torch.channels_last) for t in (grad, x))
            grad_weight = torch.ops.aten.convolution_backward(*last, feedback, *ctx.geometry, [False, True, False])[1]
        return grad_x, grad_weight, None, None
