"""Convs of many layers at once, as products of matrices; each hands its error down through its own B.

Maps are (C, H, W, N), the batch last: a shifted copy then moves N numbers at a time, and not a short row of pixels.
Where W and B come together, (2, …), the first is W and the last is B; where they are the same, or B is not needed, there is but one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SIDE = 5  # of the largest kernel; smaller ones have a rim of zeros
SMALL = 64  # pixels of a map up to which a depthwise conv is quickest as a product with its whole matrix


def pad(x: Tensor, dilation: int) -> Tensor:
    """Put as many zeros around each map as the largest kernel reaches over its edge. (C, H, W, N) → (C, H + 4·dilation, …)."""
    return F.pad(x, (0, 0, *(2 * dilation,) * 4))


def taps(padded: Tensor, stride: int, dilation: int) -> Tensor:
    """Lay out the 25 shifted copies of every channel of a padded input: (C, H + 4·dilation, …, N) → (C, 25, H'·W'·N)."""
    channels, height, width, images = padded.shape
    sc, sh, sw, sn = padded.stride()
    rows, columns = ((size - 4 * dilation - 1) // stride + 1 for size in (height, width))
    size = (channels, SIDE, SIDE, rows, columns, images)
    view = padded.as_strided(size, (sc, dilation * sh, dilation * sw, stride * sh, stride * sw, sn))
    return view.reshape(channels, SIDE * SIDE, -1)


def fold(grad: Tensor, shape: torch.Size, stride: int, dilation: int) -> Tensor:
    """Add the 25 copies up again, first over columns, then over rows: the adjoint of `taps` of `pad`. `shape` is the padded one."""
    channels, height, width, images = shape
    rim = 2 * dilation
    rows, columns = ((size - 2 * rim - 1) // stride + 1 for size in (height, width))
    grad = grad.view(channels, SIDE, SIDE, rows, columns, images)
    wide = grad.new_zeros(channels, SIDE, rows, width, images)
    for j in range(SIDE):
        wide[:, :, :, j * dilation : j * dilation + (columns - 1) * stride + 1 : stride].add_(grad[:, :, j])
    high = grad.new_zeros(channels, height, width - 2 * rim, images)
    for i in range(SIDE):
        high[:, i * dilation : i * dilation + (rows - 1) * stride + 1 : stride].add_(wide[:, i, :, rim : width - rim])
    return high[:, rim : height - rim]


def _gradient_of_weights(both: Tensor, grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of W and B together: grad xᵀ, and nothing."""
    out = torch.zeros_like(both, dtype=grad.dtype, memory_format=torch.contiguous_format)
    torch.bmm(grad, x.transpose(1, 2), out=out[0])
    return out


class SharedDepthwise(torch.autograd.Function):
    """Depthwise convs of one input under many kernels: x (C, H, W, N), kernels (2, C, M, 25) → (C, M, H'·W'·N)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, stride: int, dilation: int) -> Tensor:
        padded = pad(x, dilation)
        ctx.save_for_backward(padded, kernels)
        ctx.geometry = (stride, dilation)
        return torch.bmm(kernels[0], taps(padded, stride, dilation))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        padded, kernels = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # autocast's output has a lower precision
        need_x, need_kernels = ctx.needs_input_grad[:2]
        grad_x = fold(torch.bmm(kernels[-1].transpose(1, 2), grad), padded.shape, *ctx.geometry) if need_x else None
        # Laid out again rather than kept: 25 times the input would be the largest thing in memory.
        grad_kernels = _gradient_of_weights(kernels, grad, taps(padded, *ctx.geometry)) if need_kernels else None
        return grad_x, grad_kernels, None, None


class Product(torch.autograd.Function):
    """Pointwise convs, batched: x (M, in, P), matrices (2, M, out, in) → (M, out, P)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrices)
        return torch.bmm(matrices[0], x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, matrices = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        need_x, need_matrices = ctx.needs_input_grad
        grad_x = torch.bmm(matrices[-1].transpose(1, 2), grad) if need_x else None
        return grad_x, _gradient_of_weights(matrices, grad, x) if need_matrices else None


Grid = tuple[tuple[int, int], ...]  # of a conv: the map's size, the kernel's, stride, padding, dilation


@lru_cache
def _reach(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which tap leads from which pixel to which: (taps, from, to), ones and zeros."""
    (height, width), kernel, stride, padding, dilation = grid
    pixels = torch.eye(height * width, dtype=dtype, device=device).view(-1, 1, height, width)
    return F.unfold(pixels, kernel, dilation, padding, stride).transpose(0, 1).contiguous()


class SmallDepthwise(torch.autograd.Function):
    """Depthwise convs on small maps, as products with the matrices that they are.

    x (channels, H·W, N) and kernels (2, channels, taps) → (channels, H'·W', N).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(x, kernels)
        ctx.grid = grid
        return torch.bmm(SmallDepthwise.matrix(kernels[0], grid).transpose(1, 2), x)

    @staticmethod
    def matrix(kernel: Tensor, grid: Grid) -> Tensor:
        """(channels, taps) → (channels, from, to)."""
        reach = _reach(grid, kernel.dtype, kernel.device)
        return (kernel @ reach.flatten(1)).view(-1, *reach.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, kernels = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        need_x, need_kernels = ctx.needs_input_grad[:2]
        grad_x = torch.bmm(SmallDepthwise.matrix(kernels[-1], ctx.grid), grad) if need_x else None
        if not need_kernels:
            return grad_x, None, None
        pairs = torch.bmm(x, grad.transpose(1, 2)).flatten(1)  # (channels, from · to)
        out = torch.zeros_like(kernels)
        torch.mm(pairs, _reach(ctx.grid, grad.dtype, grad.device).flatten(1).t(), out=out[0])
        return grad_x, out, None


@lru_cache
def _bands(height: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which row of the kernel leads from which row to which: (5, to · from), ones and zeros."""
    rows = torch.arange(height, device=device)
    steps = torch.arange(SIDE, device=device) - SIDE // 2
    return (rows[:, None] + steps[:, None, None] == rows).to(dtype).flatten(1)


class LargeDepthwise(torch.autograd.Function):
    """Depthwise 5×5 convs of stride 1: for each of the kernel's columns one product, of a banded matrix over rows with shifted maps.

    x (channels, H, W, N) and kernels (2, channels, 25) → (channels, H, W, N).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernels)
        return LargeDepthwise.conv(x, kernels[0])

    @staticmethod
    def conv(x: Tensor, kernel: Tensor) -> Tensor:
        height = x.shape[1]
        by_column = kernel.view(-1, SIDE, SIDE).permute(2, 0, 1)  # (columns, channels, rows)
        bands = (by_column @ _bands(height, x.dtype, x.device)).view(SIDE, -1, height, height)
        columns = LargeDepthwise.columns(x)
        out = torch.bmm(bands[0], columns[0])
        for j in range(1, SIDE):
            out = torch.baddbmm(out, bands[j], columns[j])  # out of place, so that autocast sees it
        return out.view(x.shape)

    @staticmethod
    def columns(x: Tensor) -> list[Tensor]:
        """The maps as each of the kernel's columns sees them, shifted and padded: views of (channels, H, W·N)."""
        width, images = x.shape[2:]
        rim = SIDE // 2
        padded = F.pad(x, (0, 0, rim, rim)).flatten(2)
        return [padded[:, :, j * images : (j + width) * images] for j in range(SIDE)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, kernels = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        need_x, need_kernels = ctx.needs_input_grad
        grad = grad.contiguous()
        grad_x = LargeDepthwise.conv(grad, kernels[-1].flip(1)) if need_x else None
        if not need_kernels:
            return grad_x, None
        rows = grad.flatten(2)  # (channels, H, W·N)
        pairs = torch.stack([torch.bmm(rows, columns.transpose(1, 2)) for columns in LargeDepthwise.columns(x)]).flatten(2)
        out = torch.zeros_like(kernels)
        by_column = pairs @ _bands(x.shape[1], grad.dtype, grad.device).t()  # (columns, channels, rows)
        out[0] = by_column.permute(1, 2, 0).flatten(1)
        return grad_x, out
