"""Laws of the rules, whatever the numbers: what a backward pass is linear in, and all that B depends on."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bionas.rules import RULES, Feedback, RuleConv2d, RuleLinear, advance, connect_output, seed_feedback
from bionas.rules.tests.helpers import gradients

factors = st.floats(-8, 8).map(lambda number: round(number, 3))
seeds = st.integers(0, 2**31 - 1)
SIGNED = ("usf", "brsf", "frsf")
laws = settings(max_examples=25, deadline=None)


def layers(rule):
    """A conv and a linear layer, each with an input that fits."""
    conv = RuleConv2d(3, 4, 3, padding=1, rule=rule, dtype=torch.float64)
    return [(conv, torch.randn(2, 3, 5, 5, dtype=torch.float64)), (RuleLinear(6, 4, rule=rule).double(), torch.randn(3, 6).double())]


@laws
@given(rule=st.sampled_from(RULES), seed=seeds, a=factors, b=factors)
def test_a_backward_pass_is_linear_in_the_error_that_comes_in(rule, seed, a, b):
    torch.manual_seed(seed)
    for layer, x in layers(rule):
        one, other = torch.randn_like(layer(x)), torch.randn_like(layer(x))
        apart = zip(gradients(layer, x, one), gradients(layer, x, other), strict=True)
        for both, (first, second) in zip(gradients(layer, x, a * one + b * other), apart, strict=True):
            torch.testing.assert_close(both, a * first + b * second, rtol=1e-9, atol=1e-9)


@laws
@given(rule=st.sampled_from(RULES), seed=seeds)
def test_a_layers_own_gradients_are_backpropagations_whatever_its_rule(rule, seed):
    torch.manual_seed(seed)
    for layer, x in layers(rule):
        error = torch.randn_like(layer(x))
        _, *found = gradients(layer, x, error)
        with torch.enable_grad():
            plain = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1) if x.dim() == 4 else x @ layer.weight.T + layer.bias
            exact = torch.autograd.grad(plain, [layer.weight, layer.bias], error)
        torch.testing.assert_close(tuple(found), exact, rtol=1e-10, atol=1e-10)


def network(rule, extra):
    """The layer `of_interest`, with so many others before and after it."""
    model = nn.Sequential()
    for number in range(extra):
        model.append(RuleLinear(2 + number, 3, rule=rule))
    model.add_module("of_interest", RuleLinear(5, 4, rule=rule))
    for _ in range(extra):
        model.append(RuleConv2d(2, 2, 1, rule=rule))
    return model


@laws
@given(
    rule=st.sampled_from([rule for rule in RULES if rule != "kp"]),
    seed=seeds,
    extra=st.integers(0, 3),
    updates=st.integers(0, 3),
    other=seeds,
    forwards=st.integers(0, 2),
)
def test_B_depends_on_seed_name_update_and_weight_and_nothing_else(rule, seed, extra, updates, other, forwards):
    """Not on the other layers, nor on the state of torch's generator, nor on how often it was used or asked for."""
    found = []
    for neighbours, state, uses in ((0, 0, 0), (extra, other, forwards)):
        torch.manual_seed(state)
        model = seed_feedback(network(rule, neighbours), seed)
        layer = model.get_submodule("of_interest")
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-1, 1, 20).view(4, 5))
        for _ in range(updates):
            for _ in range(uses):
                layer(torch.randn(2, 5, requires_grad=True)).sum().backward()
                layer.feedback()
            advance(model)
        found.append(layer.feedback())
    assert torch.equal(*found)


@laws
@given(seed=seeds, other=seeds.filter(bool), rule=st.sampled_from(["fa", "brsf", "frsf", "kp"]))
def test_another_seed_is_another_B_and_so_is_another_name(seed, other, rule):
    def B(seed, name):
        layer = RuleLinear(8, 8, rule=rule)
        with torch.no_grad():
            layer.weight.fill_(0.5)
        layer.reseed(seed, name)
        return layer.feedback()

    assert torch.equal(B(seed, "a"), B(seed, "a"))
    assert not torch.equal(B(seed, "a"), B(seed + other, "a"))
    assert not torch.equal(B(seed, "a"), B(seed, "b"))


@laws
@given(rule=st.sampled_from(["fa", "frsf"]), seed=seeds, updates=st.integers(1, 3))
def test_what_is_drawn_once_stays_and_what_is_drawn_anew_does_not(rule, seed, updates):
    def B(rule, count):
        model = seed_feedback(nn.Sequential(RuleLinear(8, 8, rule=rule)), seed)
        with torch.no_grad():
            model[0].weight.fill_(0.5)
        for _ in range(count):
            advance(model)
        return model[0].feedback()

    assert torch.equal(B(rule, 0), B(rule, updates))
    drawn = [B("brsf", count) for count in range(updates + 1)]
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(updates + 1) for j in range(i))


weights = st.lists(st.sampled_from([-2.0, -1e-6, -0.0, 0.0, 1e-6, 0.7, 3.0]), min_size=20, max_size=20)


@laws
@given(rule=st.sampled_from(SIGNED), W=weights, seed=seeds, factor=st.floats(1e-3, 1e3))
def test_sign_concordant_B_has_the_weights_signs_and_does_not_see_their_sizes(rule, W, seed, factor):
    layer = RuleLinear(5, 4, rule=rule)
    layer.reseed(seed, "x")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(W).view(4, 5))
        B = layer.feedback()
        assert torch.equal(B.sign(), layer.weight.sign())
        layer.weight.mul_(factor)
    torch.testing.assert_close(layer.feedback(), B, rtol=0, atol=0)
    with torch.no_grad():
        layer.weight.neg_()
    assert torch.equal(layer.feedback(), -B)


@laws
@given(W=weights)
def test_bps_B_is_the_weight_and_fas_does_not_see_it(W):
    bp, fa = RuleLinear(5, 4, rule="bp"), RuleLinear(5, 4, rule="fa")
    before = fa.feedback().clone()
    with torch.no_grad():
        for layer in (bp, fa):
            layer.weight.copy_(torch.tensor(W).view(4, 5))
    assert torch.equal(bp.feedback(), bp.weight) and torch.equal(fa.feedback(), before)


@pytest.mark.parametrize("rule", ["fa", "brsf", "frsf"])
def test_R_is_uniform_within_the_initialisers_bound(rule):
    """Of 200 × 100 weights: √(6 / 300) by Glorot & Bengio; signed under FA, a magnitude under brSF and frSF."""
    R = RuleLinear(200, 100, rule=rule).R
    bound = (6 / 300) ** 0.5
    low = -bound if rule == "fa" else 0.0
    assert low <= R.min() < low + 0.001 * bound and bound * 0.999 < R.max() <= bound
    share = ((R - low) / (bound - low) < 0.25).double().mean()
    assert share.item() == pytest.approx(0.25, abs=0.015)


def test_direct_feedback_is_uniform_on_both_sides_of_0():
    """Of 400 inputs: within ± 1/√400."""
    B = RuleLinear(400, 10, rule="dfa").direct_feedback(50, torch.zeros(1, 400))
    assert -0.05 <= B.min() < -0.0499 and 0.0499 < B.max() <= 0.05
    assert (B < 0).double().mean().item() == pytest.approx(0.5, abs=0.015)


@laws
@given(seed=seeds, a=factors, b=factors)
def test_direct_feedback_is_linear_in_the_outputs_error_and_each_pass_has_its_own(seed, a, b):
    """Three passes back through one graph."""
    torch.manual_seed(seed)
    net = nn.Sequential(RuleLinear(6, 5, rule="dfa"), nn.Tanh(), RuleLinear(5, 4, rule="dfa")).double()
    output = connect_output(net)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    with output:
        logits = output.listen(net(x))
    one, other = torch.randn(2, 3, 4, dtype=torch.float64)
    asked = [x, *net.parameters()]
    first, second, both = (torch.autograd.grad(logits, asked, error, retain_graph=True) for error in (one, other, a * one + b * other))
    for parts, found in zip(zip(first, second, strict=True), both, strict=True):
        torch.testing.assert_close(found, a * parts[0] + b * parts[1], rtol=1e-9, atol=1e-9)


def test_direct_feedback_has_no_second_derivative_and_says_so():
    net = nn.Sequential(RuleLinear(6, 5, rule="dfa"), nn.Tanh(), RuleLinear(5, 4, rule="dfa"))
    output = connect_output(net)
    x = torch.randn(3, 6, requires_grad=True)
    with output:
        logits = output.listen(net(x))
    (gradient,) = torch.autograd.grad(logits.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_model_that_is_set_back_draws_what_it_drew_from_there_on():
    model = seed_feedback(nn.Sequential(RuleLinear(8, 8, rule="brsf")), 3)
    with torch.no_grad():
        model[0].weight.fill_(0.5)
    feedback, drawn, states = Feedback(model), [], []
    for _ in range(4):
        feedback.advance()
        drawn.append(model[0].feedback())
        states.append(copy.deepcopy(model.state_dict()))
    model.load_state_dict(states[0])
    for expected in drawn[1:]:
        feedback.advance()
        assert torch.equal(model[0].feedback(), expected)
