"""What every search does: train the supernet's weights on one half of the training split, measure it on the other, keep a trace.

A search is a generator like the training loop: every `yield` is a point where it may stop, and `SearchState` holds all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bionas.dataset import Augment
from bionas.rules import Feedback
from bionas.space import Genotype, derive
from bionas.supernet import Paths, Supernet
from bionas.training.data import Split, TrainingData, part
from bionas.training.loop import finite, measure
from bionas.training.sgd import SGD
from bionas.training.speed import training_forward

CURVES = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "alpha_span", "alpha_entropy", "alpha_moved")
KINDS = ("normal", "reduce")


@dataclass(frozen=True)
class WeightSettings:
    """How the supernet's weights learn. The definition format documents each."""

    epochs: int
    batch_size: int
    lr: float
    lr_min: float
    momentum: float
    nesterov: bool
    weight_decay: float
    grad_clip: float
    precision: str = "float32"

    def lr_at(self, epoch: int) -> float:
        """Cosine from `lr` in the first epoch towards `lr_min`, by epoch."""
        return self.lr_min + (self.lr - self.lr_min) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class SearchData:
    """The two halves. Both are augmented in training, as DARTS does; `held_out` is the second half as it is."""

    weights: TrainingData
    alphas: TrainingData
    held_out: Split
    seed: int

    @classmethod
    def split(cls, training: Split, augment: Augment, batch_size: int, seed: int, images: int = 0) -> SearchData:
        """Halve a training split, or so many images of it, stratified. Raises ValueError if a class has fewer than two images."""
        if images > len(training):
            raise ValueError(f"search: {images} images asked for; the training split has {len(training)}")
        if 0 < images < len(training):
            _, training = part(training, images / len(training), seed)
        counts = torch.bincount(training.labels.cpu())
        if counts.min() < 2:
            raise ValueError(f"search: class {int(counts.argmin())} has {int(counts.min())} training images; halving needs at least 2")
        first, second = part(training, 0.5, seed)
        return cls(TrainingData(first, augment, batch_size, seed), TrainingData(second, augment, batch_size, seed + 2**31), second, seed)


@dataclass
class SearchState:
    """The whole state of a search: what a checkpoint holds. `extra` is the method's own, in plain types and tensors.

    Of `extra`, `log` is recorded, a dictionary of columns, and `best`, one of `genotype` and `accuracy`, where a method has them.
    """

    supernet: Supernet
    optimiser: SGD
    sums: Tensor  # loss and correct of the epoch so far, on the device
    alpha_optimiser: torch.optim.Optimizer | None = None
    epoch: int = 0
    step: int = 0  # within the epoch
    images: int = 0  # of the epoch so far
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})
    trace: list[dict[str, Tensor]] = field(default_factory=list)  # softmax(α) after every epoch
    genotypes: list[str] = field(default_factory=list)  # JSON, after every epoch
    extra: dict[str, Any] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=lambda: {"trained": 0, "judged": 0})  # images forward and back, and forward alone
    status: str = "ok"
    genotype: str | None = None  # the result

    def __post_init__(self) -> None:
        self.feedback, self.weights = Feedback(self.supernet), self.supernet.weights()  # found once, among thousands of modules

    @classmethod
    def start(cls, supernet: Supernet, settings: WeightSettings) -> SearchState:
        optimiser = SGD(
            supernet.weights(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        return cls(supernet, optimiser, sums=torch.zeros(2, dtype=torch.float64, device=supernet.alphas["normal"].device))

    def learning(self) -> Supernet:
        """Return the supernet in training mode."""
        return self.supernet if self.supernet.training else self.supernet.train()

    PLAIN = ("epoch", "step", "images", "curves", "trace", "genotypes", "extra", "passes", "status", "genotype")

    def state_dict(self) -> dict[str, Any]:
        """Return everything by plain types and tensors, so that it loads without unpickling code."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "alpha_optimiser": self.alpha_optimiser and self.alpha_optimiser.state_dict(),
            "sums": self.sums,
            **{name: getattr(self, name) for name in self.PLAIN},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.alpha_optimiser is not None:
            self.alpha_optimiser.load_state_dict(state["alpha_optimiser"])
        self.sums.copy_(state["sums"])
        for name in self.PLAIN:
            setattr(self, name, state[name])


def weight_step(state: SearchState, images: Tensor, labels: Tensor, settings: WeightSettings, paths: Paths | None = None) -> None:
    """Take one SGD step on the weights, through the mixture or one path; α neither gets a gradient nor counts in the clipping."""
    supernet = state.learning()
    state.optimiser.lr = settings.lr_at(state.epoch)
    state.optimiser.zero_grad()
    choices = {kind: rows.detach() for kind, rows in supernet.mixture().items()} if paths is None else paths
    logits = training_forward(supernet, settings.precision)(images, choices)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    if settings.grad_clip:
        nn.utils.clip_grad_norm_(state.weights, settings.grad_clip)
    state.optimiser.step()
    state.feedback.advance(state.optimiser)
    with torch.no_grad():
        state.sums += torch.stack([loss * len(labels), (logits.argmax(1) == labels).sum()])
    state.images += len(labels)
    state.step += 1
    state.passes["trained"] += len(labels)


@torch.no_grad()
def end_epoch(state: SearchState, data: SearchData, settings: WeightSettings, judge: bool = True) -> None:
    """Close the epoch's books: curves, validation of the mixture, α's trace and the genotype that it would give."""
    supernet = state.supernet
    loss, correct = state.sums.tolist()
    mixture = {kind: rows.cpu() for kind, rows in supernet.mixture().items()}
    before = state.trace[-1] if state.trace else None
    row = {"lr": settings.lr_at(state.epoch), "train_loss": loss / state.images, "train_accuracy": 100 * correct / state.images}
    row["val_loss"], row["val_accuracy"] = measure(supernet, data.held_out) if judge else (math.nan, math.nan)
    state.passes["judged"] += len(data.held_out) if judge else 0
    row |= {"alpha_span": span(mixture), "alpha_entropy": entropy(mixture)}
    row["alpha_moved"] = math.nan if before is None else math.sqrt(sum((mixture[k] - before[k]).square().sum().item() for k in KINDS))
    for name, value in row.items():
        state.curves[name].append(value)
    state.trace.append(mixture)
    state.genotypes.append(genotype_of(mixture, supernet).to_json())
    if not math.isfinite(row["train_loss"]) or not finite(supernet):
        state.status = "diverged"
    state.sums.zero_()
    state.images, state.step, state.epoch = 0, 0, state.epoch + 1


def genotype_of(mixture: dict[str, Tensor], supernet: Supernet) -> Genotype:
    return derive({kind: rows.tolist() for kind, rows in mixture.items()}, supernet.space, supernet.nodes)


def span(mixture: dict[str, Tensor]) -> float:
    """Return by how much the heaviest candidate of an edge outweighs the lightest allowed one, mean over edges."""
    rows = torch.cat([mixture[kind] for kind in KINDS])
    lightest = rows.masked_fill(rows == 0, torch.inf).min(1).values  # barred candidates weigh nothing
    return (rows.max(1).values - lightest).mean().item()


def entropy(mixture: dict[str, Tensor]) -> float:
    """Return the mean entropy of an edge's mixture as a share of the uniform one's: 1 says nothing, 0 everything."""
    rows = torch.cat([mixture[kind] for kind in KINDS]).double()
    return (-(rows * rows.clamp_min(1e-300).log()).sum(1) / (rows > 0).sum(1).double().log()).mean().item()
