"""What training made of a network's weights and gradients, layer by layer: the paper's analyses (§4.1, A.2, A.3.1).

    weights      how a layer's weights are distributed                                     Figures 5, 6 and 7
    gradients    how far its gradient scatters over batches, and how far it is off         equations 8 and 9, A.3.1
    alignment    how far its B is from W, and its gradient from the true one               A.3.1

Each returns plain arrays by name (`names` and `rules` hold str objects), over convs and linears in the order of the modules, biases left
out. A layer that the network does not use when it is evaluated (an auxiliary head) has NaN for what is not in its weights.

Gradients are those of a training step: of the mean cross-entropy of a batch, normalised by the batch's own statistics. Running statistics
would not do: before the first epoch they are nobody's, and rules would be compared over training on two different networks. What belongs
to a recipe and not to a rule is left out: augmentation, dropped paths, smoothed labels, the auxiliary loss. Feedback is the one in use;
between batches an update is counted, so that brSF draws anew as it does in training, and its own scatter is part of the variance.
Afterwards all is as it was: modes, running statistics, flags, `grad`, the feedback and its update count; no random stream is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bionas.networks.account import rule_of
from bionas.networks.parts import evaluating
from bionas.rules import Feedback, RuleConv2d, RuleLinear, feedback_owners, true_gradient

Layer = nn.Conv2d | nn.Linear
BINS, WIDEST = 161, 2.0  # the paper drops weights beyond ±2; one bin has 0 in its middle
STEEPNESS = 5.0  # bins are 70 times as narrow at 0, where trained weights lie, as at the ends


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Return how each layer's weights are distributed.

    `names`, `rules`, `sizes` (numbers in the weight), `mean`, `variance`, `kurtosis` (excess: 0 for a Gaussian, more if steeper), and
    `histogram`, counts (layers, bins) between `edges`, which are the same for every network; weights beyond the ends are in no bin.
    """
    edges = WIDEST * np.sinh(np.linspace(-STEEPNESS, STEEPNESS, BINS + 1)) / np.sinh(STEEPNESS)
    layers = _layers(model)
    values = [layer.weight.detach().double().flatten().cpu().numpy() for _, layer in layers]
    variance = np.array([value.var() for value in values])
    fourth = np.array([((value - value.mean()) ** 4).mean() for value in values])
    with np.errstate(divide="ignore", invalid="ignore"):  # weights that are all alike have no shape
        kurtosis = fourth / variance**2 - 3
    return _named(layers) | {
        "mean": np.array([value.mean() for value in values]),
        "variance": variance,
        "kurtosis": kurtosis,
        "edges": edges,
        "histogram": np.array([np.histogram(value, edges)[0] for value in values], dtype=np.int32),
    }


def gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, np.ndarray]:
    """Return how far each layer's weight gradient scatters over batches, how far it is off, and how large the error δ is that it gets.

    Batches are (images in [0, 1], labels) on the model's device, two or more; each passes twice, by the rules and by the true gradient.

    `names`, `rules`, `sizes`
    `variance_rule`, `variance_true`    equation 8: each weight's variance over the n batches, 1/n Σ (g_i − mean g)², mean over the layer's
                                        weights. A network's variance is the mean over layers, weighted by `sizes`; summed up rule by
                                        rule it is equation 9, w being the share of the weights that follow the rule.
    `norm_rule`, `norm_true`            ‖mean g‖, over all weights of the layer
    `bias`                              ‖mean rule g − mean true g‖ / ‖mean true g‖
    `cosine`                            of mean rule g and mean true g
    `delta_rule`, `delta_true`          norm of δ = ∂(an image's loss)/∂(the layer's output), root mean square over images

    Raises ValueError for fewer than two batches, and for biotorch's layers, which cannot be switched to the true gradient.
    """
    layers = _layers(model)
    device = layers[0][1].weight.device
    moments = {kind: _Moments([layer.weight for _, layer in layers]) for kind in ("rule", "true")}
    errors = {kind: torch.zeros(len(layers), dtype=torch.float64, device=device) for kind in moments}
    images_seen = 0
    with _as_in_training(model):
        for i, (images, labels) in enumerate(batches):
            if i:
                Feedback(model).redraw()
            for kind in moments:
                with nullcontext() if kind == "rule" else true_gradient(model), _squared_errors(layers, errors[kind], len(labels) ** 2):
                    moments[kind].add(_weight_gradients(model, layers, images, labels))
            images_seen += len(labels)
    n = moments["rule"].n
    if n < 2:
        raise ValueError(f"batches: {n}; allowed: two or more, for a variance over them")
    rule, true = moments["rule"].means, moments["true"].means
    found = {
        "variance_rule": [square.mean() / n for square in moments["rule"].squares],
        "variance_true": [square.mean() / n for square in moments["true"].squares],
        "norm_rule": [r.norm() for r in rule],
        "norm_true": [t.norm() for t in true],
        "bias": [(r - t).norm() / t.norm() for r, t in zip(rule, true, strict=True)],
        "cosine": [_cosine(r, t) for r, t in zip(rule, true, strict=True)],
    }
    numbers = {name: torch.stack(values).cpu().numpy() for name, values in found.items()}
    # Each squared error is of the batch's mean loss; an image's own is as many times as large as there are images in its batch.
    numbers |= {f"delta_{kind}": (squares / images_seen).sqrt().cpu().numpy() for kind, squares in errors.items()}
    unreached = np.isnan(numbers["norm_true"])
    numbers["delta_rule"][unreached] = numbers["delta_true"][unreached] = np.nan
    return _named(layers) | numbers


def alignment(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Return how far feedback has come to agree with the weights, on one batch of images in [0, 1] on the model's device.

    `names`, `rules`, `sizes`; `angle` between the B in use and W in degrees, `ratio` ‖B‖/‖W‖ (both NaN under `dfa`, whose B has another
    shape), and `gradient_angle` between the rule's weight gradient and the true one in degrees. Raises ValueError for biotorch's layers.
    """
    layers = _layers(model)
    fed_back = [_feedback(layer) for _, layer in layers]
    with _as_in_training(model):
        by_rule = _weight_gradients(model, layers, images, labels)
        with true_gradient(model):
            exact = _weight_gradients(model, layers, images, labels)
    W = [layer.weight.detach().double() for _, layer in layers]
    found = {
        "angle": [_degrees(_cosine(b, w)) for b, w in zip(fed_back, W, strict=True)],
        "ratio": [b.norm() / w.norm() for b, w in zip(fed_back, W, strict=True)],
        "gradient_angle": [_degrees(_cosine(r, t)) for r, t in zip(by_rule, exact, strict=True)],
    }
    return _named(layers) | {name: torch.stack(values).cpu().numpy() for name, values in found.items()}


class _Moments:
    """Mean, and sum of squares around it, of gradients that come one by one (Welford, 1962), in float64."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        self.n = 0
        self.means = [torch.zeros_like(tensor, dtype=torch.float64, requires_grad=False) for tensor in like]
        self.squares = [torch.zeros_like(mean) for mean in self.means]

    def add(self, values: Sequence[Tensor]) -> None:
        self.n += 1
        for mean, squares, value in zip(self.means, self.squares, values, strict=True):
            off = value - mean
            mean += off / self.n
            squares += off * (value - mean)


@contextmanager
def _as_in_training(model: nn.Module) -> Iterator[None]:
    """The network as a training step meets it, but for what is drawn; afterwards as it was.

    Evaluation mode, and normalisation by the batch at hand, which counts into no running statistics.
    """
    owners = [owner for _, owner in feedback_owners(model)]
    feedback = [(owner, owner.update, owner.R.clone() if owner.redraws and owner.R is not None else None) for owner in owners]
    norms = [(module, module.track_running_stats) for module in model.modules() if isinstance(module, _BatchNorm)]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    with evaluating(model), torch.enable_grad():
        try:
            for norm, _ in norms:
                norm.training, norm.track_running_stats = True, False
            model.requires_grad_(True)
            yield
        finally:
            for norm, tracks in norms:
                norm.track_running_stats = tracks
            for p in frozen:
                p.requires_grad_(False)
            for owner, update, R in feedback:
                owner.update = update
                if R is not None and owner.R is not None:
                    owner.R.copy_(R)


@contextmanager
def _squared_errors(layers: Sequence[tuple[str, Layer]], sums: Tensor, times: int) -> Iterator[None]:
    """Add ‖∂loss/∂output‖² · `times` of every layer to `sums` whenever errors come back within the block."""

    def watch(i: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(error: Tensor) -> None:
            sums[i] += error.detach().double().square().sum() * times

        def listen(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.register_hook(note)

        return listen

    handles = [layer.register_forward_hook(watch(i)) for i, (_, layer) in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weight_gradients(model: nn.Module, layers: Sequence[tuple[str, Layer]], images: Tensor, labels: Tensor) -> list[Tensor]:
    """Return the gradient of every layer's weight by the batch's mean cross-entropy, float64; NaN for a layer that is not used."""
    loss = F.cross_entropy(model(images), labels)
    found = torch.autograd.grad(loss, [layer.weight for _, layer in layers], allow_unused=True)
    unused = (torch.full_like(layer.weight, torch.nan, dtype=torch.float64, requires_grad=False) for _, layer in layers)
    return [nan if grad is None else grad.double() for grad, nan in zip(found, unused, strict=True)]


def _feedback(layer: Layer) -> Tensor:
    """Return the B in use (never R, which frSF's is not), float64; NaN where it has not the weight's shape."""
    if not isinstance(layer, RuleConv2d | RuleLinear):
        return layer.weight.detach().double()
    if layer.rule == "dfa":
        return torch.full_like(layer.weight, torch.nan, dtype=torch.float64, requires_grad=False)
    return layer.feedback().double()


def _layers(model: nn.Module) -> list[tuple[str, Layer]]:
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, Layer)]
    if not layers:
        raise ValueError("model: has no conv and no linear; allowed: one or more")
    return layers


def _named(layers: Sequence[tuple[str, Layer]]) -> dict[str, np.ndarray]:
    return {
        "names": np.array([name for name, _ in layers], dtype=object),
        "rules": np.array([rule_of(layer) for _, layer in layers], dtype=object),
        "sizes": np.array([layer.weight.numel() for _, layer in layers], dtype=np.int64),
    }


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def _degrees(cosine: Tensor) -> Tensor:
    return cosine.clamp(-1, 1).arccos().rad2deg()
