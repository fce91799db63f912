"""The fused supernet is the plain one, term by term: outputs, gradients, feedback, statistics, and where training leads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas import catalog, kernels, space
from bionas.kernels import batch_last, channels_last
from bionas.kernels.batched import fold, pad, taps
from bionas.networks import Options, ops, parts
from bionas.rules import RuleConv2d, advance, feedback_owners, true_gradient
from bionas.rules.feedback import ALL
from bionas.rules.table import BP
from bionas.rules.tests import test_layers
from bionas.space import SearchSpace, random_genotype
from bionas.supernet import Supernet, initialise_alphas, network
from bionas.supernet.bank import Bank
from bionas.supernet.gather import Gather

BIO = ("fa", "usf", "brsf", "frsf")
LAYOUTS = {"CPU": batch_last, "GPU": channels_last}
SETS = [("bp",), BIO, ("fa",), ("usf", "bp"), ("kp", "usf")]
LEARNING = [{}, {"scale": "rms", "brsf_redraw": "forward"}, {"scale": "none", "init": "kaiming"}]


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    """Both layouts, on a CPU: the same mathematics wherever it runs."""
    monkeypatch.setattr(kernels, "form", lambda x: LAYOUTS[request.param])


def twins(rules=BIO, protocol="repaired", none=False, nodes=2, dtype=torch.float64, **learning):
    """The plain and the fused form, alike in weights and α, α far from uniform."""
    nets = []
    for fused in (False, True):
        net = Supernet(SearchSpace(rules, protocol, none), 1, 10, 4, 3, nodes, fused, Options(**learning)).to(dtype)
        parts.initialise(net, 0, learning.get("init", "xavier"))
        initialise_alphas(net, 0)
        for alphas in net.alphas.values():
            alphas.data.normal_(generator=torch.Generator().manual_seed(3))
        nets.append(net)
    return nets


def batch(n=3, size=8, dtype=torch.float64):
    return torch.rand(n, 1, size, size, dtype=dtype, generator=torch.Generator().manual_seed(1)), torch.arange(n)


def gradients(net):
    """Every gradient by its plain name, α's included."""
    found = {name: p.grad for name, p in net.named_parameters() if ".fans." not in name}
    for module in net.modules():
        if isinstance(module, Bank):
            found |= {f"{name}.weight": part for name, part in module.views(module.weight.grad)}
    return found


def assert_equal(ours, theirs, tolerance=1e-10):
    """Absolutely, or relative to the largest number: under equation 4 as printed errors grow by orders of magnitude a layer."""
    tolerance *= max(1.0, max(theirs[name].abs().max().item() for name in ours))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("learning", LEARNING, ids=str)
@pytest.mark.parametrize("protocol", ["repaired", "paper", "released"])
@pytest.mark.parametrize("rules", SETS, ids="-".join)
def test_outputs_and_all_gradients(layout, rules, protocol, learning):
    plain, fused = twins(rules, protocol, none=protocol != "paper", **learning)
    assert_equal(fused.plain_state(), plain.plain_state(), 0)
    x, y = batch()
    for training in (True, False):
        outputs = []
        for net in (plain, fused):
            net.train(training).zero_grad()
            outputs.append(net(x))
            F.cross_entropy(outputs[-1], y).backward()
            advance(net, torch.optim.SGD(net.weights(), lr=0.1, weight_decay=0.1))  # feedback alone moves, so that errors do not grow
        assert_equal({"logits": outputs[1]}, {"logits": outputs[0]})
        ours, theirs = gradients(fused), gradients(plain)
        assert ours.keys() == theirs.keys() and all(grad.abs().max() > 0 for name, grad in ours.items() if "alphas" in name)
        assert_equal(ours, theirs)
        assert_equal(fused.plain_state(), plain.plain_state())  # running statistics


@pytest.mark.parametrize("protocol", ["repaired", "released"])
@pytest.mark.parametrize("size", [8, 20])  # second depthwise convs as products, and as convolutions
def test_outputs_of_a_mere_evaluation(layout, protocol, size):
    plain, fused = twins(protocol=protocol)
    for _ in range(3):  # running statistics of some batches
        plain(batch(size=size)[0]), fused(batch(size=size)[0])
    with torch.no_grad():
        for training in (False, True):
            outputs = [net.train(training)(batch(size=size)[0]) for net in (plain, fused)]
            assert_equal({"logits": outputs[1]}, {"logits": outputs[0]})


def test_gradients_in_a_cell_of_four_nodes_and_an_odd_number_of_channels(layout):
    nets = [Supernet(SearchSpace(BIO), 2, 5, 3, 4, 4, fused=fused).double() for fused in (False, True)]
    x = torch.rand(2, 2, 12, 12, dtype=torch.float64)
    for net in nets:
        initialise_alphas(parts.initialise(net, 1), 1)
        net(x).square().sum().backward()
    assert_equal(gradients(nets[1]), gradients(nets[0]))


@pytest.mark.parametrize("rules", [BIO, ("kp", "fa")], ids="-".join)
def test_five_training_steps(layout, rules):
    nets = twins(rules)
    for net in nets:
        optimiser = torch.optim.SGD(net.weights(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=3e-4)
        alphas = torch.optim.Adam(net.alphas.parameters(), lr=0.1, betas=(0.5, 0.999))
        for _ in range(5):
            for step in (alphas, optimiser):
                net.zero_grad()
                F.cross_entropy(net(batch()[0]), batch()[1]).backward()
                step.step()
            advance(net, optimiser)
    assert_equal(nets[1].plain_state(), nets[0].plain_state(), 1e-8)
    for bank in (m for m in nets[1].modules() if isinstance(m, Bank)):
        assert_equal(dict(bank.views(bank.feedback())), {name: layer.feedback() for name, layer in feedback_owners(nets[0])}, 1e-8)


def test_feedback_is_that_of_the_plain_layers_at_every_update():
    plain, fused = twins()
    for _ in range(3):
        theirs = {name: layer.feedback() for name, layer in feedback_owners(plain)}
        for bank in (m for m in fused.modules() if isinstance(m, Bank)):
            assert_equal(dict(bank.views(bank.feedback())), theirs, 0)
        advance(plain), advance(fused)


def test_frozen_weights_get_no_gradient_and_alphas_the_same(layout):
    plain, fused = twins()
    x, y = batch()
    for net in (plain, fused):
        for p in net.weights():
            p.requires_grad_(False)
        F.cross_entropy(net(x), y).backward()
        assert all(p.grad is None for p in net.weights())
    assert_equal({k: p.grad for k, p in fused.alphas.items()}, {k: p.grad for k, p in plain.alphas.items()})


def test_with_the_true_gradient_it_is_autograd(layout):
    """Of the plain form with ordinary convs: B plays no part."""
    plain, fused = twins()
    x, y = batch()
    for layer in plain.modules():
        if isinstance(layer, RuleConv2d):
            layer.law = BP  # its forward is nn.Conv2d's
    F.cross_entropy(plain(x), y).backward()
    with true_gradient(fused):
        F.cross_entropy(fused(x), y).backward()
    assert_equal(gradients(fused), gradients(plain))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_taps_are_torchs_unfold_and_fold_is_their_adjoint(stride, dilation):
    x = torch.rand(3, 8, 6, 2, dtype=torch.float64)
    ours = taps(pad(x, dilation), stride, dilation)
    theirs = F.unfold(x.permute(0, 3, 1, 2).flatten(0, 1)[:, None], 5, dilation, 2 * dilation, stride)  # (C·N, 25, L)
    assert torch.equal(ours, theirs.view(3, 2, 25, -1).permute(0, 2, 3, 1).reshape(3, 25, -1))
    y = torch.rand_like(ours)
    back = fold(y, pad(x, dilation).shape, stride, dilation)
    torch.testing.assert_close((ours * y).sum(), (x * back).sum())  # ⟨Tx, y⟩ = ⟨x, T*y⟩


@pytest.mark.parametrize("size", [8, 20])
def test_bf16_autocast_trains(layout, size):
    _, fused = twins(dtype=torch.float32)
    x, y = batch(8, size, dtype=torch.float32)
    exact = fused(x)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(fused(x), y)
    loss.backward()
    assert torch.isfinite(loss) and (loss - F.cross_entropy(exact, y)).abs() < 0.1
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == torch.float32 for p in fused.parameters())


def test_a_path_is_for_the_plain_form():
    _, fused = twins()
    with pytest.raises(ValueError, match="fused=False"):
        fused(batch()[0], {"normal": [0, 0, 0, 0, 0], "reduce": [0, 0, 0, 0, 0]})


def test_a_state_read_back_goes_on_with_the_same_bits():
    _, first = twins()
    _, second = twins()
    advance(first)
    second.load_state_dict(first.state_dict())
    for net in (first, second):
        F.cross_entropy(net(batch()[0]), batch()[1]).backward()
        advance(net)
    assert_equal(gradients(second), gradients(first), 0)
    assert_equal({k: v for k, v in second.state_dict().items() if k.endswith("R")}, first.state_dict(), 0)


@pytest.mark.parametrize("redraw", ["update", "forward"])
def test_a_cell_computed_again_changes_no_bit(layout, redraw):
    """Neither gradients nor running statistics, their counters, and R."""
    nets = []
    for recompute in (False, True):
        net = Supernet(SearchSpace(BIO), 1, 10, 4, 3, 2, options=Options(brsf_redraw=redraw), recompute=recompute)
        nets.append(initialise_alphas(parts.initialise(net, 0), 0))
        for _ in range(2):
            F.cross_entropy(net(batch(dtype=torch.float32)[0]), batch()[1]).backward()
    assert_equal(gradients(nets[1]), gradients(nets[0]), 0)
    states = [{k: v for k, v in net.state_dict().items() if isinstance(v, torch.Tensor)} for net in nets]
    assert_equal(states[1], states[0], 0)
    assert nets[1].state_dict()["cells.1.fans.0.convs._extra_state"]["update"] == (2 if redraw == "forward" else 0)


def test_one_gather_lays_out_what_each_bank_does():
    net = Supernet(SearchSpace(BIO), 1, 10, 4, 3, 2).double()
    parts.initialise(net, 0)
    fans = [fan for cell in net.cells for fan in cell.fans]
    gather = Gather([fan.convs for fan in fans], lambda i, stacks: fans[i].layers(stacks))
    ours, theirs = gather(), [fan.layers(fan.convs()) for fan in fans]
    for pairs, layers in zip(ours, theirs, strict=True):
        for (W, B), both in zip(pairs, layers, strict=True):
            assert torch.equal(W, both[0]) and torch.equal(B, both[-1]) and not B.requires_grad
    shares = [torch.rand_like(W) for pairs in ours for W, _ in pairs]
    weights = [fan.convs.weight for fan in fans]
    W = [W for pairs in ours for W, _ in pairs]
    stacked = [both[0] for layers in theirs for both in layers]
    for found, expected in zip(*(torch.autograd.grad(outputs, weights, shares) for outputs in (W, stacked)), strict=True):
        assert torch.equal(found, expected)


def test_feedback_that_learns_is_state_of_its_rules_alone():
    """One velocity a rule that learns, saved and read back; a set without one has none in its state."""
    (_, first), (_, second) = twins(("fa", "kp", "usf")), twins(("fa", "kp", "usf"))
    for net, steps in ((first, 2), (second, 0)):
        optimiser = torch.optim.SGD(net.weights(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(steps):
            F.cross_entropy(net(batch()[0]), batch()[1]).backward()
            optimiser.step()
            advance(net, optimiser)
    second.load_state_dict(first.state_dict())
    banks = [[m for m in net.modules() if isinstance(m, Bank) and m.velocity is not None] for net in (first, second)]
    for a, b in zip(*banks, strict=True):
        assert a.velocity.shape == a.weight[1:2].shape and a.velocity.abs().max() > 0
        assert torch.equal(a.velocity, b.velocity) and torch.equal(a.feedback(), b.feedback())
    assert banks[0] and not any("velocity" in name for name in twins(BIO)[1].state_dict())


def test_a_path_not_taken_leaves_its_feedback_alone():
    """SGD passes over weights without a gradient, and so does what their B learns."""
    plain, _ = twins(("kp",), none=True)
    drawn = random_genotype(plain.space, plain.nodes, 0)
    optimiser = torch.optim.SGD(plain.weights(), lr=0.1, momentum=0.9, weight_decay=0.01)
    owners = {name: owner for name, owner in feedback_owners(plain) if owner.velocity is not None}
    before = {name: owner.R.clone() for name, owner in owners.items()}
    F.cross_entropy(plain(batch()[0], plain.space.paths(drawn)), batch()[1]).backward()
    optimiser.step()
    advance(plain, optimiser)
    moved = {name for name, owner in owners.items() if not torch.equal(owner.R, before[name])}
    assert moved == {name for name, owner in owners.items() if owner.weight.grad is not None} and 0 < len(moved) < len(owners)


def test_a_rule_with_a_scale_of_its_own_is_the_plain_layers_too(monkeypatch):
    monkeypatch.setitem(catalog.RULES, "sign", f"{test_layers.__name__}:SIGN")
    monkeypatch.setitem(ALL, "sign", f"{test_layers.__name__}:SIGN")
    plain, fused = twins(("sign", "usf"))
    theirs = {name: layer.feedback() for name, layer in feedback_owners(plain)}
    for bank in (m for m in fused.modules() if isinstance(m, Bank)):
        assert_equal(dict(bank.views(bank.feedback())), theirs)


@pytest.mark.parametrize(("rules", "learning"), [(("fa", "usf"), {}), (("kp", "brsf"), {"scale": "rms", "brsf_redraw": "forward"})])
def test_an_operation_that_no_kernel_knows_is_computed_beside_them(monkeypatch, layout, rules, learning):
    """One with weights and one without, on every edge; with all else as it is."""
    known = network.build

    def build(candidate, channels, stride, affine, released=False, **learning):
        if candidate.operation == "min_pool_3x3":
            return nn.AvgPool2d(1, stride)
        if candidate.operation == "conv_1x1":
            norm = nn.BatchNorm2d(channels, affine=affine)
            return nn.Sequential(nn.ReLU(), ops.conv(channels, channels, 1, stride, rule=candidate.rule, **learning), norm)
        return known(candidate, channels, stride, affine, released, **learning)

    monkeypatch.setattr(network, "build", build)
    monkeypatch.setattr(space, "CONVS", (*space.CONVS, "conv_1x1"))
    monkeypatch.setattr(space, "POOLS", ("min_pool_3x3", *space.POOLS))
    test_outputs_and_all_gradients(layout, rules, "repaired", learning)
