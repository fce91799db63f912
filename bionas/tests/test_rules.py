"""The rules are biotorch's, to the last digits, and what biotorch gets wrong is right here."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bionas import catalog
from bionas.rules import RULES, RuleConv2d, RuleLinear, advance, convert, seed_feedback, true_gradient

BIOTORCHS = [rule for rule in catalog.BIOTORCH if rule != "bp"]
GEOMETRIES = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2},
    {"groups": 4, "padding": 1},
    {"groups": 8, "padding": 4, "dilation": 2, "stride": 2, "kernel_size": 5},
    {"kernel_size": 1, "stride": 2},
]


def conv(rule, in_channels=8, out_channels=8, kernel_size=3, **kwargs):
    layer = RuleConv2d(in_channels, out_channels, kernel_size, rule=rule, **kwargs)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def gradients(layer, x, upstream=None):
    x = x.detach().clone().requires_grad_()
    out = layer(x)
    out.backward(torch.ones_like(out) if upstream is None else upstream)
    grads = [x.grad, layer.weight.grad.clone(), None if layer.bias is None else layer.bias.grad.clone()]
    layer.zero_grad()
    return grads


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


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
@pytest.mark.parametrize(("rule", "degrees"), [("usf", 30.0), ("brsf", 41.41), ("frsf", 41.41), ("fa", 90.0)])
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


class TestBrSF:
    """Redraws once an update: not once a forward, and never in evaluation."""

    def model(self):
        return seed_feedback(nn.Sequential(conv("brsf"), conv("brsf"), conv("frsf"), RuleLinear(4, 4, rule="brsf")), 3)

    def feedbacks(self, model):
        return [layer.feedback().clone() for layer in model]

    def test_keeps_B_between_updates_whatever_runs(self):
        model, before = self.model(), None
        before = self.feedbacks(model)
        state = torch.get_rng_state()
        for training in (True, False):
            model[:3].train(training)(torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))).sum().backward()
        assert all(map(torch.equal, before, self.feedbacks(model)))
        assert torch.equal(state, torch.get_rng_state())

    def test_redraws_after_an_update_and_only_brsf_does(self):
        model = self.model()
        before = self.feedbacks(model)
        advance(model)
        assert [torch.equal(a, b) for a, b in zip(before, self.feedbacks(model), strict=True)] == [False, False, True, False]

    def test_layers_of_one_shape_draw_apart(self):
        first, second = self.feedbacks(self.model())[:2]
        assert not torch.equal(first.abs(), second.abs())

    def test_a_restored_model_goes_on_with_the_same_draws(self):
        model, restored = self.model(), self.model()
        for _ in range(3):
            advance(model)
        restored.load_state_dict(model.state_dict())
        for _ in range(2):
            advance(model), advance(restored)
        assert all(map(torch.equal, self.feedbacks(model), self.feedbacks(restored)))

    def test_on_request_it_redraws_at_every_forward_as_biotorch_in_evaluation_too(self):
        layer = conv("brsf", brsf_redraw="forward").eval()
        x = torch.randn(1, 8, 9, 9)
        first, _, third = layer.feedback().clone(), layer(x), layer.feedback().clone()
        advance(layer)
        assert not torch.equal(first, third) and torch.equal(third, layer.feedback())

    def test_activation_checkpointing_changes_nothing(self):
        from torch.utils.checkpoint import checkpoint

        model = self.model()[:3]
        x = torch.randn(2, 8, 9, 9, requires_grad=True)
        (plain,) = torch.autograd.grad(model(x).square().sum(), x)
        (again,) = torch.autograd.grad(checkpoint(model, x, use_reentrant=False, preserve_rng_state=False).square().sum(), x)
        torch.testing.assert_close(again, plain, rtol=0, atol=0)


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


class TestConvert:
    def test_keeps_weights_and_says_what_stayed(self):
        model = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "up": nn.ConvTranspose2d(4, 4, 2), "norm": nn.BatchNorm2d(4)})
        model["attention"] = nn.MultiheadAttention(8, 2)  # reads out_proj's weight itself: a replacement would not be asked
        model["lstm"] = nn.LSTM(2, 2)
        weight = model["conv"].weight
        converted, stayed = convert(model, "fa")
        assert isinstance(converted["conv"], RuleConv2d) and converted["conv"].weight is weight
        assert stayed == ("up", "attention", "attention.out_proj", "lstm")  # attention and lstm own weights themselves

    def test_everything_stays_bp_under_bp(self):
        assert convert(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "bp")[1] == ("0",)

    def test_a_tied_module_stays_one(self):
        shared = nn.Linear(4, 4)
        model, _ = convert(nn.Sequential(shared, nn.ReLU(), shared), "frsf")
        assert model[0] is model[2] and isinstance(model[0], RuleLinear)

    def test_a_bare_layer_is_converted(self):
        layer, stayed = convert(nn.Conv2d(3, 3, 1), "usf")
        assert layer.rule == "usf" and stayed == ()

    @pytest.mark.parametrize("rule", catalog.BIOTORCH)
    def test_biotorch_backend_computes_the_same_forward_with_biotorchs_layers(self, rule):
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        x = torch.randn(2, 3, 8, 8)
        expected, state = plain(x), torch.get_rng_state()
        model, _ = convert(copy.deepcopy(plain), rule, backend="biotorch")
        assert torch.equal(state, torch.get_rng_state())
        assert all(type(model[i]).__module__.startswith("biotorch.") for i in (0, 3))
        torch.testing.assert_close(model(x), expected)
        with pytest.raises(ValueError, match="native"), true_gradient(model):
            pass

    def test_biotorchs_layers_draw_apart_and_follow_the_seed(self):
        def feedbacks(seed):
            model, _ = convert(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "fa", backend="biotorch", seed=seed)
            return [layer.weight_backward for layer in model]

        (first, second), (other, _) = feedbacks(1), feedbacks(2)
        assert not torch.equal(first, second) and not torch.equal(first, other) and torch.equal(first, feedbacks(1)[0])

    def test_conversion_leaves_the_global_stream_alone(self):
        state = torch.get_rng_state()
        convert(nn.Sequential(nn.Linear(4, 4)), "fa")
        reference = torch.get_rng_state()
        torch.set_rng_state(state)
        nn.Sequential(nn.Linear(4, 4))
        assert torch.equal(torch.get_rng_state(), reference)

    def test_biotorch_backend_refuses_what_biotorch_gets_wrong(self):
        with pytest.raises(ValueError, match="padding"):
            convert(nn.Conv2d(3, 3, 3, padding="same"), "fa", backend="biotorch")
        with pytest.raises(ValueError, match="scale"):
            convert(nn.Conv2d(3, 3, 3), "usf", backend="biotorch", scale="none")

    def test_biotorch_backend_refuses_a_rule_that_biotorch_lacks(self, monkeypatch):
        """Its layers take any word for FA."""
        monkeypatch.setitem(catalog.RULES, "sign", catalog.RULES["usf"])
        with pytest.raises(ValueError, match="biotorch has no rule 'sign'"):
            convert(nn.Linear(2, 2), "sign", backend="biotorch")


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
