"""Every rule in every corner: the same numbers whatever the memory layout, the bookkeeping of the backward pass, or who shares a layer."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from bionas.rules import RULES, RuleConv2d, RuleLinear, advance, seed_feedback


class Net(nn.Module):
    """One layer of each kind: a conv, a depthwise conv on a large map, a dilated one, one on a small map, a pointwise one, a linear."""

    def __init__(self, rule):
        super().__init__()
        self.first = RuleConv2d(3, 8, 3, padding=1, rule=rule)
        self.large = RuleConv2d(8, 8, 5, padding=2, groups=8, rule=rule)
        self.dilated = RuleConv2d(8, 8, 5, padding=4, dilation=2, groups=8, bias=False, rule=rule)
        self.small = RuleConv2d(8, 8, 3, padding=2, dilation=2, groups=8, rule=rule)
        self.point = RuleConv2d(8, 8, 1, rule=rule)
        self.linear = RuleLinear(8, 4, rule=rule)

    def head(self, x):
        return F.avg_pool2d(self.dilated(self.large(self.first(x).relu()).relu()).relu(), 2)

    def tail(self, x):
        return self.linear(self.point(self.small(x).relu()).mean((2, 3)))

    def forward(self, x):
        return self.tail(self.head(x))


def net(rule, dtype=torch.float64):
    torch.manual_seed(0)
    return seed_feedback(Net(rule).to(dtype), 0)


def images(n=4, dtype=torch.float64):
    return torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()


def gradients(model, x, run=None):
    model.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    (model(x) if run is None else run(model, x)).square().sum().backward()
    return {"input": x.grad, **{name: p.grad.clone() for name, p in model.named_parameters()}}


def assert_same(ours, theirs, tolerance=1e-12):
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name], value, rtol=tolerance, atol=tolerance * value.abs().max().item(), msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("rule", RULES)
def test_activation_checkpointing_computes_the_same(rule):
    def run(model, x):
        return model.tail(checkpoint(model.head, x, use_reentrant=False))

    assert_same(gradients(net(rule), images(), run), gradients(net(rule), images()), 0)


@pytest.mark.parametrize("rule", RULES)
def test_accumulated_gradients_are_those_of_the_whole_batch(rule):
    """B is of the update, not of the forward: two halves see the same one."""
    model, x = net(rule), images()
    whole = gradients(model, x)
    model.zero_grad()
    for half in x.detach().split(2):
        model(half.requires_grad_()).square().sum().backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, {k: v for k, v in whole.items() if k != "input"})


@pytest.mark.parametrize("rule", RULES)
def test_channels_last_computes_the_same(rule):
    plain = gradients(net(rule), images())
    last = gradients(net(rule).to(memory_format=torch.channels_last), images().to(memory_format=torch.channels_last))
    assert_same(last, plain)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_of_one_is_the_first_of_many(rule):
    many = gradients(net(rule), images())
    one = gradients(net(rule), images()[:1])
    assert_same({"input": one["input"]}, {"input": many["input"][:1]})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_is_near(rule, dtype):
    """float32 by dtype, bf16 by autocast; against float64, by the angle between the gradients of everything."""
    exact = gradients(net(rule), images())
    model = net(rule, torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        near = gradients(model, images(dtype=torch.float32))
    a, b = (torch.cat([grads[name].flatten().double() for name in exact]) for grads in (near, exact))
    assert F.cosine_similarity(a, b, dim=0) > (0.999999 if dtype == torch.float32 else 0.99)
    assert all(grad.dtype == torch.float32 for grad in near.values())


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_used_twice_adds_its_gradients_up(rule):
    """As two layers of equal weights and equal B would, one of them fed by the other."""
    one = RuleLinear(5, 5, rule=rule).double()
    two = copy.deepcopy(one)
    x = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    one(one(x)).square().sum().backward()
    first = copy.deepcopy(two)
    two(first(y)).square().sum().backward()
    torch.testing.assert_close(one.weight.grad, first.weight.grad + two.weight.grad)
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_after_an_update_feeds_back_the_same(rule):
    model = net(rule)
    gradients(model, images())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    optimiser.step()
    advance(model, optimiser)
    other = net(rule)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert_same(gradients(other, images()), gradients(model, images()), 0)
