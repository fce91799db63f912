"""The same mathematics laid out for speed: convs of many layers at once, and single convs for which torch is slow."""

from types import ModuleType

from torch import Tensor

from bionas.kernels import batched, grouped

__all__ = ["form"]


def form(x: Tensor) -> ModuleType:
    """Return the layout of many layers' convs for the device that x is on."""
    return batched if x.is_cpu else grouped
