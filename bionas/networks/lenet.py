"""LeNet for images of 32×32 as in biotorch (LeCun et al. 1998, with ReLU and max pools): the network of its Fashion-MNIST table.

Every conv and linear follows the rule, the first and the last included, and has a bias.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bionas.networks.parts import DEFAULTS, Normalize, Options
from bionas.rules import RuleConv2d, RuleLinear, connect_output, seed_feedback


class LeNet(nn.Module):
    """Three convs of 5×5 and two linears. Input (N, in_channels, 32, 32) in [0, 1]; output logits (N, num_classes)."""

    def __init__(self, rule: str, num_classes: int = 10, in_channels: int = 1, options: Options = DEFAULTS) -> None:
        super().__init__()
        learning = {"rule": rule, **options.learning}
        self.normalize = Normalize(options.mean, options.std)
        self.conv1 = RuleConv2d(in_channels, 6, 5, **learning)
        self.conv2 = RuleConv2d(6, 16, 5, **learning)
        self.conv3 = RuleConv2d(16, 120, 5, **learning)
        self.linear1 = RuleLinear(120, 84, **learning)
        self.linear2 = RuleLinear(84, num_classes, **learning)
        self.output = connect_output(self)
        seed_feedback(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        with self.output:
            x = F.max_pool2d(F.relu(self.conv1(self.normalize(x))), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = F.relu(self.conv3(x)).flatten(1)
            return self.output.listen(self.linear2(F.relu(self.linear1(x))))
