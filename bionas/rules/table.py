"""The learning rules: what a layer's backward pass puts in the place of its weight (paper §2.1, equations 3 to 6).

Forward, every rule layer is the ordinary layer. Backward, the error that it hands down is carried by B instead of W; weight and
bias gradients are the exact ones. The rules differ in B alone:

    rule   equation   B                  R
    bp     (1)        W                  -
    fa     (3)        R                  random, drawn once
    usf    (4)        R sign(W)          one number: `scale`
    brsf   (5)        |R| sign(W)        random, drawn anew after every update
    frsf   (6)        |R| sign(W)        random, drawn once
    kp     -          W − R              W less a random B at first; then B learns as W does (learning.py)

Kolen–Pollack (Akrout et al. 2019) is the only one whose B is state: under weight decay it comes to be W.

Direct feedback alignment (Nøkland 2016) hands down no layer's error, but the whole network's, ∂L/∂logits, through a random B of
(classes, the layer's input). It needs a network that listens at its output: `connect_output`. Shortcuts carry what reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """A learning rule. `feedback(W, R)` gives B, element by element; `draw` says what R is; `redraw` whether it is drawn anew every update.

    `learns`: what is drawn is the B to start from, and R is what W is more than B, which every update moves. `scale` is what R is where
    it is one number, a word of `feedback.SCALES`, for a rule that does not leave it to the setting.
    """

    feedback: Callable[[Tensor, Any], Tensor]
    draw: Literal["nothing", "scale", "signed", "magnitude", "direct"]
    redraw: bool = False
    learns: bool = False
    scale: str | None = None

    @property
    def exact(self) -> bool:
        """Whether B is W, so that plain layers do."""
        return self.feedback is _weight


def _weight(W: Tensor, R: Any) -> Tensor:
    return W


def _random(W: Tensor, R: Tensor) -> Tensor:
    return R


def _sign_concordant(W: Tensor, R: Tensor | float) -> Tensor:
    return R * torch.sign(W)


def _less(W: Tensor, R: Tensor) -> Tensor:
    return W - R


BP = Rule(_weight, draw="nothing")
FA = Rule(_random, draw="signed")
USF = Rule(_sign_concordant, draw="scale")
BRSF = Rule(_sign_concordant, draw="magnitude", redraw=True)
FRSF = Rule(_sign_concordant, draw="magnitude")
KP = Rule(_less, draw="signed", learns=True)
DFA = Rule(_random, draw="direct")
