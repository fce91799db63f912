"""BioNAS-DARTS (paper §3.2, A.4.1): α by gradient, first order.

∂L/∂α_o = ⟨δ, o(x)⟩ uses what a candidate computes and the error that arrives from above, not the feedback by which its weights
learn. Candidates with equal weights and different rules get equal gradients: a rule can win only by what it has made of its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bionas.search.common import SearchData, SearchState, WeightSettings, end_epoch, weight_step
from bionas.training.speed import training_forward

NONE = True  # DARTS's candidates include `none`
MIXES = True


@dataclass(frozen=True)
class Settings:
    """Adam on α, with decay; DARTS's β₁ of 0.5."""

    alpha_lr: float
    alpha_weight_decay: float


def search(state: SearchState, data: SearchData, weights: WeightSettings, settings: Settings) -> Iterator[SearchState]:
    """Alternate a step on α, on a batch of the second half, with a step on the weights, on one of the first; yield after both."""
    while state.epoch < weights.epochs and state.status == "ok":
        alpha_batches = data.alphas.cycle(state.epoch * data.weights.steps + state.step)
        for images, labels in data.weights.epoch(state.epoch, start=state.step):
            alpha_step(state, *next(alpha_batches), weights.precision)
            weight_step(state, images, labels, weights)
            yield state
        end_epoch(state, data, weights)
        yield state
    state.genotype = state.genotypes[-1]


def prepare(state: SearchState, settings: Settings) -> None:
    """Give the state what this method keeps in it."""
    state.alpha_optimiser = torch.optim.Adam(
        state.supernet.alphas.parameters(), lr=settings.alpha_lr, betas=(0.5, 0.999), weight_decay=settings.alpha_weight_decay
    )


def alpha_step(state: SearchState, images: Tensor, labels: Tensor, precision: str = "float32") -> None:
    """Take one Adam step on α alone: weights get no gradient, so that none is left over or clipped with theirs."""
    supernet = state.learning()
    for p in state.weights:
        p.requires_grad_(False)
    assert state.alpha_optimiser is not None  # `prepare` has given it
    state.alpha_optimiser.zero_grad(set_to_none=True)
    F.cross_entropy(training_forward(supernet, precision)(images), labels).backward()
    state.alpha_optimiser.step()
    for p in state.weights:
        p.requires_grad_(True)
    state.passes["trained"] += len(labels)
