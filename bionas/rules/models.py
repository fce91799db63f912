"""Whole models: seed their feedback, count their updates, listen at their output, switch to the true gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from bionas.rules.direct import Output
from bionas.rules.drawing import Streams
from bionas.rules.feedback import FeedbackOwner, redrawn
from bionas.rules.forgotten import Watch
from bionas.rules.layers import RuleLayer
from bionas.rules.learning import follow

Model = TypeVar("Model", bound=nn.Module)


def feedback_owners(model: nn.Module) -> Iterator[tuple[str, FeedbackOwner]]:
    """Yield (qualified name, module) for every layer, or bank of layers, that has a rule, BP's included."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, FeedbackOwner))


def seed_feedback(model: Model, seed: int) -> Model:
    """Give every rule layer its qualified name and the seed, and draw its R at update 0.

    Weights come first: of a B that learns, what is kept is how far W is from it.
    """
    watch = Watch()  # one, so that it is said once
    for name, layer in feedback_owners(model):
        layer.reseed(seed, name)
        layer.watch = watch
    return model


def connect_output(model: nn.Module) -> Output:
    """Give layers with direct feedback the place where the model's output error will be noted."""
    direct = [layer for layer in model.modules() if isinstance(layer, RuleLayer) and layer.drawn == "direct"]
    output = Output(bool(direct))
    for layer in direct:
        layer.output = output
    return output


class Feedback:
    """All rule layers of a model, found once: for those who count updates by the thousand."""

    def __init__(self, model: nn.Module) -> None:
        owners = [owner for _, owner in feedback_owners(model)]
        self.learning = [owner for owner in owners if owner.velocity is not None]
        self.owners = [owner for owner in owners if owner.redraw == "update"]
        self.redrawing = [owner for owner in self.owners if owner.redraws]
        self.streams: Streams | None = None

    def advance(self, optimiser: Any = None) -> None:
        """Count one weight update: call it after every step of the optimiser, and before its gradients are gone.

        brSF draws its magnitudes anew, and a B that learns takes the step that its weight took: that alone needs the optimiser, an SGD.
        """
        if self.learning:
            follow(self.learning, optimiser)
        self.redraw()

    def redraw(self) -> None:
        """Draw what the next update draws, though no weight has moved."""
        for owner in self.owners:
            vars(owner)["update"] += 1  # a module's own way of setting a number looks for parameters first, in each of thousands
        if self.redrawing:
            self.streams = redrawn(self.streams, self.redrawing)


def advance(model: nn.Module, optimiser: Any = None) -> None:
    """Count one weight update of a model, as `Feedback` does."""
    Feedback(model).advance(optimiser)


@contextmanager
def true_gradient(model: Model) -> Iterator[Model]:
    """Within the block B := W in every layer, so that gradients are exact; afterwards everything is as it was.

    Raises ValueError for a model with biotorch's layers, which cannot be switched.
    """
    foreign = [name for name, m in model.named_modules() if type(m).__module__.startswith("biotorch.")]
    if foreign:
        raise ValueError(f"gradient: 'true' needs the native backend; biotorch's layers cannot be switched ({foreign[0]} is one)")
    before = [(layer, layer.exact) for _, layer in feedback_owners(model)]
    try:
        for layer, _ in before:
            layer.exact = True
        yield model
    finally:
        for layer, exact in before:
            layer.exact = exact
