"""SGD with momentum and weight decay: torch's arithmetic, to the bit, without its second and a half of imports.

`torch.optim` imports the compiler at the first optimiser that is made; a job that trains for a second would spend more than that on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class SGD:
    """Sutskever et al. 2013 as in torch.optim.SGD, without dampening. `lr` is set by whoever has a schedule."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float, nesterov: bool) -> None:
        self.params = list(params)
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.velocities: list[Tensor | None] = [None] * len(self.params)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Say what it does as torch.optim.SGD says it."""
        names = ("params", "lr", "momentum", "weight_decay", "nesterov")
        return [{name: getattr(self, name) for name in names}]

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        moved = [i for i, p in enumerate(self.params) if p.grad is not None]
        if not moved:
            return
        params, grads = [self.params[i] for i in moved], [p.grad for p in self.params if p.grad is not None]
        if self.weight_decay:
            grads = list(torch._foreach_add(grads, params, alpha=self.weight_decay))
        if self.momentum:
            velocities = [self.velocities[i] for i in moved]
            going = [(velocity, grad) for velocity, grad in zip(velocities, grads, strict=True) if velocity is not None]
            if going:
                torch._foreach_mul_([velocity for velocity, _ in going], self.momentum)
                torch._foreach_add_([velocity for velocity, _ in going], [grad for _, grad in going])
            started = [grad.clone() if velocity is None else velocity for velocity, grad in zip(velocities, grads, strict=True)]
            for i, velocity in zip(moved, started, strict=True):
                self.velocities[i] = velocity
            grads = list(torch._foreach_add(grads, started, alpha=self.momentum)) if self.nesterov else started
        torch._foreach_add_(params, grads, alpha=-self.lr)

    def state_dict(self) -> dict[str, Any]:
        return {"velocities": self.velocities}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pairs = zip(state["velocities"], self.params, strict=True)
        self.velocities = [None if saved is None else saved.to(p, copy=True) for saved, p in pairs]
