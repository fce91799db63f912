"""What every network of the suite has: normalisation as its first layer, and weights drawn by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bionas.rules import seed_feedback
from bionas.rules.feedback import INITS, FeedbackOwner
from bionas.seeds import generator


@dataclass(frozen=True)
class Options:
    """What every network is told beside its shape and rules: how its images are normalised, and how its feedback is set up.

    `mean` and `std` are per channel, of images in [0, 1]; `scale` (of uSF), `init` (the range of R) and `brsf_redraw` as in `RuleConv2d`.
    """

    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    scale: str = "init_std"
    init: str = "xavier"
    brsf_redraw: str = "update"

    @property
    def learning(self) -> dict[str, Any]:
        """Return what layers are told."""
        return {"scale": self.scale, "init": self.init, "brsf_redraw": self.brsf_redraw}


DEFAULTS = Options()
Model = TypeVar("Model", bound=nn.Module)


class Normalize(nn.Module):
    """(x − mean) / std per channel, as the first layer: attacks then work on images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.get_default_dtype()).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def named_weights(model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield (name, weight, bias) of every conv and linear, those of a bank by the names that they have outside of one."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield name, layer.weight, layer.bias
        elif isinstance(layer, FeedbackOwner):
            yield from ((name, weight, None) for name, weight in layer.banked())


@torch.no_grad()
def initialise(model: Model, seed: int, init: str = "xavier") -> Model:
    """Draw every conv and linear weight from the stream of its own name, the same under every rule (paper §3.4: Xavier).

    `kaiming` is torch's default, biases included; under `xavier` biases are 0. Also seeds the feedback with `seed`.
    """
    assert init in INITS
    for name, weight, bias in named_weights(model):
        stream = generator(seed, "init", name)
        if init == "xavier":
            nn.init.xavier_uniform_(weight, generator=stream)
        else:
            nn.init.kaiming_uniform_(weight, a=5**0.5, generator=stream)
        if bias is not None:
            bound = 0.0 if init == "xavier" else weight[0].numel() ** -0.5
            nn.init.uniform_(bias, -bound, bound, generator=stream)
    return seed_feedback(model, seed)


@contextmanager
def evaluating(model: Model) -> Iterator[Model]:
    """Evaluation mode within the block; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in modes:
            module.training = training
