"""The weights of many banks under the same rules, and their B, laid out by one gather: on a GPU every launch costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bionas.supernet.bank import Bank

Layers = Sequence[Tensor]  # kernels and matrices as a layout wants them, W and B together: (2, …), or (1, …) where they are the same
Pairs = list[tuple[Tensor, Tensor]]  # the same, W and B apart


class Gather:
    """Where every element of the banks goes. `layers(i, stacks)` says how bank i's stacks are laid out."""

    def __init__(self, banks: Sequence[Bank], layers: Callable[[int, dict[Any, Tensor]], Layers]) -> None:
        self.banks, self.device = banks, banks[0].weight.device
        widths = [bank.weight[0].numel() for bank in banks]
        starts, total = [0, *accumulate(widths)][:-1], sum(widths)
        self.shapes: list[list[torch.Size]] = []
        places = []
        for i, (bank, start) in enumerate(zip(banks, starts, strict=True)):
            rules, edges, elements = bank.weight.shape
            place = torch.arange(rules).view(-1, 1, 1) * total + start + torch.arange(1, edges * elements + 1).view(edges, elements)
            laid_out = layers(i, bank.stacked(place.transpose(0, 1)[None]))  # 0 is the rim of a kernel
            self.shapes.append([layer.shape[1:] for layer in laid_out])
            places += [layer.flatten() for layer in laid_out]
        whole = torch.cat(places)
        back = torch.empty(len(banks[0].rules) * total + 1, dtype=torch.int64)
        back[whole] = torch.arange(len(whole))  # each element has one place, the rim many
        self.widths = widths
        self.places, self.back = whole.to(self.device), back[1:].to(self.device)

    def __call__(self) -> list[Pairs]:
        """Return every bank's layers."""
        for bank in self.banks:
            bank.count_forward()
        W, B = _Gathered.apply(self, all(bank.plain for bank in self.banks), *(bank.weight for bank in self.banks))
        sizes = [shape.numel() for shapes in self.shapes for shape in shapes]
        parts = zip(W.split(sizes), B.split(sizes), strict=True)
        return [[(w.view(shape), b.view(shape)) for shape, (w, b) in zip(shapes, parts, strict=False)] for shapes in self.shapes]


class _Gathered(torch.autograd.Function):
    """Weights (rules, edges, elements) of every bank → W and B, each as one row of what is laid out. B gets no gradient."""

    @staticmethod
    def forward(ctx: Any, gather: Gather, plain: bool, *weights: Tensor) -> Any:
        ctx.gather, ctx.rules = gather, len(weights[0])
        first = gather.banks[0]
        whole = torch.cat([weight.flatten(1) for weight in weights], 1)
        both = [whole]
        if not plain:
            both.append(first.fed_back(whole, torch.cat([bank.magnitudes().flatten(1) for bank in gather.banks], 1)))
        rows = torch.nn.functional.pad(torch.stack(both).flatten(1), (1, 0)).index_select(1, gather.places)
        W, B = rows[0], rows[-1]
        ctx.mark_non_differentiable(B)
        return W, B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        whole = grad.index_select(0, ctx.gather.back).view(ctx.rules, -1)
        parts = whole.split(ctx.gather.widths, 1)
        return None, None, *(part.reshape(bank.weight.shape) for part, bank in zip(parts, ctx.gather.banks, strict=True))
