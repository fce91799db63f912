"""Layers under a rule: forward the ordinary layer, backward through B."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bionas.rules import RULES, RuleConv2d, RuleLinear, convert, seed_feedback, true_gradient
from bionas.rules.feedback import ALL
from bionas.rules.table import Rule
from bionas.rules.tests.helpers import conv, gradients, relative


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2, "padding": 1}, {"padding": 4, "dilation": 2, "kernel_size": 5}, {"padding": (1, 0)}], ids=str
)
@pytest.mark.parametrize("size", [(8, 7), (12, 13)])
def test_a_depthwise_conv_computed_by_products_is_a_conv(rule, bias, geometry, size):
    """On small maps, and where kernels are large and dilated; the oracle is torch's own conv, forward and backward, with B in W's place."""
    layer = conv(rule, 4, 4, **{"kernel_size": 3, "groups": 4, "bias": bias, **geometry}).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    options = [layer.stride, layer.padding, layer.dilation, layer.groups]
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, *options))
    upstream = torch.randn_like(layer(x))
    grad_x, grad_w, grad_b = gradients(layer, x, upstream)
    sizes = None if layer.bias is None else [4]
    theirs = torch.ops.aten.convolution_backward(upstream, x, layer.feedback(), sizes, *options[:3], False, (0, 0), 4, [True, True, bias])
    assert relative(grad_x, theirs[0]) < 1e-12 and relative(grad_w, theirs[1]) < 1e-12
    if bias:
        assert relative(grad_b, theirs[2]) < 1e-12


# arccos of √3/2 and of 3/4 for a uniform weight; a random B is orthogonal.
@pytest.mark.parametrize(("rule", "degrees"), [("usf", 30.0), ("brsf", 41.41), ("frsf", 41.41), ("fa", 90.0), ("kp", 90.0)])
def test_angle_and_length_of_the_feedback_in_use_at_initialisation(rule, degrees):
    layer = conv(rule, 64, 64)
    W, B = layer.weight.detach().flatten(), layer.feedback().flatten()
    assert math.degrees(math.acos(F.cosine_similarity(W, B, dim=0))) == pytest.approx(degrees, abs=1)
    assert (B.norm() / W.norm()).item() == pytest.approx(1, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 5)]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 2, "same"]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    batch=st.sampled_from([1, 3]),
)
def test_with_B_equal_to_W_every_conv_is_autograd(groups, kernel, stride, dilation, padding, mode, batch):
    stride = 1 if padding == "same" else stride
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    ours = RuleConv2d(4, 8, kernel, rule="fa", dtype=torch.float64, **geometry)
    plain = nn.Conv2d(4, 8, kernel, dtype=torch.float64, **geometry)
    plain.load_state_dict({"weight": ours.weight, "bias": ours.bias})
    ours.R.copy_(ours.weight.detach())
    x = torch.randn(batch, 4, 12, 12, dtype=torch.float64)
    for mine, exact in zip(gradients(ours, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (2, 3, 7)])
def test_true_gradient_is_autograd_for_linears_of_any_input_shape(rule, shape):
    ours, plain = RuleLinear(7, 1, rule=rule).double(), nn.Linear(7, 1).double()
    plain.load_state_dict({"weight": ours.weight, "bias": ours.bias})
    x = torch.randn(shape, dtype=torch.float64)
    gradients(ours, x)
    with true_gradient(ours):
        exact = gradients(ours, x)
    for mine, reference in zip(exact, gradients(plain, x), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_true_gradient_is_autograd_for_a_whole_network_and_ends_with_its_block(rule):
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 2)).double()
    ours, _ = convert(copy.deepcopy(plain), rule)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def input_gradient(model):
        y = x.clone().requires_grad_()
        return torch.autograd.grad(model(y).square().sum(), y)[0]

    before = input_gradient(ours)
    with pytest.raises(RuntimeError, match="inside"), true_gradient(ours):
        torch.testing.assert_close(input_gradient(ours), input_gradient(plain), rtol=0, atol=0)
        raise RuntimeError("inside")
    torch.testing.assert_close(input_gradient(ours), before, rtol=0, atol=0)
    if rule != "bp":
        assert relative(before, input_gradient(plain)) > 0.1


TWICE = Rule(lambda W, R: 2 * W, draw="nothing")


@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (1, 1), (5, 8)])
def test_a_rule_without_R_feeds_back_through_its_own_B(kernel, groups, monkeypatch):
    monkeypatch.setitem(ALL, "twice", f"{__name__}:TWICE")
    layer = RuleConv2d(8, 8, kernel, padding=kernel // 2, groups=groups, rule="twice").double()
    plain = nn.Conv2d(8, 8, kernel, padding=kernel // 2, groups=groups).double()
    plain.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    x = torch.randn(2, 8, 12, 12, dtype=torch.float64)
    found, exact = gradients(layer, x), gradients(plain, x)
    assert relative(found[0], 2 * exact[0]) < 1e-12 and relative(found[1], exact[1]) < 1e-12


def test_feedback_is_a_buffer_never_a_parameter():
    layer = conv("fa")
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert {name for name, _ in layer.named_buffers()} == {"R"}


@pytest.mark.parametrize("scale", ["init_std", "none", "rms"])
def test_scale_of_usf(scale):
    layer = conv("usf", scale=scale, bias=False)
    expected = {"init_std": math.sqrt(2 / (8 * 9 + 8 * 9)), "none": 1.0, "rms": layer.weight.square().mean().sqrt().item()}[scale]
    torch.testing.assert_close(layer.feedback(), expected * layer.weight.detach().sign())


@pytest.mark.parametrize("rule", RULES)
def test_autocast_trains_and_hands_back_the_parameters_dtype(rule):
    layer = conv(rule)
    x = torch.randn(2, 8, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = gradients(layer, x)
    for grad, exact in zip(coarse, gradients(layer, x), strict=True):
        assert grad.dtype == torch.float32 and relative(grad, exact) < 0.02  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("rule", RULES)
def test_an_image_without_a_batch_is_a_batch_of_one(rule):
    layer, x = conv(rule), torch.randn(8, 9, 9)
    for single, batch in zip(gradients(layer, x), gradients(layer, x[None]), strict=True):
        torch.testing.assert_close(single, batch.view_as(single))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"rule": "uSF"}, "did you mean 'usf'"),
        ({"rule": "usf", "scale": "big"}, "init_std"),
        ({"rule": "fa", "init": "x"}, "xavier"),
    ],
)
def test_unknown_words_are_refused_with_the_allowed_ones(kwargs, words):
    with pytest.raises(ValueError, match=words):
        RuleConv2d(1, 1, 1, **kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_the_catalog_is_one(rule):
    feedback = conv(rule).feedback()
    assert feedback.shape == (8, 8, 3, 3) and feedback.abs().max() > 0 and feedback.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", RULES)
def test_feedback_is_the_same_on_the_gpu(rule):
    layer = conv(rule)
    here = layer.feedback()
    torch.testing.assert_close(seed_feedback(layer.cuda(), 0).feedback().cpu(), here, rtol=0, atol=0)


SIGN = Rule(lambda W, R: R * torch.sign(W), draw="scale", scale="rms")


@pytest.mark.parametrize("scale", ["init_std", "none"])
def test_a_rule_may_have_a_scale_of_its_own_whatever_the_setting(scale, monkeypatch):
    """Sign symmetry at the weight's own magnitude: B has the signs of W and, in every layer, its norm."""
    monkeypatch.setitem(ALL, "sign", f"{__name__}:SIGN")
    layer = conv("sign", scale=scale)
    torch.testing.assert_close(layer.feedback(), layer.weight.detach().square().mean().sqrt() * layer.weight.detach().sign())
    with torch.no_grad():
        layer.weight.mul_(3)
    torch.testing.assert_close(layer.feedback().norm(), layer.weight.detach().norm())
