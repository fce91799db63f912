"""The network that a genotype stands for: DARTS's evaluation network (Liu et al. 2018, §3.1.2), each gene under its own rule.

`scope="cells"` leaves stem, preprocessing, auxiliary head and classifier on BP, as the released code does; `scope="all"` gives them
`outer_rule`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bionas.networks.ops import FactorizedReduce, ReLUConvBN, build, conv
from bionas.networks.parts import DEFAULTS, Normalize, Options
from bionas.rules import RuleLinear, seed_feedback
from bionas.space import Gene, Genotype, edge_stride, reductions

SCOPES = ("cells", "all")


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples of a path, and scale the others up (Larsson et al. 2017). Out of place."""
    keep = 1 - probability
    return x * (x.new_empty(len(x), 1, 1, 1).bernoulli_(keep) / keep)


class Cell(nn.Module):
    """Two preprocessed inputs; each node adds two genes."""

    def __init__(
        self,
        genes: Sequence[Gene],
        before: int,
        last: int,
        channels: int,
        reduction: bool,
        reduced: bool,
        outer: str,
        released: bool,
        **learning: Any,
    ) -> None:
        super().__init__()
        preprocess = {"affine": True, "rule": outer, **learning}
        self.preprocess0 = (FactorizedReduce if reduced else ReLUConvBN)(before, channels, **preprocess)
        self.preprocess1 = ReLUConvBN(last, channels, **preprocess)
        self.sources = [source for _, source in genes]
        self.ops = nn.ModuleList(
            build(candidate, channels, edge_stride(reduction, source), affine=True, released=released, **learning)
            for candidate, source in genes
        )

    def forward(self, s0: Tensor, s1: Tensor, drop: float) -> Tensor:
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        outputs = []
        for op, source in zip(self.ops, self.sources, strict=True):
            out = op(states[source])
            if self.training and drop > 0 and not isinstance(op, nn.Identity):
                out = drop_path(out, drop)
            outputs.append(out)
            if len(outputs) == 2:
                states.append(outputs[0] + outputs[1])
                outputs = []
        return torch.cat(states[2:], dim=1)


def auxiliary_pool(size: int) -> nn.Module | None:
    """Return what pools a map of this size to 2×2 for the auxiliary head; nothing if the map is smaller than 4×4.

    DARTS's own pool fits the 8×8 maps of 32×32 images alone. Others (ImageNet16-120's 4×4) are halved, odd ones by windows that share
    their middle row: an adaptive pool's windows, whose own backward CUDA refuses in deterministic mode.
    """
    if size == 8:
        return nn.AvgPool2d(5, stride=3, count_include_pad=False)
    return nn.AvgPool2d((size + 1) // 2, stride=size // 2) if size >= 4 else None


class Network(nn.Module):
    """Input (N, in_channels, S, S) in [0, 1], S a multiple of 4. Output: logits; in training, with an auxiliary head, (logits, auxiliary).

    `drop_path` is set by the training loop. Raises ValueError for images that the cells cannot halve twice.
    """

    def __init__(
        self,
        genotype: Genotype,
        in_channels: int,
        num_classes: int,
        channels: int,
        cells: int,
        image_size: int,
        auxiliary: bool = False,
        scope: str = "cells",
        outer_rule: str = "bp",
        released: bool = False,
        options: Options = DEFAULTS,
    ) -> None:
        super().__init__()
        check_image_size(image_size)
        learning = options.learning
        outer = outer_rule if scope == "all" else "bp"
        nodes = len(genotype.normal) // 2
        self.drop_path = 0.0
        self.normalize = Normalize(options.mean, options.std)
        width = 3 * channels
        self.stem = nn.Sequential(conv(in_channels, width, 3, padding=1, rule=outer, **learning), nn.BatchNorm2d(width))
        self.cells = nn.ModuleList()
        before = last = width
        reduced = False
        pool = auxiliary_pool(image_size // 4) if auxiliary else None
        self.auxiliary_at = 2 * cells // 3 if pool else None
        for i in range(cells):
            reduction = i in reductions(cells)
            channels *= 2 if reduction else 1
            genes = genotype.reduce if reduction else genotype.normal
            self.cells.append(Cell(genes, before, last, channels, reduction, reduced, outer, released, **learning))
            before, last, reduced = last, nodes * channels, reduction
            if pool and i == self.auxiliary_at:
                self.auxiliary_head = nn.Sequential(
                    nn.ReLU(),
                    pool,
                    conv(last, 128, 1, rule=outer, **learning),
                    nn.BatchNorm2d(128),
                    nn.ReLU(),
                    conv(128, 768, 2, rule=outer, **learning),
                    nn.BatchNorm2d(768),
                    nn.ReLU(),
                    nn.Flatten(),
                    RuleLinear(768, num_classes, rule=outer, **learning),
                )
        self.classifier = RuleLinear(last, num_classes, rule=outer, **learning)
        seed_feedback(self, 0)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        s0 = s1 = self.stem(self.normalize(x))
        auxiliary = None
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path)
            if i == self.auxiliary_at and self.training:
                auxiliary = self.auxiliary_head(s1)
        logits = self.classifier(s1.mean((2, 3)))
        return logits if auxiliary is None else (logits, auxiliary)


def check_image_size(size: int) -> None:
    """Raise ValueError unless cells can halve an image of this size twice."""
    if size < 4 or size % 4:
        raise ValueError(f"cells: reduction cells halve an image twice; {size}×{size} is no multiple of 4×4")
