"""Direct feedback alignment (Nøkland 2016): layers are handed the error of the network's output, noted as it comes back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Direct(torch.autograd.Function):
    """Hand y on. The error that x gets is the output's, through the layer's B."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, layer: Any, errors: list[Tensor]) -> Tensor:
        ctx.like, ctx.layer, ctx.errors = x.new_empty(()).expand(x.shape), layer, errors
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, error = ctx.like, ctx.errors[-1]
        B = ctx.layer.direct_feedback(error.shape[1], x)
        return grad, (error.to(B.dtype) @ B.flatten(1)).view(x.shape), None, None


class _Listen(torch.autograd.Function):
    """Hand the logits on; backward, note their error first of all."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, errors: list[Tensor]) -> Tensor:
        ctx.errors = errors
        return logits.view_as(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        ctx.errors.append(grad)
        return grad, None


class Output:
    """Where a network's output error is noted for layers with direct feedback; a forward pass has a note of its own."""

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self.errors: list[Tensor] | None = None

    def __enter__(self) -> None:
        self.errors = []

    def __exit__(self, *_: object) -> None:
        self.errors = None

    def listen(self, logits: Tensor) -> Tensor:
        return _Listen.apply(logits, self.errors) if self.needed and logits.requires_grad else logits
