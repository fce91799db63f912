"""Depthwise convs on a CPU whose backward pass takes torch many times as long as it need.

Torch is slow at dilated convs, so pixels that a dilated kernel sees together become maps of their own, and its conv an ordinary one.
It is slow at the weight gradient of 5×5 kernels, too, unless channels lie last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def is_slow(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether `depthwise` can take over from torch's conv of x (N, C, H, W), and is the quicker."""
    k, s, d = kernel[0], stride[0], dilation[0]
    square = (kernel, stride, padding, dilation) == ((k, k), (s, s), (d * (k // 2),) * 2, (d, d))
    if x.device.type != "cpu" or not x.is_contiguous() or not square:
        return False
    if d == 1:
        return k == 5
    return k in (3, 5) and (s == d or (s == 1 and x.shape[2] % d == x.shape[3] % d == 0))


def depthwise(x: Tensor, weight: Tensor, feedback: Tensor, stride: int, dilation: int) -> Tensor:
    """x (N, C, H, W), W and B (C, 1, k, k) → (N, C, H', W'). Around x lie zeros as far as the kernel reaches."""
    if dilation == 1:
        return _Depthwise.apply(x, weight, feedback, stride)
    if stride == dilation:
        return _Depthwise.apply(x[:, :, ::stride, ::stride].contiguous(), weight, feedback, 1)
    return together(_Depthwise.apply(apart(x, dilation), weight, feedback, 1), dilation)


def apart(x: Tensor, d: int) -> Tensor:
    """Every d-th pixel is a map of its own: (N, C, H, W) → (d·d·N, C, H/d, W/d)."""
    images, channels, height, width = x.shape
    return x.view(images, channels, height // d, d, width // d, d).permute(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // d, width // d)


def together(maps: Tensor, d: int) -> Tensor:
    """The inverse of `apart`."""
    _, channels, height, width = maps.shape
    return maps.view(d, d, -1, channels, height, width).permute(2, 3, 4, 0, 5, 1).reshape(-1, channels, height * d, width * d)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, feedback, stride):
        ctx.save_for_backward(x, feedback)
        reach = weight.shape[2] // 2
        ctx.geometry = (None, (stride, stride), (reach, reach), (1, 1), False, (0, 0), len(weight))
        return F.conv2d(x, weight, None, stride, reach, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, feedback = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # autocast's output has a lower precision
        need_x, need_weight = ctx.needs_input_grad[:2]
        grad_x = grad_weight = None
        if need_x:
            grad_x = torch.ops.aten.convolution_backward(grad, x, feedback, *ctx.geometry, [True, False, False])[0]
        if need_weight:
            last = (t.contiguous(memory_format=torch.channels_last) for t in (grad, x))
            grad_weight = torch.ops.aten.convolution_backward(*last, feedback, *ctx.geometry, [False, True, False])[1]
        return grad_x, grad_weight, None, None
