"""The same mathematics laid out for speed: convs of many layers at once, and single convs for which torch is slow."""

from types import ModuleType

from torch import Tensor

from bionas.kernels import batch_last, channels_last

__all__ = ["form"]


def form(x: Tensor) -> ModuleType:
    """Return how a supernet's candidates are laid out on the device that x is on: modules with the same functions."""
    return batch_last if x.is_cpu else channels_last
