"""Kolen–Pollack: B takes every update that W takes, gradient and decay (Akrout et al. 2019); W and B held apart here, in plain torch."""

import copy
import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas.networks import Network, initialise
from bionas.rules import RuleConv2d, RuleLinear, advance, convert, seed_feedback, true_gradient
from bionas.rules.tests.helpers import conv
from bionas.space import PUBLISHED
from bionas.training.sgd import SGD

STEPS = 50
SETTINGS = [
    {"momentum": 0.0, "weight_decay": 0.01, "nesterov": False},
    {"momentum": 0.9, "weight_decay": 0.01, "nesterov": False},
    {"momentum": 0.9, "weight_decay": 0.003, "nesterov": True},
    {"momentum": 0.9, "weight_decay": 0.0, "nesterov": True},
]
OPTIMISERS = {"ours": SGD, "torch's": torch.optim.SGD}


def rate(step):
    """A schedule that goes up, down and to nothing."""
    return 0.05 * (1 - math.cos(2 * math.pi * step / STEPS))


class Net(nn.Sequential):
    """Convs with and without groups, stride and bias, and linears; smooth, so that rounding grows into nothing."""

    def __init__(self, rule):
        super().__init__(
            RuleConv2d(2, 4, 3, padding=1, rule=rule),
            nn.Tanh(),
            RuleConv2d(4, 4, 3, stride=2, padding=1, groups=2, bias=False, rule=rule),
            nn.Tanh(),
            nn.Flatten(),
            RuleLinear(36, 5, rule=rule),
            nn.Tanh(),
            RuleLinear(5, 3, bias=False, rule=rule),
        )


def net(rule="kp"):
    torch.manual_seed(0)
    return seed_feedback(Net(rule).double(), 0)


def learning(model):
    return [layer for layer in model.modules() if isinstance(layer, RuleConv2d | RuleLinear)]


def batch(step):
    stream = torch.Generator().manual_seed(step)
    images = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=stream)
    return images, torch.randint(3, (4,), generator=stream)


def set_rate(optimiser, lr):
    if isinstance(optimiser, SGD):
        optimiser.lr = lr
    else:
        for group in optimiser.param_groups:
            group["lr"] = lr


def train(model, optimiser, steps=STEPS, clip=0.0, first=0, watch=lambda: None, batch=batch):
    for step in range(first, first + steps):
        set_rate(optimiser, rate(step))
        optimiser.zero_grad()
        images, labels = batch(step)
        F.cross_entropy(model(images), labels).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        advance(model, optimiser)
        watch()


class Reference:
    """The same network with W, b and B as tensors, its backward pass by torch's own derivatives of each operation, one by one.

    B has a momentum buffer of its own, and takes ∂L/∂W as W does.
    """

    def __init__(self, model, momentum, weight_decay, nesterov):
        self.W = [layer.weight.detach().clone() for layer in learning(model)]
        self.b = [None if layer.bias is None else layer.bias.detach().clone() for layer in learning(model)]
        self.B = [layer.feedback().clone() for layer in learning(model)]
        self.buffers = {}
        self.momentum, self.decay, self.nesterov = momentum, weight_decay, nesterov

    OPERATIONS = (
        lambda x, w: F.conv2d(x, w, padding=1),
        lambda x, w: F.conv2d(x, w, stride=2, padding=1, groups=2),
        F.linear,
        F.linear,
    )

    def gradients(self, images, labels):
        inputs, outputs = [], []
        h = images
        for i, (operation, w, b) in enumerate(zip(self.OPERATIONS, self.W, self.b, strict=True)):
            h = h.flatten(1) if i == 2 else h
            inputs.append(h)
            z = operation(h, w)
            z = z if b is None else z + b.view(-1, *[1] * (z.dim() - 2))
            outputs.append(z)
            h = z.tanh() if i < 3 else z
        delta = (h.softmax(1) - F.one_hot(labels, 3)) / len(labels)  # of the mean cross-entropy
        found = [None] * 4
        for i in reversed(range(4)):
            _, by_weight = torch.autograd.functional.vjp(lambda w, i=i: self.OPERATIONS[i](inputs[i], w), self.W[i], delta)
            found[i] = by_weight, delta.transpose(0, 1).flatten(1).sum(1)
            if i:
                _, delta = torch.autograd.functional.vjp(lambda x, i=i: self.OPERATIONS[i](x, self.B[i]), inputs[i], delta)
                delta = delta.view(outputs[i - 1].shape) * (1 - outputs[i - 1].tanh() ** 2)
        return found

    def move(self, name, value, gradient, lr):
        """One step of SGD as torch.optim documents it."""
        gradient = gradient + self.decay * value
        if self.momentum:
            buffer = self.buffers[name] = self.momentum * self.buffers[name] + gradient if name in self.buffers else gradient
            gradient = gradient + self.momentum * buffer if self.nesterov else buffer
        return value - lr * gradient

    def step(self, images, labels, lr):
        for i, (by_weight, by_bias) in enumerate(self.gradients(images, labels)):
            self.W[i] = self.move(("W", i), self.W[i], by_weight, lr)
            self.B[i] = self.move(("B", i), self.B[i], by_weight, lr)
            if self.b[i] is not None:
                self.b[i] = self.move(("b", i), self.b[i], by_bias, lr)


def assert_close(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_fifty_steps_of_a_reference_in_which_B_is_updated_itself(optimiser, settings):
    model = net()
    reference = Reference(model, **settings)
    train(model, OPTIMISERS[optimiser](model.parameters(), lr=1.0, **settings))
    before = [B.clone() for B in reference.B]
    for step in range(STEPS):
        reference.step(*batch(step), rate(step))
    assert_close([layer.weight for layer in learning(model)], reference.W)
    assert_close([layer.feedback() for layer in learning(model)], reference.B)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(before[1:], reference.B[1:], strict=True))  # it did learn


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("clip", [0.0, 1e-3], ids=["", "gradients clipped"])
def test_the_distance_of_W_and_B_shrinks_by_a_factor_that_no_gradient_has_a_part_in(settings, clip):
    """(D, V) ↦ M (D, V), of 2×2: with v' = μV + λD, D' = D − ηv', or under Nesterov D − η(λD + μv')."""
    model = net()
    optimiser = SGD(model.parameters(), lr=1.0, **settings)
    start = [(layer.weight.detach() - layer.feedback()).norm().item() for layer in learning(model)]
    distances = []
    train(model, optimiser, clip=clip, watch=lambda: distances.append([(m.weight.detach() - m.feedback()).norm() for m in learning(model)]))
    mu, decay = settings["momentum"], settings["weight_decay"]
    state = np.array([1.0, 0.0])
    for step, found in enumerate(distances):
        velocity = np.array([decay, mu])
        moved = np.array([decay, 0.0]) + mu * velocity if settings["nesterov"] else velocity
        state = np.array([np.array([1.0, 0.0]) - rate(step) * moved, velocity]) @ state
        assert [float(d) for d in found] == pytest.approx([abs(state[0]) * norm for norm in start], abs=1e-10)
    assert state[0] == 1.0 if not decay else state[0] < 0.99


def test_without_decay_B_stays_as_far_from_W_as_it_was():
    model = net()
    before = [layer.R.clone() for layer in learning(model)]
    train(model, torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9))
    assert_close([layer.R for layer in learning(model)], before, 0)


def test_under_decay_the_angle_between_them_closes():
    model = net()

    def angles():
        pairs = [(m.weight.detach().flatten(), m.feedback().flatten()) for m in learning(model)]
        return [math.degrees(math.acos(F.cosine_similarity(w, b, dim=0))) for w, b in pairs]

    before = angles()
    optimiser = SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.02, nesterov=False)
    train(model, optimiser, steps=8 * STEPS, batch=lambda step: batch(0))  # something to learn, or W would be as small as W − B
    assert min(before) > 80 and max(angles()) < 5


def test_it_starts_from_the_B_that_FA_would_have_and_from_weights_that_were_there_before():
    """Drawn for its seed and name, whoever sets the weights: the layer itself, `initialise`, or another network by `convert`."""
    for a, b in zip(learning(net("kp")), learning(net("fa")), strict=True):
        torch.testing.assert_close(a.feedback(), b.feedback(), rtol=0, atol=1e-15)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    ours, fa = (convert(copy.deepcopy(plain), rule, seed=3)[0] for rule in ("kp", "fa"))
    made, other = (initialise(Net(rule), 5) for rule in ("kp", "fa"))
    for model, its in ((ours, fa), (made, other)):
        for a, b in zip(learning(model), learning(its), strict=True):
            assert torch.equal(a.weight, b.weight)
            torch.testing.assert_close(a.feedback(), b.feedback(), rtol=0, atol=1e-7)


def test_true_gradient_is_backpropagation_while_and_after_it_learns():
    model, plain = net(), net("bp")
    train(model, SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.01, nesterov=False), steps=3)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name.endswith(("weight", "bias"))}, strict=False)
    images, labels = batch(0)
    images.requires_grad_()

    def by_input(model):
        return torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]

    with true_gradient(model):
        assert torch.equal(by_input(model), by_input(plain))
    assert not torch.allclose(by_input(model), by_input(plain))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_saved_state_goes_on_with_the_same_bits(optimiser):
    settings = {"lr": 1.0, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    whole = net()
    train(whole, OPTIMISERS[optimiser](whole.parameters(), **settings), steps=7)
    first, second = net(), net()
    before, after = (OPTIMISERS[optimiser](model.parameters(), **settings) for model in (first, second))
    train(first, before, steps=4)
    torch.save({"model": first.state_dict(), "optimiser": before.state_dict()}, saved := io.BytesIO())
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    second.load_state_dict(state["model"])
    after.load_state_dict(state["optimiser"])
    train(second, after, steps=3, first=4)
    for (name, value), other in zip(second.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(value, other) if torch.is_tensor(value) else value == other, name


def test_state_is_where_it_is_needed_and_nowhere_else():
    assert {name for name, _ in conv("kp").named_buffers()} == {"R", "velocity"}
    assert {name for name, _ in conv("kp").named_parameters()} == {"weight", "bias"}
    for rule in ("bp", "fa", "usf", "brsf", "frsf", "dfa"):
        assert not any("velocity" in name for name in conv(rule).state_dict())


def test_a_weight_that_did_not_move_leaves_its_B_alone():
    """Frozen, out of the optimiser, or without a gradient in this step: SGD passes over it, momentum and decay included."""
    model = net()
    first, second, third, fourth = learning(model)
    first.weight.requires_grad_(False)
    params = [p for p in model.parameters() if p is not second.weight]
    optimiser = SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=False)
    train(model, optimiser, steps=2)
    before = [(layer.weight.detach().clone(), layer.R.clone(), layer.velocity.clone()) for layer in learning(model)]
    F.cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    third.weight.grad = None
    optimiser.step()
    advance(model, optimiser)
    stood = [all(map(torch.equal, (m.weight.detach(), m.R, m.velocity), was)) for m, was in zip(learning(model), before, strict=True)]
    assert stood == [True, True, True, False]
    assert not torch.equal(fourth.R, before[3][1])


def test_each_group_of_torchs_has_its_own_rate_and_decay():
    model = net()
    first, *others = learning(model)
    groups = [{"params": [first.weight], "lr": 0.5, "weight_decay": 0.1}, {"params": [m.weight for m in others]}]
    optimiser = torch.optim.SGD(groups, lr=0.2, weight_decay=0.01)
    before = [layer.R.clone() for layer in learning(model)]
    F.cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    optimiser.step()
    advance(model, optimiser)
    assert_close([layer.R for layer in learning(model)], [before[0] * 0.95, *(R * 0.998 for R in before[1:])], 1e-15)


def test_a_network_of_cells_learns_by_it():
    cell = PUBLISHED["biodarts"].assigned("kp")
    model = initialise(Network(cell, 2, 3, 4, 3, 8), 0)
    optimiser = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=False)
    layers = [layer for layer in learning(model) if layer.rule == "kp"]
    before = [layer.R.norm() for layer in layers]
    for step in range(3):
        optimiser.zero_grad()
        F.cross_entropy(model(torch.rand(4, 2, 8, 8)), batch(step)[1]).backward()
        optimiser.step()
        advance(model, optimiser)
    assert layers and all(layer.R.norm() < norm for layer, norm in zip(layers, before, strict=True))


# --- what is refused, in one line ---------------------------------------------------------------------------------------


def stepped(optimiser=None):
    model = net()
    F.cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    return model, optimiser and optimiser(model.parameters())


def test_an_optimiser_that_was_forgotten():
    model, _ = stepped()
    with pytest.raises(ValueError, match=r"^advance: the feedback of kp learns as its weights do; call advance\(model, optimiser\)$"):
        advance(model)
    advance(net("brsf"))  # whoever has no such layer needs none


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda params: torch.optim.Adam(params), "Adam"),
        (lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5), "SGD with dampening"),
    ],
)
def test_an_optimiser_whose_steps_it_cannot_take(make, found):
    model, optimiser = stepped(make)
    with pytest.raises(ValueError, match=f"^advance: feedback that learns takes SGD's steps; found {found}; allowed: SGD without"):
        advance(model, optimiser)


def test_gradients_that_are_gone():
    model, optimiser = stepped(lambda params: torch.optim.SGD(params, lr=0.1))
    optimiser.step()
    optimiser.zero_grad()
    with pytest.raises(
        ValueError, match=r"^advance: no weight has a gradient; allowed: after optimiser.step\(\) and before zero_grad\(\)$"
    ):
        advance(model, optimiser)
