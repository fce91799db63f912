"""Analyses: numbers that a hand or numpy can compute, and a network that is as it was."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas import catalog
from bionas.analyses import alignment, gradients, weights
from bionas.networks import Network, Options, initialise, resnet20
from bionas.rules import RuleConv2d, RuleLinear, advance, feedback_owners, seed_feedback, true_gradient
from bionas.space import PUBLISHED

BIO = ("fa", "usf", "brsf", "frsf")
RULES = (*catalog.RULES, *catalog.NETWORK_RULES)


def batches(count=3, size=4, side=8):
    stream = torch.Generator().manual_seed(0)
    return [(torch.rand(size, 3, side, side, generator=stream), torch.randint(4, (size,), generator=stream)) for _ in range(count)]


def small(rule="fa", redraw="update"):
    """Three layers without normalisation: an image's gradient is its own."""
    learning = {"rule": rule, "brsf_redraw": redraw}
    net = nn.Sequential(RuleConv2d(3, 4, 3, **learning), nn.ReLU(), RuleConv2d(4, 4, 3, **learning), nn.ReLU(), nn.Flatten())
    net.append(RuleLinear(64, 4, **learning))
    return initialise(net, 0)


def linear_net(A, C, B):
    """x → A x → C A x, whose second layer hands its error down through B."""
    net = nn.Sequential(nn.Flatten(), RuleLinear(2, 2, bias=False, rule="fa"), RuleLinear(2, 2, bias=False, rule="fa"))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor(A))
        net[2].weight.copy_(torch.tensor(C))
        net[2].R.copy_(torch.tensor(B))
    return net


def test_two_linear_layers_by_hand():
    """Logits are 0 for both images (A = 0), so that ∂loss/∂logits is ½ − the label: ±(½, −½). With C = I and B = [[0, 1], [1, 0]],
    δ of the first layer is that by the true gradient, and its negative by the rule: bias 2, cosine −1."""
    net = linear_net([[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
    x = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    found = gradients(net, [(x[:1], torch.tensor([0])), (x[1:], torch.tensor([0]))])
    # The true gradient of A is (−½, ½)ᵀ xᵀ: in one batch in the first column, in the other one in the second. Each weight is ±½ once
    # and 0 once: variance 1/16; the mean has four entries of ±¼: norm ½. C's gradient is 0, as A x is.
    assert found["variance_true"] == pytest.approx([1 / 16, 0]) and found["variance_rule"] == pytest.approx([1 / 16, 0])
    assert found["norm_true"] == pytest.approx([0.5, 0]) and found["norm_rule"] == pytest.approx([0.5, 0])
    assert found["bias"][0] == pytest.approx(2) and found["cosine"][0] == pytest.approx(-1)
    assert found["delta_true"] == pytest.approx([math.sqrt(0.5)] * 2) and found["delta_rule"] == pytest.approx([math.sqrt(0.5)] * 2)
    assert math.isnan(found["bias"][1]) and math.isnan(found["cosine"][1])  # of no gradient at all


def test_the_norm_of_an_images_error_does_not_depend_on_its_batch():
    net, ((images, labels),) = small(), batches(1, 8)
    together = gradients(net, [(images, labels), (images, labels)])
    alone = gradients(net, [(image[None], label[None]) for image, label in zip(images, labels, strict=True)])
    for kind in ("delta_rule", "delta_true"):
        assert together[kind] == pytest.approx(alone[kind], rel=1e-5)


@pytest.mark.parametrize("rule", ["fa", "usf", "frsf", "dfa"])
def test_variance_and_bias_are_those_of_the_batches_gradients(rule):
    """numpy's variance over gradients that `backward` leaves in `grad`, one batch at a time."""
    net, data = resnet20(rule, 4), batches()
    found = gradients(initialise(net, 0), data)
    one_by_one = copy.deepcopy(net).train()
    layers = [m for m in one_by_one.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

    def backward(x, y):
        one_by_one.zero_grad()
        F.cross_entropy(one_by_one(x), y).backward()
        return [layer.weight.grad.double().numpy().copy() for layer in layers]

    by_rule = [backward(x, y) for x, y in data]
    with true_gradient(one_by_one):
        exact = [backward(x, y) for x, y in data]
    for i in range(len(layers)):
        rule_of_layer, true_of_layer = (np.stack([grads[i] for grads in kind]) for kind in (by_rule, exact))
        assert found["variance_rule"][i] == pytest.approx(rule_of_layer.var(0).mean(), rel=1e-4)
        assert found["variance_true"][i] == pytest.approx(true_of_layer.var(0).mean(), rel=1e-4)
        off = rule_of_layer.mean(0) - true_of_layer.mean(0)
        assert found["bias"][i] == pytest.approx(np.linalg.norm(off) / np.linalg.norm(true_of_layer.mean(0)), rel=1e-4, abs=1e-5)


def test_brsf_draws_anew_between_batches_and_its_scatter_counts():
    """On one batch, seen again and again, no other rule's gradient scatters; brSF's is numpy's variance over its draws."""
    again = batches(1) * 3
    for rule in ("bp", "fa", "usf", "frsf", "kp"):
        assert (gradients(small(rule), again)["variance_rule"] < 1e-12).all()
    net = seed_feedback(small("brsf"), 5)
    found = gradients(net, again)
    drawn = []
    for x, y in again:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        drawn.append(net[0].weight.grad.clone().numpy())
        advance(net)
    assert found["variance_rule"][0] == pytest.approx(np.stack(drawn).var(0).mean(), rel=1e-4) and np.ptp(drawn, axis=0).max() > 0


@pytest.mark.parametrize("model", [lambda: resnet20("bp", 4), lambda: small("bp")])
def test_with_w_as_feedback_the_rules_gradient_is_the_true_one(model):
    found = gradients(initialise(model(), 0), batches())
    assert (found["bias"] == 0).all() and found["cosine"] == pytest.approx(np.ones(len(found["names"])))
    assert (found["variance_rule"] == found["variance_true"]).all() and (found["delta_rule"] == found["delta_true"]).all()
    assert alignment(initialise(model(), 0), *batches()[0])["gradient_angle"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("rule", "degrees"), [("bp", 0.0), ("usf", 30.0), ("brsf", 41.41), ("frsf", 41.41), ("fa", 90.0), ("kp", 90.0)])
def test_angles_at_initialisation_are_the_analytic_ones(rule, degrees):
    """Of uniform W: cos √3/2 under uSF, ¾ under brSF and frSF (of its B in use, not of its R); the norms are equal on average."""
    found = alignment(initialise(resnet20(rule, 4), 0), *batches()[0])
    large = found["sizes"] > 4000
    assert found["angle"][large] == pytest.approx(degrees, abs=2.5) and found["angle"][large].mean() == pytest.approx(degrees, abs=0.5)
    assert found["ratio"][large] == pytest.approx(1, abs=0.05)


def test_angle_between_gradients_by_hand():
    """Of the first layer 180°: the errors are each other's negatives (see above); of the last one 0°, whatever its B."""
    net = linear_net([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
    found = alignment(net, torch.tensor([[[[1.0, 0.5]]]]), torch.tensor([0]))
    assert found["gradient_angle"] == pytest.approx([180, 0], abs=1e-3)
    assert found["angle"][1] == pytest.approx(90) and found["ratio"][1] == pytest.approx(1)


def test_direct_feedback_has_no_angle_to_the_weights_but_a_gradient():
    found = alignment(initialise(resnet20("dfa", 4), 0), *batches()[0])
    assert np.isnan(found["angle"]).all() and np.isnan(found["ratio"]).all() and np.isfinite(found["gradient_angle"]).all()


def mixed_cells(side=8, auxiliary=False):
    return initialise(Network(PUBLISHED["biodarts"], 3, 4, 4, 3, side, auxiliary=auxiliary), 0)


def test_a_mixed_network_says_which_layer_follows_which_rule():
    net = mixed_cells()
    for found in (weights(net), gradients(net, batches()), alignment(net, *batches()[0])):
        expected = {name: m.rule for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        assert dict(zip(found["names"], found["rules"], strict=True)) == expected and len(set(expected.values())) > 2


def test_a_mixed_networks_variance_is_a_weighted_mean_of_its_rules():
    """Equation 9, w being shares of the weights; so it lies between the least and the largest of its rules."""
    net = mixed_cells()
    found, data = gradients(net, batches()), batches()
    sizes, rules = found["sizes"], found["rules"]
    by_rule = {r: np.average(found["variance_rule"][rules == r], weights=sizes[rules == r]) for r in set(rules)}
    mixed = sum(sizes[rules == r].sum() / sizes.sum() * variance for r, variance in by_rule.items())
    net.train()
    flat = []
    for x, y in data:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        flat.append(np.concatenate([dict(net.named_modules())[name].weight.grad.double().numpy().ravel() for name in found["names"]]))
        advance(net)
    assert mixed == pytest.approx(np.stack(flat).var(0).mean(), rel=1e-4)
    assert min(by_rule.values()) < mixed < max(by_rule.values())


def test_what_the_evaluated_network_does_not_use_has_no_gradient():
    net, data = mixed_cells(16, auxiliary=True), batches(side=16)
    unused = np.array(["auxiliary" in name for name in weights(net)["names"]])
    found = gradients(net, data) | alignment(net, *data[0])
    assert unused.any() and np.isfinite(weights(net)["variance"]).all()
    for name in ("variance_rule", "variance_true", "bias", "cosine", "delta_rule", "delta_true", "gradient_angle"):
        assert (np.isnan(found[name]) == unused).all(), name


def test_distributions_are_numpys():
    net = small("usf")
    with torch.no_grad():
        net[2].weight.flatten()[:4] = torch.tensor([0.0, 3.0, -3.0, 2.0])  # two are wider than the histogram; its last edge is in it
        net[5].weight.fill_(0.25)
    found = weights(net)
    for i, layer in enumerate(net[j] for j in (0, 2, 5)):
        values = layer.weight.detach().double().numpy().ravel()
        assert found["sizes"][i] == values.size and found["mean"][i] == pytest.approx(values.mean())
        assert found["variance"][i] == pytest.approx(np.var(values))
        assert found["histogram"][i].sum() == (abs(values) <= 2).sum()
    edges = found["edges"]
    assert (np.diff(edges) > 0).all() and edges[0] == pytest.approx(-2) and edges[-1] == pytest.approx(2)
    assert edges == pytest.approx(-edges[::-1]) and edges[80] < 0 < edges[81]
    assert found["histogram"][2].max() == 256 and math.isnan(found["kurtosis"][2])
    assert (found["edges"] == weights(resnet20("fa"))["edges"]).all()  # so that networks can be laid over each other


def test_excess_kurtosis_of_a_uniform_distribution():
    """−6/5, whatever its width."""
    net = nn.Linear(1000, 1000)
    nn.init.uniform_(net.weight, -0.3, 0.3, generator=torch.Generator().manual_seed(0))
    assert weights(net)["kurtosis"] == pytest.approx(-1.2, abs=0.01)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("redraw", ["update", "forward"])
@pytest.mark.parametrize("training", [True, False])
def test_everything_is_as_it_was(rule, redraw, training):
    net = initialise(resnet20(rule, 4, options=Options(brsf_redraw=redraw)), 0).train(training)
    net.blocks[1].train(not training)
    net.linear.weight.requires_grad_(False)
    x, y = batches()[0]
    F.cross_entropy(net(x), y).backward()
    advance(net, torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1))

    def state():
        owners = [(o.update, o.exact, o.redraw) for _, o in feedback_owners(net)]
        tensors = {k: v.clone() for k, v in net.state_dict().items() if torch.is_tensor(v)}
        flags = [p.requires_grad for p in net.parameters()]
        modes = [(m.training, getattr(m, "track_running_stats", None), len(m._forward_hooks)) for m in net.modules()]
        grads = [p.grad is None or p.grad.clone() for p in net.parameters()]
        return owners, flags, modes, torch.get_rng_state(), np.random.get_state()[1], tensors, grads

    before = state()
    weights(net), gradients(net, batches()), alignment(net, x, y)
    after = state()
    assert before[:3] == after[:3] and torch.equal(before[3], after[3]) and np.array_equal(before[4], after[4])
    assert before[5].keys() == after[5].keys() and all(torch.equal(v, after[5][k]) for k, v in before[5].items())
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(before[6], after[6], strict=True))


@pytest.mark.parametrize("redraw", ["update", "forward"])
def test_brsf_goes_on_with_the_draws_that_it_would_have_had(redraw):
    looked_at, left_alone = (seed_feedback(small("brsf", redraw), 3) for _ in range(2))
    for _ in range(3):
        gradients(looked_at, batches())
        alignment(looked_at, *batches()[0])
        for net in (looked_at, left_alone):
            net(batches()[0][0])
            advance(net)
    assert all(torch.equal(a.R, b.R) for (_, a), (_, b) in zip(feedback_owners(looked_at), feedback_owners(left_alone), strict=True))


def test_is_the_same_within_no_grad_and_twice():
    net, data = mixed_cells(), batches()
    first = gradients(net, data)
    with torch.no_grad():
        second = gradients(net, data)
    assert all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def test_an_interrupted_analysis_leaves_nothing_behind():
    net = small("brsf")
    with pytest.raises(RuntimeError):
        gradients(net, [batches()[0], (torch.rand(1, 7, 8, 8), torch.tensor([0]))])
    assert net.training and {o.update for _, o in feedback_owners(net)} == {0} and not any(len(m._forward_hooks) for m in net.modules())


def test_one_batch_has_no_variance():
    with pytest.raises(ValueError, match=r"^batches: 1; allowed: two or more, for a variance over them$"):
        gradients(small(), batches(1))


def test_biotorchs_layers_cannot_be_switched():
    from bionas.rules import convert

    net, _ = convert(small("bp"), "frsf", backend="biotorch")
    assert set(weights(net)["rules"]) == {"frsf"}
    for analysis in (lambda: gradients(net, batches()), lambda: alignment(net, *batches()[0])):
        with pytest.raises(ValueError, match="needs the native backend"):
            analysis()


def test_a_model_without_layers_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^model: has no conv and no linear; allowed: one or more$"):
        weights(nn.ReLU())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("make", [mixed_cells, lambda: initialise(resnet20("brsf", 4), 0)])
def test_on_a_gpu_they_are_those_of_a_cpu(make):
    found = {}
    for device in ("cpu", "cuda"):
        net = make().double().to(device)
        data = [(x.double().to(device), y.to(device)) for x, y in batches()]
        found[device] = [weights(net), gradients(net, data), alignment(net, *data[0])]
    for here, there in zip(*found.values(), strict=True):
        for key in here.keys() - {"names", "rules"}:
            np.testing.assert_allclose(there[key], here[key], rtol=1e-5, atol=1e-9, err_msg=key)
