"""Candidate operations, each under a rule: DARTS's (Liu et al. 2018, §3.1.1), whose convs learn by feedback where asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bionas.kernels.pools import average_pool, max_pool
from bionas.rules import RuleConv2d
from bionas.space import Candidate


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, **options: Any) -> RuleConv2d:
    """Return a conv without bias; `options` are geometry, `rule`, `scale`, `init` and `brsf_redraw`."""
    return RuleConv2d(in_channels, out_channels, kernel, stride, bias=False, **options)


class ReLUConvBN(nn.Sequential):
    """A cell's preprocessing: 1×1."""

    def __init__(self, in_channels: int, channels: int, affine: bool, **learning: Any) -> None:
        super().__init__(nn.ReLU(), conv(in_channels, channels, 1, **learning), nn.BatchNorm2d(channels, affine=affine))


class DilConv(nn.Sequential):
    """Depthwise with dilation 2, then pointwise."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool, **learning: Any) -> None:
        depthwise = {"padding": kernel - 1, "dilation": 2, "groups": channels}
        super().__init__(
            nn.ReLU(),
            conv(channels, channels, kernel, stride, **depthwise, **learning),
            conv(channels, channels, 1, **learning),
            nn.BatchNorm2d(channels, affine=affine),
        )


class SepConv(nn.Sequential):
    """Depthwise and pointwise, twice; the first one has the stride."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool, **learning: Any) -> None:
        layers: list[nn.Module] = []
        for step in (stride, 1):
            layers += [
                nn.ReLU(),
                conv(channels, channels, kernel, step, padding=kernel // 2, groups=channels, **learning),
                conv(channels, channels, 1, **learning),
                nn.BatchNorm2d(channels, affine=affine),
            ]
        super().__init__(*layers)


class FactorizedReduce(nn.Module):
    """Halve the resolution with two 1×1 convs on shifted grids. Height and width must be even."""

    def __init__(self, in_channels: int, channels: int, affine: bool, **learning: Any) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels // 2, 1, 2, **learning)
        self.conv2 = conv(in_channels, channels - channels // 2, 1, 2, **learning)
        self.bn = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return self.bn(torch.cat([self.conv1(x), self.conv2(x[:, :, 1:, 1:])], dim=1))


class MaxPool(nn.MaxPool2d):
    """`max_pool` as a module, which is a max pool in torch's eyes, too."""

    stride: int

    def __init__(self, stride: int) -> None:
        super().__init__(3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(x, self.stride)


class AvgPool(nn.AvgPool2d):
    """`average_pool`, likewise."""

    stride: int

    def __init__(self, stride: int) -> None:
        super().__init__(3, stride, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return average_pool(x, self.stride)


class Zero(nn.Module):
    """`none`: zeros of the right shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def build(candidate: Candidate, channels: int, stride: int, affine: bool, released: bool = False, **learning: Any) -> nn.Module:
    """Return the candidate's module. `learning`: `scale`, `init`, `brsf_redraw`. `released` leaves skips on BP, as the public code.

    Pools carry no BatchNorm here; the supernet adds its own.
    """
    operation, rule = candidate.operation, candidate.rule or "bp"
    match operation.split("_"):
        case ["none"]:
            return Zero(stride)
        case ["max", "pool", _]:
            return MaxPool(stride)
        case ["avg", "pool", _]:
            return AvgPool(stride)
        case ["skip", "connect"]:
            if stride == 1:
                return nn.Identity()
            return FactorizedReduce(channels, channels, affine, rule="bp" if released else rule, **learning)
        case [kind, "conv", size]:
            make = SepConv if kind == "sep" else DilConv
            return make(channels, int(size[0]), stride, affine, rule=rule, **learning)
    raise ValueError(f"operation: {operation!r} is in the space, and not in bionas/networks/ops.py; allowed: what `build` has a case for")
