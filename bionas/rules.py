"""The learning rules: what a layer's backward pass puts in the place of its weight (paper §2.1, equations 3 to 6).

Forward, every rule layer is the ordinary layer. Backward, the error that it hands down is carried by B instead of W; weight and
bias gradients are the exact ones. The rules differ in B alone:

    rule   equation   B                  R
    bp     (1)        W                  -
    fa     (3)        R                  random, drawn once
    usf    (4)        R sign(W)          one number: `scale`
    brsf   (5)        |R| sign(W)        random, drawn anew after every update
    frsf   (6)        |R| sign(W)        random, drawn once

Direct feedback alignment (Nøkland 2016) hands down no layer's error, but the whole network's, ∂L/∂logits, through a random B of
(classes, the layer's input). It needs a network that listens at its output: `connect_output`. Shortcuts carry what reaches them.

R is no generator's state but a function of (seed, layer name, update, element), so that accumulation, checkpointing, resuming
and replicas agree, and evaluation draws nothing. R is a buffer: never trained, never counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bionas import catalog
from bionas.convs import quicker
from bionas.direct import Direct, Output
from bionas.seeds import derive, uniform

RULES = tuple(catalog.RULES)
SCALES = ("init_std", "none", "rms")  # of uSF's B: the initialiser's std (biotorch), 1 (equation 4), the weight's root mean square
INITS = ("xavier", "kaiming")
REDRAWS = ("update", "forward")  # when brSF draws: after an update (the paper), or at every forward (biotorch)
BACKENDS = ("native", "biotorch")


@dataclass(frozen=True)
class Rule:
    """A learning rule. `feedback(W, R)` gives B; `draw` says what R is; `redraw` whether R changes after every update."""

    feedback: Callable[[Tensor, Tensor | float], Tensor]
    draw: Literal["nothing", "scale", "signed", "magnitude", "direct"]
    redraw: bool = False


def _weight(W, R):
    return W


def _random(W, R):
    return R


def _sign_concordant(W, R):
    return R * torch.sign(W)


BP = Rule(_weight, draw="nothing")
FA = Rule(_random, draw="signed")
USF = Rule(_sign_concordant, draw="scale")
BRSF = Rule(_sign_concordant, draw="magnitude", redraw=True)
FRSF = Rule(_sign_concordant, draw="magnitude")
DFA = Rule(_random, draw="direct")
ALL = catalog.RULES | catalog.NETWORK_RULES


# ---------------------------------------------------------------------------------------------- the backward pass


class _Conv(torch.autograd.Function):
    """conv2d whose input gradient runs through B: one `aten::convolution_backward`, in which the weight gradient does not
    depend on the weight argument."""

    @staticmethod
    def forward(ctx, x, weight, bias, feedback, stride, padding, dilation, groups):
        ctx.save_for_backward(x, feedback)
        ctx.geometry = (stride, padding, dilation, False, (0, 0), groups)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, feedback = ctx.saved_tensors
        # Under autocast the output has a lower precision than what was saved.
        grads = torch.ops.aten.convolution_backward(
            grad, x.to(grad.dtype), feedback.to(grad.dtype), ctx.bias_sizes, *ctx.geometry, list(ctx.needs_input_grad[:3])
        )
        return *grads, None, None, None, None, None


class _Linear(torch.autograd.Function):
    """linear whose input gradient runs through B, for inputs of any number of leading dimensions."""

    @staticmethod
    def forward(ctx, x, weight, bias, feedback):
        ctx.save_for_backward(x, feedback)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, feedback = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        rows = grad.reshape(-1, grad.shape[-1])  # (everything, out)
        return (
            grad @ feedback.to(grad.dtype) if need_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]).to(grad.dtype) if need_weight else None,
            rows.sum(0) if need_bias else None,
            None,
        )


# ---------------------------------------------------------------------------------------------- the layers


class FeedbackOwner:
    """What every module with feedback shares, a layer or a bank of them: the settings of R, its seed, and its update count."""

    def set_feedback(self, scale: str, init: str, redraw: str) -> None:
        self.scale = catalog.choose("scale", scale, SCALES)
        self.init = catalog.choose("init", init, INITS)
        self.redraw = catalog.choose("brsf_redraw", redraw, REDRAWS)
        self.exact = False  # B := W, see true_gradient
        self.reseed(0, "")

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

    def get_extra_state(self) -> dict[str, int | str]:
        return {"seed": self.seed, "name": self.name, "update": self.update}

    def set_extra_state(self, state: dict[str, int | str]) -> None:
        self.seed, self.name, self.update = state["seed"], state["name"], state["update"]


class _RuleLayer(FeedbackOwner):
    """What conv and linear layers share: the rule, and R."""

    def _set_rule(self, rule: str, scale: str, init: str, redraw: str) -> None:
        self.rule = catalog.choose("rule", rule, ALL)
        self.rules = (rule,)
        self.output: Output | None = None
        self.law = self.definition(rule)
        self.draws = self.law.draw
        self._direct: tuple[Any, Tensor] | None = None
        self.register_buffer("R", torch.empty_like(self.weight, requires_grad=False) if self.draws in ("signed", "magnitude") else None)
        self.set_feedback(scale, init, redraw)

    def feedback(self) -> Tensor:
        """Return the B in use, of the weight's shape; it takes no part in autograd. Raises ValueError for `dfa`."""
        if self.draws == "direct":
            raise ValueError("rule: dfa feeds back from the network's output, not through a B of the weight's shape")
        with torch.no_grad():
            weight = self.weight.detach()
            if self.exact:
                return weight
            R = self._scale(weight) if self.draws == "scale" else self.R
            return self.law.feedback(weight, R)

    def _scale(self, weight: Tensor) -> Tensor | float:
        if self.scale == "rms":
            return weight.square().mean().sqrt()
        return 1.0 if self.scale == "none" else init_bound(weight, self.init) / math.sqrt(3)  # the std of U(-bound, bound)

    def draw(self) -> None:
        """Draw R for this seed, name and update, if the rule has one."""
        draw_together([self])

    def direct_feedback(self, classes: int, x: Tensor) -> Tensor:
        """Return B of (classes, the layer's input): U(-b, b), b = 1/√(numbers in that input), as Nøkland's §4."""
        key = (self.seed, self.name, classes, x.shape[1:], x.dtype, x.device)
        if self._direct is None or self._direct[0] != key:
            like = x.new_empty(classes, *x.shape[1:])
            bound = like[0].numel() ** -0.5
            self._direct = key, ((2 * uniform(like, derive(self.seed, "direct feedback", self.name)) - 1) * bound).to(x.dtype)
        return self._direct[1]

    def _directly(self, x: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        if self.output is None or self.output.errors is None:
            raise ValueError("rule: dfa needs a network that listens at its output, by connect_output; this one does not")
        return Direct.apply(forward(x.detach()), x, self, self.output.errors)

    def _feeds_back(self, x: Tensor) -> bool:
        """Whether anything will ask for B: without an input gradient (the first layer, evaluation) every rule is plain."""
        return self.draws != "nothing" and not self.exact and torch.is_grad_enabled() and x.requires_grad

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rule={self.rule}"


class RuleConv2d(_RuleLayer, nn.Conv2d):
    """`nn.Conv2d` that learns by a rule. Takes its arguments and `rule`, `scale` (uSF), `init` (the range of R), `brsf_redraw`."""

    def __init__(self, *args, rule: str = "bp", scale: str = "init_std", init: str = "xavier", brsf_redraw: str = "update", **kwargs):
        super().__init__(*args, **kwargs)
        self._set_rule(rule, scale, init, brsf_redraw)

    def forward(self, x: Tensor) -> Tensor:
        self.count_forward()
        feeds_back = self._feeds_back(x)
        if feeds_back and self.draws == "direct":
            return self._directly(x, super().forward)
        if quick := quicker(self, x):
            out = quick(self, x, self.feedback() if feeds_back else self.weight)
            return out if self.bias is None else out + self.bias.view(-1, 1, 1)
        if not feeds_back:
            return super().forward(x)
        return self._with_feedback(x) if x.dim() == 4 else self._with_feedback(x[None])[0]

    def _with_feedback(self, x: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros" or isinstance(padding, str):  # pad first: the backward op knows plain numbers only
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=mode), (0, 0)
        return _Conv.apply(x, self.weight, self.bias, self.feedback(), self.stride, padding, self.dilation, self.groups)


class RuleLinear(_RuleLayer, nn.Linear):
    """`nn.Linear` that learns by a rule. Takes its arguments and `rule`, `scale` (uSF), `init` (the range of R), `brsf_redraw`."""

    def __init__(self, *args, rule: str = "bp", scale: str = "init_std", init: str = "xavier", brsf_redraw: str = "update", **kwargs):
        super().__init__(*args, **kwargs)
        self._set_rule(rule, scale, init, brsf_redraw)

    def forward(self, x: Tensor) -> Tensor:
        self.count_forward()
        if not self._feeds_back(x):
            return super().forward(x)
        if self.draws == "direct":
            return self._directly(x, super().forward)
        return _Linear.apply(x, self.weight, self.bias, self.feedback())


# ---------------------------------------------------------------------------------------------- R as a function


def init_bound(weight: Tensor, init: str) -> float:
    """Return b of the U(-b, b) that the initialiser draws from: Glorot & Bengio 2010, or torch's default for `kaiming`."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    return math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else 1 / math.sqrt(fan_in)


def magnitude(rule: Rule, u: Tensor, bound: Tensor | float) -> Tensor:
    """Return R of the rule from uniform numbers in [0, 1): U(-bound, bound) where R is signed, its magnitude elsewhere."""
    return (2 * u - 1) * bound if rule.draw == "signed" else u * bound


# ---------------------------------------------------------------------------------------------- whole models


def feedback_owners(model: nn.Module) -> Iterator[tuple[str, FeedbackOwner]]:
    """Yield (qualified name, module) for every layer, or bank of layers, that has a rule, BP's included."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, FeedbackOwner))


def seed_feedback(model: nn.Module, seed: int) -> nn.Module:
    """Give every rule layer its qualified name and the seed, and draw its R at update 0."""
    for name, layer in feedback_owners(model):
        layer.reseed(seed, name)
    return model


def connect_output(model: nn.Module) -> Output:
    """Give layers with direct feedback the place where the model's output error will be noted."""
    direct = [layer for layer in model.modules() if isinstance(layer, _RuleLayer) and layer.draws == "direct"]
    output = Output(bool(direct))
    for layer in direct:
        layer.output = output
    return output


def advance(model: nn.Module) -> None:
    """Count one weight update: call it after every optimiser step. brSF draws its magnitudes anew."""
    due = [owner for _, owner in feedback_owners(model) if owner.advance()]
    draw_together([owner for owner in due if isinstance(owner, _RuleLayer)])
    for owner in due:
        if not isinstance(owner, _RuleLayer):
            owner.draw()


@torch.no_grad()
def draw_together(layers: Iterable[_RuleLayer]) -> None:
    """Draw R of layers for their seed, name and update, at once: many small draws would take longer than the drawing."""
    alike: dict[tuple[torch.dtype, torch.device], list[_RuleLayer]] = {}
    for layer in layers:
        if layer.R is not None and not layer.R.is_meta:
            alike.setdefault((layer.R.dtype, layer.R.device), []).append(layer)
    for (dtype, device), group in alike.items():
        sizes = tuple(layer.R.numel() for layer in group)
        keys = torch.tensor([derive(layer.seed, "feedback", layer.name, layer.update) for layer in group], device=device)
        owner, counter = places(sizes, device)
        drawn = uniform(torch.empty(len(counter), dtype=dtype, device=device), keys[owner], counter)  # [0, 1)
        for layer, u in zip(group, drawn.split(sizes), strict=True):
            layer.R.copy_(magnitude(layer.law, u.view_as(layer.R), init_bound(layer.weight, layer.init)))


@lru_cache(maxsize=64)
def places(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return whose each element is, and its place there from 1 on, of layers of these sizes one after the other."""
    counter = torch.cat([torch.arange(1, size + 1, device=device) for size in sizes])
    return torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device)), counter


def convert(
    model: nn.Module, rule: str, backend: str = "native", scale: str = "init_std", init: str = "xavier", seed: int = 0
) -> tuple[nn.Module, tuple[str, ...]]:
    """Give every conv and linear of `model` the rule; return the model and the names of what stayed BP.

    Weights and biases are kept (the same Parameter objects), and a module that is used twice stays one module. What stays BP is
    every other module that owns a parameter of two or more dimensions: transposed and 1-d convs, recurrent layers, embeddings, and
    subclasses of conv and linear whose own `forward` a replacement would lose. Under `bp` that is every layer. The model is changed
    in place, except that a bare layer is replaced. Raises ValueError for what biotorch's layers cannot do.
    """
    catalog.choose("rule", rule, catalog.RULES)
    catalog.choose("backend", backend, BACKENDS)
    if backend == "biotorch" and rule not in catalog.BIOTORCH:
        raise ValueError(f"backend: biotorch has no rule {rule!r}; allowed for it: native")
    if backend == "biotorch" and (scale, init) != ("init_std", "xavier"):
        raise ValueError("backend: biotorch's layers know scale 'init_std' and init 'xavier' alone; allowed for others: native")
    replaced: dict[nn.Module, nn.Module] = {}

    def visit(module: nn.Module, name: str) -> nn.Module:
        if type(module) in (nn.Conv2d, nn.Linear, RuleConv2d, RuleLinear):
            if module not in replaced:
                with torch.random.fork_rng(devices=[]):  # constructors draw from the global stream
                    torch.manual_seed(derive(seed, "biotorch", name))
                    replaced[module] = _replace(module, rule, backend, scale, init)
            return replaced[module]
        for child_name, child in module._modules.items():  # named_children would skip a tied module's second name
            module._modules[child_name] = child and visit(child, f"{name}.{child_name}")
        return module

    model = visit(model, "")
    seed_feedback(model, seed)
    follow = set() if rule == "bp" else set(replaced.values())
    owners = ((name, m) for name, m in model.named_modules() if any(p.dim() >= 2 for p in m.parameters(recurse=False)))
    return model, tuple(name for name, m in owners if m not in follow)


def _replace(layer: nn.Module, rule: str, backend: str, scale: str, init: str) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        geometry: dict[str, Any] = {name: getattr(layer, name) for name in names}
    else:
        geometry = {"in_features": layer.in_features, "out_features": layer.out_features}
    geometry["bias"] = layer.bias is not None
    if backend == "biotorch":
        new = _biotorch_layer(layer, geometry, rule).to(device=layer.weight.device, dtype=layer.weight.dtype)
    else:
        kind = RuleConv2d if isinstance(layer, nn.Conv2d) else RuleLinear
        new = kind(**geometry, device=layer.weight.device, dtype=layer.weight.dtype, rule=rule, scale=scale, init=init)
    new.weight, new.bias = layer.weight, layer.bias
    return new.train(layer.training)


def _biotorch_layer(layer: nn.Module, geometry: dict[str, Any], rule: str) -> nn.Module:
    from biotorch.layers import backpropagation, fa_constructor  # two seconds of import that nothing else pays

    if isinstance(layer, nn.Conv2d) and (geometry["padding_mode"] != "zeros" or isinstance(geometry["padding"], str)):
        raise ValueError("backend: biotorch ignores padding modes and crashes on padding='same'; allowed: native")
    package = backpropagation if rule == "bp" else fa_constructor
    kind = package.Conv2d if isinstance(layer, nn.Conv2d) else package.Linear
    return kind(**geometry, layer_config={"type": "backpropagation" if rule == "bp" else rule})


@contextmanager
def true_gradient(model: nn.Module) -> Iterator[nn.Module]:
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
