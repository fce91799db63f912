"""Streams have names, and the hash is splitmix64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bionas.seeds import derive, generator, uniform

# The first outputs of splitmix64 from state 0, as its authors' reference code prints them.
SPLITMIX64 = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]


def test_uniform_is_splitmix64s_top_24_bits():
    expected = [(value >> 40) / 2**24 for value in SPLITMIX64]
    assert uniform(torch.empty(4, dtype=torch.float64), 0).tolist() == expected


@given(key=st.integers(0, 2**63 - 1))
def test_uniform_lies_in_the_unit_interval_and_is_the_same_in_float32(key):
    u = uniform(torch.empty(100), key)
    assert u.min() >= 0 and u.max() < 1
    assert torch.equal(u.double(), uniform(torch.empty(100, dtype=torch.float64), key))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_get_numbers_that_were_drawn_in_full(dtype):
    u = uniform(torch.empty(1000, dtype=dtype), 1)
    assert u.dtype == torch.float32 and u.max() < 1


def test_uniform_is_uniform():
    u = uniform(torch.empty(10**6, dtype=torch.float64), derive(0, "x"))
    assert u.mean().item() == pytest.approx(1 / 2, abs=0.002)
    assert u.var().item() == pytest.approx(1 / 12, abs=0.001)
    assert torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1].abs().item() < 0.005


def test_axes_are_told_apart():
    seeds = {derive(0), derive(1), derive(0, "a"), derive(0, "b"), derive(0, "a", "b"), derive(0, "ab"), derive(0, "a", 1)}
    assert len(seeds) == 7


def test_generator_does_not_touch_the_global_stream():
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
