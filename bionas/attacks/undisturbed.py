"""Everything as it was found: random states, modes, flags, and the feedback that is drawn at every forward."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from bionas.networks.parts import evaluating
from bionas.rules import feedback_owners
from bionas.seeds import derive


@contextmanager
def undisturbed(key: int, *models: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters within the block, in which every random stream starts at `key`; all as before after it.

    The streams are python's, numpy's and torch's, and what `brsf_redraw: forward` draws: so what an attack sees is a function of the
    key, and of nothing that ran before. Attacks draw from global streams, reseed them, and put whole models into training mode.
    """
    frozen = [p for model in models for p in model.parameters() if p.requires_grad]
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        for model in models:
            stack.enter_context(evaluating(model))
            stack.enter_context(_feedback_from(key, model))
        try:
            for p in frozen:
                p.requires_grad_(False)
            torch.manual_seed(key)
            np.random.seed(key % 2**32)
            random.seed(key)
            yield
        finally:
            for p in frozen:
                p.requires_grad_(True)
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def _feedback_from(key: int, model: nn.Module) -> Iterator[None]:
    """Count forwards from the key on within the block, where feedback is drawn at every one of them."""
    drawing = [owner for _, owner in feedback_owners(model) if owner.redraw == "forward"]
    before = [(owner, owner.update, owner.streams, owner.R if owner.R is None else owner.R.clone()) for owner in drawing]
    try:
        for owner in drawing:
            owner.update, owner.streams = derive(key, "forwards") >> 1, None
        yield
    finally:
        for owner, owner.update, owner.streams, R in before:
            if owner.R is not None and R is not None:
                owner.R.copy_(R)
