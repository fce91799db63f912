"""Random streams from named axes: every draw in the suite belongs to a name, never to a position in a global stream.

So two networks that differ in the rule alone see the same weights, order and augmentation, and a resumed run draws what an
undisturbed one would have drawn.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive(seed: int, *axes: str | int) -> int:
    """Return a 63-bit seed that is a fixed function of `seed` and the named axes, on every platform."""
    text = "\x1f".join([str(seed), *map(str, axes)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *axes: str | int) -> torch.Generator:
    """Return a CPU generator of the stream that the axes name; draws on the CPU are the same whatever the device."""
    return torch.Generator().manual_seed(derive(seed, *axes))


def uniform(like: Tensor, key: int) -> Tensor:
    """Return float32 (or float64) numbers in [0, 1) of `like`'s shape and device: element i is a hash of (key, i), without state."""
    counter = torch.arange(1, like.numel() + 1, device=like.device)
    return unit_interval(scrambled(counter * GOLDEN + key), like.dtype).view(like.shape)


def scrambled(z: Tensor) -> Tensor:
    """Scramble int64 in place, one to one, 0 to 0: splitmix64's finaliser (Steele, Lea & Flood 2014). Its counter goes up by `GOLDEN`."""
    shifted = torch.empty_like(z)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z.bitwise_xor_(_shift_right(z, shift, shifted)).mul_(_signed(factor))
    return z.bitwise_xor_(_shift_right(z, 31, shifted))


def unit_interval(z: Tensor, dtype: torch.dtype) -> Tensor:
    """Make numbers in [0, 1) of scrambled ones: of their top 24 bits, the same on every device, in float32 or, if asked, float64."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32  # halves cannot hold 24 bits
    return _shift_right(z, 40, torch.empty_like(z)).to(exact).mul_(2.0**-24)


def _signed(unsigned: int) -> int:
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def _shift_right(z: Tensor, bits: int, out: Tensor) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return torch.bitwise_right_shift(z, bits, out=out).bitwise_and_((1 << (64 - bits)) - 1)


GOLDEN = _signed(0x9E3779B97F4A7C15)
