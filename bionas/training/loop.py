"""The training loop: one network, one seed, SGD; written as a generator whose every `yield` is a point where it may stop.

The loop touches no file. Whoever drives it decides at each yield whether to go on, to save `LoopState.state_dict()`, or to leave;
a loop that is started again from a saved state ends with the same bits as one that was never disturbed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bionas.networks import Network, evaluating
from bionas.rules import Feedback
from bionas.training.data import Split, TrainingData
from bionas.training.sgd import SGD
from bionas.training.speed import training_forward

CURVES = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that shapes a training run beside network, data and seed. The definition format documents each."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: str
    milestones: tuple[float, ...]
    label_smoothing: float
    grad_clip: float
    selection: str
    aux_weight: float = 0.0
    drop_path: float = 0.0
    drop_path_schedule: str = "linear"
    precision: str = "float32"
    memory_format: str = "contiguous"
    compile: str = "none"

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch: a function, so that there is no scheduler whose state could be lost."""
        done = epoch / self.epochs
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "linear":
            return self.lr * (1 - done)
        if self.schedule == "multistep":
            return self.lr * 0.1 ** sum(done >= milestone for milestone in self.milestones)
        return self.lr

    def drop_path_at(self, epoch: int) -> float:
        """Return the probability with which a path is dropped in an epoch."""
        return self.drop_path * epoch / self.epochs if self.drop_path_schedule == "linear" else self.drop_path


@dataclass
class LoopState:
    """The whole state of the loop: what a checkpoint holds."""

    model: nn.Module
    optimiser: SGD
    sums: Tensor  # loss and correct of the epoch so far, on the device
    epoch: int = 0
    step: int = 0  # within the epoch
    images: int = 0  # of the epoch so far
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    best: dict[str, Any] | None = None  # where a best epoch is selected: epoch, accuracy and weights
    status: str = "ok"

    @classmethod
    def start(cls, model: nn.Module, settings: TrainSettings) -> LoopState:
        optimiser = SGD(
            model.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        return cls(model, optimiser, sums=torch.zeros(2, dtype=torch.float64, device=next(model.parameters()).device))

    PLAIN = ("epoch", "step", "images", "curves", "best", "status")

    def state_dict(self) -> dict[str, Any]:
        """Return everything by plain types and tensors, so that it loads without unpickling code, from a file on the CPU."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": rng_state(self.sums.device),
            "sums": self.sums,
            **{name: getattr(self, name) for name in self.PLAIN},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sums.copy_(state["sums"])
        for name in self.PLAIN:
            setattr(self, name, state[name])
        restore_rng(state["rng"], self.sums.device)


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's global streams that a loop on this device draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_rng(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def train(state: LoopState, data: TrainingData, held_out: Split | None, settings: TrainSettings) -> Iterator[LoopState]:
    """Train until `settings.epochs` are done or the loss is no number (`status` becomes `diverged`); yield after every step.

    There is no host sync in a step: sums stay on the device until their epoch ends. A yield with `step == 0` ends an epoch.
    """
    model, optimiser, feedback = state.model, state.optimiser, Feedback(state.model)
    forward = training_forward(model, settings.precision, settings.memory_format, settings.compile)
    while state.epoch < settings.epochs and state.status == "ok":
        model.train()
        optimiser.lr = lr = settings.lr_at(state.epoch)
        if isinstance(model, Network):
            model.drop_path = settings.drop_path_at(state.epoch)
        for images, labels in data.epoch(state.epoch, start=state.step):
            optimiser.zero_grad()
            logits = forward(images)
            logits, auxiliary = logits if isinstance(logits, tuple) else (logits, None)
            loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
            whole = loss
            if auxiliary is not None:
                whole = loss + settings.aux_weight * F.cross_entropy(auxiliary, labels, label_smoothing=settings.label_smoothing)
            whole.backward()
            if settings.grad_clip:
                nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
            optimiser.step()
            feedback.advance(optimiser)
            with torch.no_grad():
                state.sums += torch.stack([loss * len(labels), (logits.argmax(1) == labels).sum()])
            state.images += len(labels)
            state.step += 1
            yield state
        _end_epoch(state, lr, held_out, settings)
        yield state
    if state.best is not None and state.status == "ok":
        model.load_state_dict(state.best["model"])


def _end_epoch(state: LoopState, lr: float, held_out: Split | None, settings: TrainSettings) -> None:
    loss, correct = state.sums.tolist()
    row = {"lr": lr, "train_loss": loss / state.images, "train_accuracy": 100 * correct / state.images}
    row |= {"val_loss": math.nan, "val_accuracy": math.nan}
    if held_out is not None:
        row["val_loss"], row["val_accuracy"] = measure(state.model, held_out)
        if settings.selection.startswith("best") and (state.best is None or row["val_accuracy"] > state.best["accuracy"]):
            weights = copy.deepcopy(state.model.state_dict())
            state.best = {"epoch": state.epoch, "accuracy": row["val_accuracy"], "model": weights}
    for name, value in row.items():
        state.curves[name].append(value)
    if not math.isfinite(row["train_loss"]) or not finite(state.model):  # the last update has no loss of its own
        state.status = "diverged"
    state.sums.zero_()
    state.images, state.step, state.epoch = 0, 0, state.epoch + 1


def finite(model: nn.Module) -> bool:
    """Say whether every parameter and running statistic is a number; one sync."""
    values = [value for value in model.state_dict().values() if isinstance(value, Tensor) and value.is_floating_point()]
    return bool(torch.stack(torch._foreach_norm(values, torch.inf)).isfinite().all())


@torch.no_grad()
def measure(model: nn.Module, split: Split, batch_size: int = 512) -> tuple[float, float]:
    """Return (mean cross-entropy, accuracy in percent) in evaluation mode; leaves the model's mode as it was."""
    total: Tensor | float = 0.0
    correct: Tensor | int = 0
    with evaluating(model):
        for images, labels in split.chunks(batch_size):
            logits = model(images)
            total = total + F.cross_entropy(logits, labels, reduction="sum").double()
            correct = correct + (logits.argmax(1) == labels).sum()
    return float(total) / len(split), 100 * float(correct) / len(split)
