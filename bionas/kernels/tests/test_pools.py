"""Pools laid out anew: torch's own pool is the oracle."""

import pytest
import torch
import torch.nn.functional as F

from bionas.kernels.pools import max_pool


def maps(*shape):
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(0)).float()  # of few values, so that windows have ties


def pooled(pool, x, **options):
    x = x.requires_grad_()
    out = pool(x, **options)
    (grad,) = torch.autograd.grad(out, x, torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    return out, grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (2, 4, 7, 9), (1, 1, 1, 1)])
def test_a_max_pool_is_torchs_to_the_bit_ties_and_their_gradients_too(shape, stride, layout):
    mine = pooled(max_pool, maps(*shape).to(memory_format=layout), stride=stride)
    torchs = pooled(F.max_pool2d, maps(*shape), kernel_size=3, stride=stride, padding=1)
    assert all(map(torch.equal, mine, torchs))


def test_what_is_no_number_stays_visible():
    x = maps(1, 2, 6, 6)
    x[0, 1, 3, 3] = torch.nan
    torch.testing.assert_close(max_pool(x, 1), F.max_pool2d(x, 3, 1, 1), rtol=0, atol=0, equal_nan=True)


def test_map_and_gradient_come_back_laid_out_as_the_map_was():
    assert all(t.is_contiguous() for t in pooled(max_pool, maps(5, 3, 8, 8), stride=1))
