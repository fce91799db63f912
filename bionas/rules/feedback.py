"""R as a function: of (seed, layer name, update, element), and no generator's state.

So accumulation, checkpointing, resuming and replicas agree, and evaluation draws nothing. R is a buffer: never trained, never counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from bionas import catalog
from bionas.rules.table import Rule

SCALES = ("init_std", "none", "rms")  # of uSF's B: the initialiser's std (biotorch), 1 (equation 4), the weight's root mean square
INITS = ("xavier", "kaiming")
REDRAWS = ("update", "forward")  # when brSF draws: after an update (the paper), or at every forward (biotorch)
ALL = catalog.RULES | catalog.NETWORK_RULES


class FeedbackOwner(nn.Module):
    """What every module with feedback shares, a layer or a bank of them: the settings of R, its seed, and its update count."""

    rules: tuple[str, ...]

    def set_feedback(self, scale: str, init: str, redraw: str) -> None:
        self.scale = catalog.choose("scale", scale, SCALES)
        self.init = catalog.choose("init", init, INITS)
        self.redraw = catalog.choose("brsf_redraw", redraw, REDRAWS)
        self.exact = False  # B := W, see true_gradient
        self.reseed(0, "")

    def draw(self) -> None:
        """Draw R for this seed, name and update."""
        raise NotImplementedError

    def banked(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, weight) of layers that are no modules of their own."""
        return iter(())

    @staticmethod
    def definition(rule: str) -> Rule:
        return catalog.load(ALL[rule])

    def reseed(self, seed: int, name: str) -> None:
        """Start R's stream for this seed and layer name, at update 0."""
        self.seed, self.name, self.update = seed, name, 0
        self.draw()

    def advance(self) -> bool:
        """Count one weight update; say whether R has to be drawn anew."""
        return self.redraw == "update" and self._count()

    def count_forward(self) -> None:
        """Under `brsf_redraw: forward`, as biotorch: redraw at every forward, in evaluation, too."""
        if self.redraw == "forward" and not self.exact and self._count():
            self.draw()

    def _count(self) -> bool:
        self.update += 1
        return any(self.definition(rule).redraw for rule in self.rules)

    def get_extra_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "name": self.name, "update": self.update}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed, self.name, self.update = state["seed"], state["name"], state["update"]


def init_bound(weight: Tensor, init: str) -> float:
    """Return b of the U(-b, b) that the initialiser draws from: Glorot & Bengio 2010, or torch's default for `kaiming`."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    return math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else 1 / math.sqrt(fan_in)


def magnitude(rule: Rule, u: Tensor, bound: Tensor | float) -> Tensor:
    """Return R of the rule from uniform numbers in [0, 1): U(-bound, bound) where R is signed, its magnitude elsewhere."""
    return (2 * u - 1) * bound if rule.draw == "signed" else u * bound


@lru_cache(maxsize=64)
def places(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return whose each element is, and its place there from 1 on, of layers of these sizes one after the other."""
    counter = torch.cat([torch.arange(1, size + 1, device=device) for size in sizes])
    return torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device)), counter
