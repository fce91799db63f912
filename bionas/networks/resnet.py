"""CIFAR ResNets (He et al. 2016, §4.2) under one learning rule: the paper's baselines.

Three stages of n blocks, 16, 32 and 64 channels, depth 6n + 2, and the shortcut of option A (every second pixel, zeros for the
new channels), which has no weights and so no rule. Every conv and linear follows the rule, the first and the last included.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bionas.networks.parts import DEFAULTS, Normalize, Options
from bionas.rules import RuleConv2d, RuleLinear, connect_output, seed_feedback


class Block(nn.Module):
    """Two 3×3 convs and a shortcut without weights."""

    def __init__(self, in_channels: int, channels: int, stride: int, **rule: Any) -> None:
        super().__init__()
        self.conv1 = RuleConv2d(in_channels, channels, 3, stride, padding=1, bias=False, **rule)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = RuleConv2d(channels, channels, 3, padding=1, bias=False, **rule)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return F.relu(out + F.pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before)))


class ResNet(nn.Module):
    """Depth 6n + 2. Input (N, in_channels, H, W) in [0, 1]; output logits (N, num_classes)."""

    def __init__(
        self,
        n: int,
        rule: str,
        num_classes: int = 10,
        in_channels: int = 3,
        options: Options = DEFAULTS,
    ) -> None:
        super().__init__()
        learning = {"rule": rule, **options.learning}
        self.normalize = Normalize(options.mean, options.std)
        self.conv = RuleConv2d(in_channels, 16, 3, padding=1, bias=False, **learning)
        self.bn = nn.BatchNorm2d(16)
        widths = [16] * n + [32] * n + [64] * n
        self.blocks = nn.Sequential()
        before = 16
        for width in widths:
            self.blocks.append(Block(before, width, 1 if width == before else 2, **learning))
            before = width
        self.linear = RuleLinear(64, num_classes, **learning)
        self.output = connect_output(self)
        seed_feedback(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        with self.output:
            x = F.relu(self.bn(self.conv(self.normalize(x))))
            return self.output.listen(self.linear(self.blocks(x).mean((2, 3))))


def resnet20(rule: str, num_classes: int = 10, in_channels: int = 3, options: Options = DEFAULTS) -> ResNet:
    """Return a ResNet-20 under `rule`."""
    return ResNet(3, rule, num_classes, in_channels, options)


def resnet56(rule: str, num_classes: int = 10, in_channels: int = 3, options: Options = DEFAULTS) -> ResNet:
    """Return a ResNet-56 under `rule`."""
    return ResNet(9, rule, num_classes, in_channels, options)
