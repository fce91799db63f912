"""What is done to maps that lie channels last, forward and back, as functions that autograd does not look into.

Maps are (N, H, W, C), members (P, M, C) with P = N·H·W, kernels (M, C, 25), matrices (M, out, in). `channels_last` is made of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bionas.kernels.batched import SIDE

PART = 1024  # pixels of a part of a weight gradient


def precision(*tensors: Tensor) -> list[Tensor]:
    """As autocast has it, which does not look into what follows."""
    kind = tensors[0].device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors] if enabled else list(tensors)


def repeated(x: Tensor, members: int) -> Tensor:
    """(N, H, W, C) → (N, H, W, M·C)."""
    return x.unsqueeze(3).expand(*x.shape[:3], members, x.shape[3]).flatten(3)


def _geometry(stride: int, dilation: int) -> tuple[list[int], list[int], list[int]]:
    return [stride] * 2, [SIDE // 2 * dilation] * 2, [dilation] * 2


def depthwise(x: Tensor, kernels: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """x (N, H, W, M·C), kernels (M, C, 25) → (N, H', W', M·C)."""
    weight = kernels.reshape(-1, 1, SIDE, SIDE)
    return F.conv2d(x.permute(0, 3, 1, 2), weight, None, *_geometry(stride, dilation), len(weight)).permute(0, 2, 3, 1).contiguous()


def depthwise_back(grad: Tensor, x: Tensor, feedback: Tensor, wanted: Sequence[bool], stride: int = 1, dilation: int = 1) -> Any:
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


def pointwise(h: Tensor, matrices: Tensor) -> Tensor:
    """h (P, M, in), matrices (M, out, in) → (P, M, out)."""
    out = h.new_empty(len(h), *matrices.shape[:2])
    torch.bmm(h.transpose(0, 1), matrices.transpose(1, 2), out=out.transpose(0, 1))
    return out


def gradient_of_matrices(grad: Tensor, h: Tensor) -> Tensor:
    """grad (P, M, out), h (P, M, in) → (M, out, in)."""
    pixels, members, width = grad.shape
    parts = pixels // PART & -(pixels // PART) if pixels % PART == 0 else 1  # its largest power of two
    by_part = torch.bmm(
        grad.view(pixels // parts, parts * members, width).permute(1, 2, 0),  # every parts-th pixel: a view
        h.view(pixels // parts, parts * members, -1).transpose(0, 1),
    )
    return by_part.view(parts, members, width, -1).sum(0)


class Statistics(NamedTuple):
    """What BatchNorm's backward pass wants to know: its scale, buffers, the batch's statistics, and how it ran."""

    scale: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    mean: Tensor
    inv: Tensor
    training: bool
    eps: float


def normalised(z: Tensor, scale: Tensor | None, norm: Any) -> tuple[Tensor, Statistics]:
    """BatchNorm of (P, M, C), each of M·C channels over its pixels."""
    buffers = norm.running_mean, norm.running_var
    y, mean, inv = torch.native_batch_norm(z.flatten(1), scale, None, *buffers, norm.training, norm.momentum, norm.eps)
    return y, Statistics(scale, *buffers, mean, inv, norm.training, norm.eps)


def normalised_back(grad: Tensor, z: Tensor, known: Statistics, need_scale: bool) -> tuple[Tensor, Tensor | None]:
    """grad and z (P, M, C) → the gradients of z and of the scale."""
    grad_z, grad_scale, _ = torch.ops.aten.native_batch_norm_backward(
        grad.view(len(z), -1), z.flatten(1), *known, [True, need_scale, False]
    )
    return grad_z.view(z.shape), grad_scale if need_scale else None


def again(x: Tensor, members: int, read: bool) -> Tensor:
    """`repeated`; or, unless anybody will read it, memory of that shape."""
    return repeated(x, members) if read else x.new_empty(*x.shape[:3], members * x.shape[3])


def summed(grad: Tensor | None, members: int) -> Tensor | None:
    """The adjoint of `repeated`."""
    return None if grad is None else grad.unflatten(3, (members, -1)).sum(3)


def batch_norm(norm: Any, z: Tensor) -> Tensor:
    """BatchNorm of the columns of (P, channels)."""
    return F.batch_norm(z, norm.running_mean, norm.running_var, training=norm.training, momentum=norm.momentum, eps=norm.eps)
