"""Depthwise convs laid out anew: torch's own conv is the oracle, its gradients those of W for the weight and of B for the input."""

import pytest
import torch
import torch.nn.functional as F

from bionas.depthwise import apart, depthwise, is_slow, together
from bionas.rules import RULES, RuleConv2d, seed_feedback

GEOMETRIES = [  # kernel, stride, dilation: all that the search space has on large maps, and a few more
    (5, 1, 1),
    (5, 2, 1),
    (3, 1, 2),
    (3, 2, 2),
    (5, 1, 2),
    (5, 2, 2),
    (3, 1, 3),
    (5, 3, 3),
]


def images(side=12, channels=3):
    return torch.randn(2, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def kernels(k, channels=3):
    return torch.randn(2, channels, 1, k, k, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kernel", "stride", "dilation"), GEOMETRIES)
def test_forward_is_the_conv_of_W_and_gradients_are_those_of_B_and_W(kernel, stride, dilation):
    x, (W, B) = images(), kernels(kernel)
    options = {"stride": stride, "padding": dilation * (kernel // 2), "dilation": dilation, "groups": 3}
    assert is_slow(x, *((n, n) for n in (kernel, stride, options["padding"], dilation)))

    expected = F.conv2d(x, W, **options)
    grad = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    through_B, exact = x.clone().requires_grad_(), W.clone().requires_grad_()
    F.conv2d(through_B, B, **options).backward(grad)
    F.conv2d(x, exact, **options).backward(grad)

    x, W = x.requires_grad_(), W.clone().requires_grad_()
    out = depthwise(x, W, B, stride, dilation)
    out.backward(grad)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad, through_B.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(W.grad, exact.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_maps_of_pixels_d_apart_hold_every_dth_pixel_and_come_together_again(d):
    x = images()
    maps = apart(x, d)
    torch.testing.assert_close(maps[: len(x)], x[:, :, ::d, ::d], rtol=0, atol=0)
    torch.testing.assert_close(together(maps, d), x, rtol=0, atol=0)


@pytest.mark.parametrize("side", [12, 13])  # 13: no multiple of the dilation, left to torch
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), GEOMETRIES[:6])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_layer_is_the_same_layer_with_it(rule, kernel, stride, dilation, bias, side):
    padding = dilation * (kernel // 2)
    layer = seed_feedback(RuleConv2d(3, 3, kernel, stride, padding, dilation, 3, bias, dtype=torch.float64, rule=rule), 0)
    x = images(side).requires_grad_()
    out = layer(x)
    out.square().sum().backward()

    plain = images(side).requires_grad_()
    W = layer.weight.detach().clone().requires_grad_()
    expected = F.conv2d(plain.detach(), W, layer.bias, stride, padding, dilation, 3)
    expected.square().sum().backward()
    F.conv2d(plain, layer.feedback(), None, stride, padding, dilation, 3).backward(2 * expected.detach())
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.weight.grad, W.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad, plain.grad, rtol=1e-12, atol=1e-12)


def test_what_it_does_not_know_is_left_to_torch():
    x = images()
    known = {"kernel": (5, 5), "stride": (1, 1), "padding": (4, 4), "dilation": (2, 2)}
    assert is_slow(x, **known)
    others = [{"kernel": (3, 5)}, {"stride": (1, 2)}, {"padding": (2, 2)}, {"padding": (4, 2)}, {"dilation": (2, 1)}, {"kernel": (7, 7)}]
    for other in others:
        assert not is_slow(x, **(known | other)), other
    assert not is_slow(x.contiguous(memory_format=torch.channels_last), **known)
    assert not is_slow(images(13), **known)
    assert not is_slow(x, (3, 3), (1, 1), (1, 1), (1, 1))
