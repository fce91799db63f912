"""Conv and linear layers that learn by a rule: one backward operation, in which B stands for W."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bionas import catalog
from bionas.kernels.convs import quicker
from bionas.rules.direct import Direct, Output
from bionas.rules.drawing import Draw
from bionas.rules.feedback import ALL, FeedbackOwner, init_bound
from bionas.seeds import derive, uniform


class _Conv(torch.autograd.Function):
    """conv2d whose input gradient runs through B: one `aten::convolution_backward`, in which the weight gradient does not
    depend on the weight argument."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        feedback: Tensor,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, feedback)
        ctx.geometry = (stride, padding, dilation, False, (0, 0), groups)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, feedback = ctx.saved_tensors
        # Under autocast the output has a lower precision than what was saved.
        grads = torch.ops.aten.convolution_backward(
            grad, x.to(grad.dtype), feedback.to(grad.dtype), ctx.bias_sizes, *ctx.geometry, list(ctx.needs_input_grad[:3])
        )
        return *grads, None, None, None, None, None


class _Linear(torch.autograd.Function):
    """linear whose input gradient runs through B, for inputs of any number of leading dimensions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, feedback = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        rows = grad.reshape(-1, grad.shape[-1])  # (everything, out)
        return (
            grad @ feedback.to(grad.dtype) if need_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]).to(grad.dtype) if need_weight else None,
            rows.sum(0) if need_bias else None,
            None,
        )


class RuleLayer(FeedbackOwner):
    """What conv and linear layers share: the rule, and R."""

    weight: Tensor
    R: Tensor | None  # where the rule has a random one

    def _set_rule(self, rule: str, scale: str, init: str, redraw: str) -> None:
        self.rule = catalog.choose("rule", rule, ALL)
        self.rules = (rule,)
        self.output: Output | None = None
        self.law = self.definition(rule)
        self.drawn = self.law.draw
        self._direct: tuple[Any, Tensor] | None = None
        self.register_buffer("R", torch.empty_like(self.weight, requires_grad=False) if self.drawn in ("signed", "magnitude") else None)
        self.register_buffer("velocity", torch.zeros_like(self.weight, requires_grad=False) if self.law.learns else None)
        self.set_feedback(scale, init, redraw)

    def feedback(self) -> Tensor:
        """Return the B in use, of the weight's shape; it takes no part in autograd. Raises ValueError for `dfa`."""
        if self.drawn == "direct":
            raise ValueError("rule: dfa feeds back from the network's output, not through a B of the weight's shape")
        with torch.no_grad():
            weight = self.weight.detach()
            if self.exact:
                return weight
            self.look(weight)
            R = self._scale(weight) if self.drawn == "scale" else self.R
            return self.law.feedback(weight, R)

    def _scale(self, weight: Tensor) -> Tensor | float:
        scale = self.law.scale or self.scale
        if scale == "rms":
            return weight.square().mean().sqrt()
        return 1.0 if scale == "none" else init_bound(weight, self.init) / math.sqrt(3)  # the std of U(-bound, bound)

    def draws(self) -> Iterator[Draw]:
        if self.R is not None:
            yield Draw(self, None, self.law, [self.name], [self.R.numel()], [init_bound(self.weight, self.init)])

    def learned(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if self.R is not None and self.velocity is not None:
            yield self.weight, self.R, self.velocity

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
        return not self.law.exact and not self.exact and torch.is_grad_enabled() and x.requires_grad

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rule={self.rule}"


class RuleConv2d(RuleLayer, nn.Conv2d):
    """`nn.Conv2d` that learns by a rule. Takes its arguments and `rule`, `scale` (uSF), `init` (the range of R), `brsf_redraw`."""

    def __init__(
        self, *args: Any, rule: str = "bp", scale: str = "init_std", init: str = "xavier", brsf_redraw: str = "update", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._set_rule(rule, scale, init, brsf_redraw)

    def forward(self, x: Tensor) -> Tensor:
        self.count_forward()
        feeds_back = self._feeds_back(x)
        if feeds_back and self.drawn == "direct":
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


class RuleLinear(RuleLayer, nn.Linear):
    """`nn.Linear` that learns by a rule. Takes its arguments and `rule`, `scale` (uSF), `init` (the range of R), `brsf_redraw`."""

    def __init__(
        self, *args: Any, rule: str = "bp", scale: str = "init_std", init: str = "xavier", brsf_redraw: str = "update", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._set_rule(rule, scale, init, brsf_redraw)

    def forward(self, x: Tensor) -> Tensor:
        self.count_forward()
        if not self._feeds_back(x):
            return super().forward(x)
        if self.drawn == "direct":
            return self._directly(x, super().forward)
        return _Linear.apply(x, self.weight, self.bias, self.feedback())
