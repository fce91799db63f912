"""A network of one conv and one linear, for images of any size."""

import torch
from torch import nn

from bionas.networks import DEFAULTS, Normalize
from bionas.rules import RuleConv2d, RuleLinear, connect_output


class SmallNet(nn.Module):
    """Input (N, in_channels, H, W) in [0, 1]; output logits (N, num_classes). The linear sees the means of the image's quarters."""

    def __init__(self, rule, num_classes=10, in_channels=3, options=DEFAULTS):
        super().__init__()
        learning = {"rule": rule, **options.learning}
        self.conv = RuleConv2d(in_channels, 8, 3, padding=1, **learning)
        self.linear = RuleLinear(4 * 8, num_classes, **learning)
        self.normalize, self.output = Normalize(options.mean, options.std), connect_output(self)

    def forward(self, x):
        with self.output:
            x = self.conv(self.normalize(x)).relu()
            quarters = [part.mean((2, 3)) for half in x.chunk(2, 2) for part in half.chunk(2, 3)]
            return self.output.listen(self.linear(torch.cat(quarters, 1)))
