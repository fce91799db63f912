"""Convs laid out anew: torch's own conv is the oracle, its gradients those of W for the weight and of B for the input."""

import pytest
import torch
import torch.nn.functional as F

from bionas.kernels import convs
from bionas.rules import RULES, RuleConv2d, seed_feedback

GEOMETRIES = {  # kernel, stride, dilation, groups: all that the search space has on large maps, and a few more
    (1, 1, 1, 1): convs.pointwise,
    (1, 2, 1, 1): convs.pointwise,
    (5, 1, 1, 4): convs.plain_depthwise,
    (5, 2, 1, 4): convs.plain_depthwise,
    (3, 2, 2, 4): convs.strided_depthwise,
    (5, 2, 2, 4): convs.strided_depthwise,
    (3, 3, 3, 4): convs.strided_depthwise,
    (3, 1, 2, 4): convs.dilated_depthwise,
    (5, 1, 2, 4): convs.dilated_depthwise,
    (3, 1, 3, 4): convs.dilated_depthwise,
}


def images(side=12):
    return torch.randn(2, 4, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def layer(kernel=5, stride=1, dilation=1, groups=4, rule="frsf", **options):
    conv = RuleConv2d(4, 4, kernel, stride, dilation * (kernel // 2), dilation, groups, dtype=torch.float64, rule=rule, **options)
    return seed_feedback(conv, 0)


def torchs(conv, x, weight, bias=None):
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


@pytest.mark.parametrize("side", [12, 13])  # 13 is no multiple of the dilation
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forward_is_the_conv_of_W_and_gradients_are_those_of_W_and_B(geometry, rule, bias, side):
    conv, x = layer(*geometry, rule=rule, bias=bias), images(side).requires_grad_()
    if side == 12:
        assert convs.quicker(conv, x) is GEOMETRIES[geometry]
    out = conv(x)
    grad = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    out.backward(grad)

    W, B, through_B = conv.weight.detach().clone().requires_grad_(), conv.feedback(), images(side).requires_grad_()
    expected = torchs(conv, images(side), W, conv.bias)
    expected.backward(grad)
    torchs(conv, through_B, B).backward(grad)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(conv.weight.grad, W.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad, through_B.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_maps_of_pixels_d_apart_hold_every_dth_pixel_and_come_together_again(d):
    x = images()
    maps = convs.apart(x, d)
    torch.testing.assert_close(maps[: len(x)], x[:, :, ::d, ::d], rtol=0, atol=0)
    torch.testing.assert_close(convs.together(maps, d), x, rtol=0, atol=0)


def test_a_small_depthwise_conv_hands_on_a_gradient_laid_out_as_its_input():
    conv, x = layer(), images(8).requires_grad_()
    (grad,) = torch.autograd.grad(conv(x).sum(), x)
    assert grad.is_contiguous()


def test_what_they_do_not_know_is_left_to_torch():
    assert convs.quicker(layer(), images()) is convs.plain_depthwise
    assert convs.quicker(layer(), images(8)) is convs.small_depthwise
    for other in (
        {"kernel": 3},
        {"kernel": 7},
        {"groups": 2},
        {"stride": (1, 2)},
        {"dilation": 2, "stride": 3},
        {"padding_mode": "circular"},
    ):
        assert convs.quicker(layer(**other), images()) is None, other
    assert convs.quicker(layer(dilation=2), images(13)) is None
    assert convs.quicker(layer(), images().contiguous(memory_format=torch.channels_last)) is None
    assert convs.quicker(layer(), images()[0]) is None
    with torch.no_grad():
        assert convs.quicker(layer(), images()) is None
