"""3×3 pools of (N, C, H, W), as torch computes them, in the layout in which torch does so rightly and quickly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def average_pool(x: Tensor, stride: int) -> Tensor:
    """Never channels last off a CPU, where the gradient is wrong, silently (pytorch/pytorch#188344)."""
    return F.avg_pool2d(x if x.is_cpu else x.contiguous(), 3, stride, 1, count_include_pad=False)


def max_pool(x: Tensor, stride: int) -> Tensor:
    """On a CPU torch's kernel for rows of pixels takes several times as long as that for channels last."""
    rows = x.is_cpu and x.is_contiguous()
    return _MaxPool.apply(x, stride) if rows else F.max_pool2d(x, 3, stride, 1)


class _MaxPool(torch.autograd.Function):
    """Channels last inside alone: a gradient in another layout than its map would slow down whatever takes it next."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.geometry = [3, 3], [stride, stride], [1, 1], [1, 1], False
        out, indices = torch.ops.aten.max_pool2d_with_indices(x, *ctx.geometry)
        ctx.save_for_backward(x, indices)
        return out.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, indices = ctx.saved_tensors
        last = grad.contiguous(memory_format=torch.channels_last)
        return torch.ops.aten.max_pool2d_with_indices_backward(last, x, *ctx.geometry, indices).contiguous(), None
