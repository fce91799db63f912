"""R as a function: of (seed, layer name, update, element), and no generator's state.

So accumulation, checkpointing, resuming and replicas agree, and evaluation draws nothing. R is a buffer: no gradient reaches it, and it is
not counted among the parameters. Where B learns, R and its velocity are state: they start as drawn, and `learning` moves them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bionas import catalog
from bionas.rules.drawing import Draw, Streams
from bionas.rules.forgotten import Watch
from bionas.rules.table import Rule

SCALES = ("init_std", "none", "rms")  # of uSF's B: the initialiser's std (biotorch), 1 (equation 4), the weight's root mean square
INITS = ("xavier", "kaiming")
REDRAWS = ("update", "forward")  # when brSF draws: after an update (the paper), or at every forward (biotorch)
ALL = catalog.RULES | catalog.NETWORK_RULES


class FeedbackOwner(nn.Module):
    """What every module with feedback shares, a layer or a bank of them: the settings of R, its seed, and its update count."""

    rules: tuple[str, ...]
    weight: Tensor
    R: Tensor | None
    velocity: Tensor | None  # of R, where a rule learns its B

    def set_feedback(self, scale: str, init: str, redraw: str) -> None:
        self.scale = catalog.choose("scale", scale, SCALES)
        self.init = catalog.choose("init", init, INITS)
        self.redraw = catalog.choose("brsf_redraw", redraw, REDRAWS)
        self.exact = False  # B := W, see true_gradient
        self.streams: Streams | None = None  # of what is drawn anew at every forward
        self.watch = Watch()
        self.watched = self.redraw == "update" and any(law.redraw or law.learns for law in map(self.definition, self.rules))
        self.reseed(0, "")

    def draws(self) -> Iterator[Draw]:
        """Yield what is drawn into R, for every rule that draws."""
        raise NotImplementedError

    @torch.no_grad()
    def draw(self) -> None:
        """Draw R for this seed and name, at update 0. Of a B that learns, from the weight as it is now."""
        Streams([self], redrawn=False).draw()
        for W, R, velocity in self.learned():
            R.copy_(W - R)
            velocity.zero_()

    def learned(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (W, R, velocity) of every rule whose B learns."""
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

    @property
    def redraws(self) -> bool:
        """Whether a rule of this owner draws anew, ever."""
        return any(self.definition(rule).redraw for rule in self.rules)

    def count_forward(self) -> None:
        """Under `brsf_redraw: forward`, as biotorch: redraw at every forward, in evaluation, too."""
        if self.redraw == "forward" and not self.exact:
            self.update += 1
            if self.redraws:
                self.streams = redrawn(self.streams, [self])

    def look(self, weight: Tensor) -> None:
        """In training, see whether updates are counted; a traced graph does not look."""
        if self.watched and self.training and not torch.compiler.is_compiling():
            self.watch.look(self.name, self.update, weight._version)

    def get_extra_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "name": self.name, "update": self.update}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed, self.name, self.update = state["seed"], state["name"], state["update"]


def init_bound(weight: Tensor, init: str) -> float:
    """Return b of the U(-b, b) that the initialiser draws from: Glorot & Bengio 2010, or torch's default for `kaiming`."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    return math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else 1 / math.sqrt(fan_in)


def redrawn(streams: Streams | None, owners: Sequence[FeedbackOwner]) -> Streams:
    """Draw anew what the owners' next update draws anew; by these streams, if they still fit."""
    if streams is None or not streams.fit():
        streams = Streams(owners, redrawn=True)
    streams.draw()
    return streams
