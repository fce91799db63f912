"""Feedback that learns (Kolen & Pollack 1994; Akrout et al. 2019): B takes every update that W takes.

Both get the same gradient and the same decay, so their difference D = W − B never sees the gradient. Under SGD with rate η, momentum μ
and decay λ it moves by itself, with a velocity V of its own that starts at 0:

    V ← μV + λD        D ← D − ηV        with Nesterov's momentum: D ← D − η(λD + μV)

D is the R of such a rule, and B = W − R. Without decay it stays what it was, and B never comes to agree with W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bionas.rules.feedback import FeedbackOwner


@torch.no_grad()
def follow(owners: Sequence[FeedbackOwner], optimiser: Any) -> None:
    """Take the step that the optimiser has just taken on weights on their feedback, too. Where a weight stood still, so does its B.

    Raises ValueError unless it is an SGD, ours or torch's, and its gradients are still there.
    """
    groups = _groups(owners, optimiser)
    moved = {id(p): i for i, group in enumerate(groups) for p in group["params"] if p.grad is not None}
    if not moved:
        raise ValueError("advance: no weight has a gradient; allowed: after optimiser.step() and before zero_grad()")
    for i, group in enumerate(groups):
        learned = [part for owner in owners if moved.get(id(owner.weight)) == i for part in owner.learned()]
        if learned:
            _step([R for _, R, _ in learned], [velocity for _, _, velocity in learned], group)


def _step(Rs: list[Tensor], velocities: list[Tensor], group: Mapping[str, Any]) -> None:
    steps = torch._foreach_mul(Rs, group["weight_decay"])
    torch._foreach_mul_(velocities, group["momentum"])
    torch._foreach_add_(velocities, steps)
    if group["nesterov"]:
        torch._foreach_add_(steps, velocities, alpha=group["momentum"])
    torch._foreach_add_(Rs, steps if group["nesterov"] else velocities, alpha=-float(group["lr"]))


def _groups(owners: Sequence[FeedbackOwner], optimiser: Any) -> Sequence[Mapping[str, Any]]:
    if optimiser is None:
        rules = dict.fromkeys(rule for owner in owners for rule in owner.rules if owner.definition(rule).learns)
        raise ValueError(f"advance: the feedback of {', '.join(rules)} learns as its weights do; call advance(model, optimiser)")
    found = type(optimiser).__name__
    groups: Sequence[Mapping[str, Any]] = getattr(optimiser, "param_groups", ())
    if found != "SGD" or any(group.get("dampening") for group in groups):
        found += " with dampening" if found == "SGD" else ""
        raise ValueError(f"advance: feedback that learns takes SGD's steps; found {found}; allowed: SGD without dampening, ours or torch's")
    return groups
