"""The rules are biotorch's, to the last digits."""

import pytest
import torch

from bionas import catalog
from bionas.rules import RuleLinear
from bionas.rules.tests.helpers import conv, gradients, relative

BIOTORCHS = [rule for rule in catalog.BIOTORCH if rule != "bp"]
GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2},
    {"groups": 4, "padding": 1},
    {"groups": 8, "padding": 4, "dilation": 2, "stride": 2, "kernel_size": 5},
    {"kernel_size": 1, "stride": 2},
]


def take_biotorch(ours, theirs):
    """Give our layer biotorch's weight, bias and magnitudes."""
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        if ours.bias is not None:
            ours.bias.copy_(theirs.bias)
        if ours.R is not None:
            R = theirs.weight_backward
            ours.R.copy_(R if ours.rule == "fa" else R.abs())


def biotorch_B(theirs):
    """The B that biotorch's last forward used: for frsf its buffer holds the magnitudes alone."""
    B = theirs.weight_backward
    return B.abs() * theirs.weight.sign() if theirs.type == "frsf" else B


@pytest.mark.parametrize("rule", BIOTORCHS)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_conv_equals_biotorch(rule, geometry, bias):
    from biotorch.layers.fa_constructor import Conv2d

    geometry = {"kernel_size": 3, **geometry}
    ours = conv(rule, bias=bias, **geometry).double()
    theirs = Conv2d(8, 8, bias=bias, layer_config={"type": rule}, **geometry).double()
    x = torch.randn(3, 8, 9, 9, dtype=torch.float64)
    theirs_in = x.clone().requires_grad_()
    out = theirs(theirs_in)
    upstream = torch.randn_like(out)
    out.backward(upstream)  # brsf: the forward above drew the B in use
    take_biotorch(ours, theirs)
    torch.testing.assert_close(ours.feedback(), biotorch_B(theirs).data, rtol=1e-12, atol=0)
    grad_x, grad_w, grad_b = gradients(ours, x, upstream)
    assert relative(grad_x, theirs_in.grad) < 1e-10
    assert relative(grad_w, theirs.weight.grad) < 1e-10
    if bias:
        assert relative(grad_b, theirs.bias.grad) < 1e-10


@pytest.mark.parametrize("rule", BIOTORCHS)
def test_linear_equals_biotorch(rule):
    from biotorch.layers.fa_constructor import Linear

    ours, theirs = RuleLinear(7, 5, rule=rule).double(), Linear(7, 5, layer_config={"type": rule}).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    theirs_in = x.clone().requires_grad_()
    out = theirs(theirs_in)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    take_biotorch(ours, theirs)
    torch.testing.assert_close(ours.feedback(), biotorch_B(theirs).data, rtol=1e-12, atol=0)
    grad_x, grad_w, grad_b = gradients(ours, x, upstream)
    assert relative(grad_x, theirs_in.grad) < 1e-10
    assert relative(grad_w, theirs.weight.grad) < 1e-10
    assert relative(grad_b, theirs.bias.grad) < 1e-10
