"""What we are compared with: the same networks from biotorch's own layers; the supernet, as the public code, of one module a candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bionas.networks import parts
from bionas.rules import RuleConv2d, RuleLinear, advance
from bionas.rules.conversion import replacement
from bionas.space import SearchSpace
from bionas.supernet import Supernet, initialise_alphas

BIO = ("fa", "usf", "brsf", "frsf")


def with_biotorch(model: nn.Module) -> nn.Module:
    """Put biotorch's layer of the same rule in the place of every layer of ours."""
    for name, child in model._modules.items():
        if isinstance(child, RuleConv2d | RuleLinear):
            model._modules[name] = replacement(child, child.rule, "biotorch")
        elif child is not None:
            with_biotorch(child)
    return model


def supernet(
    channels: int, cells: int, nodes: int = 4, fused: bool = True, rules=BIO, space: str = "released", none: bool = True
) -> Supernet:
    net = Supernet(SearchSpace(rules, space, none), 3, 10, channels, cells, nodes, fused=fused)
    return initialise_alphas(parts.initialise(net, 0), 0)


def public_supernet(channels: int, cells: int, nodes: int = 4, none: bool = True) -> nn.Module:
    """22 candidates an edge as modules of biotorch's layers, mixed one by one (imanehmz/LR-NAS, BioNAS-DARTS/model_search.py)."""
    return with_biotorch(supernet(channels, cells, nodes, fused=False, none=none))


def step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Forward and backward, as a function to be timed."""

    def run() -> None:
        for p in model.parameters():
            p.grad = None
        F.cross_entropy(model(images), labels).backward()

    return run


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """The same with an SGD update, after which brSF draws anew and Kolen–Pollack learns."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    gradients = step(model, images, labels)

    def run() -> None:
        gradients()
        optimiser.step()
        advance(model, optimiser)

    return run


def batch(size: int, images: int) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    return torch.rand(images, 3, size, size, generator=stream), torch.randint(10, (images,), generator=stream)


# ---------------------------------------------------------------------------------------------- operations

# They compute nothing: other views of the same numbers, or memory for new ones.
VIEWS = (
    "view _unsafe_view reshape _reshape_alias t transpose permute expand expand_as slice select detach alias unsqueeze squeeze as_strided"
)
VIEWS += (
    " as_strided_ split split_with_sizes chunk unbind narrow unfold flatten unflatten lift_fresh resolve_conj resolve_neg contiguous to"
)
VIEWS += " requires_grad_ detach_ result_type"
ALLOCATIONS = "empty empty_like empty_strided new_empty new_empty_strided new_zeros zeros zeros_like ones ones_like resize_ set_"


def operations(run: Callable[[], None]) -> tuple[int, int]:
    """Return how many aten operations are dispatched, and how many of them are neither views nor allocations."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        run()
    counts = Counter(event.name.removeprefix("aten::") for event in trace.events() if event.name.startswith("aten::"))
    idle = set(VIEWS.split()) | set(ALLOCATIONS.split())
    return sum(counts.values()), sum(n for name, n in counts.items() if name not in idle)
