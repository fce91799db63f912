"""The derived network: counted as the references count, and built for images of any size that can be halved twice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas import catalog
from bionas.networks import account
from bionas.networks.cells import Network, auxiliary_pool, drop_path
from bionas.shuffle import shuffled
from bionas.space import PUBLISHED, SearchSpace, random_genotype
from bionas.supernet import Supernet

BIO = ("fa", "usf", "brsf", "frsf")


# quark0/darts at f276dd3, NetworkCIFAR, counted by running it: with and without the auxiliary head, whose weights its own
# count_parameters_in_MB leaves out (3.169414 and 3.349342 MB).
@pytest.mark.parametrize(
    ("name", "size", "auxiliary", "count"),
    [
        ("darts_v1", (36, 20), True, 3_645_840),
        ("darts_v1", (36, 20), False, 3_169_414),
        ("darts_v2", (36, 20), True, 3_825_768),
        ("darts_v2", (36, 20), False, 3_349_342),
        ("darts_v1", (16, 8), False, 232_890),
        ("darts_v2", (16, 8), False, 246_106),
    ],
)
def test_parameter_counts_of_dartss_networks(name, size, auxiliary, count):
    assert account.num_parameters(Network(PUBLISHED[name], 3, 10, *size, 32, auxiliary=auxiliary)) == count


# What was counted in the public BioNAS network: 292 rule layers with 1,446,552 weights of 2,835,468, half of them (51.0 %).
@pytest.mark.parametrize(("released", "layers", "share"), [(True, 292, 0.510), (False, 296, 0.519)])
def test_half_of_biodarts_follows_a_rule(released, layers, share):
    counts = account.layers_by_rule(Network(PUBLISHED["biodarts"], 3, 10, 36, 20, 32, released=released))
    weights = {rule: weights for rule, (_, weights) in counts.items()}
    assert sum(n for rule, (n, _) in counts.items() if rule != "bp") == layers
    assert 1 - weights["bp"] / sum(weights.values()) == pytest.approx(share, abs=0.0005)
    assert (weights["fa"], weights["brsf"]) == (0, 0)
    if released:
        assert sum(weights.values()) - weights["bp"] == 1_446_552 and weights["bp"] == 1_388_916


def test_single_rule_variants_leave_the_same_layers_on_bp():
    outer = {}
    cell = PUBLISHED["biodarts"]
    assignments = {"searched": cell, "shuffled": shuffled(cell, dict.fromkeys(cell.carriers(), 1), 0).genotype}
    for rules, genotype in (assignments | {rule: cell.assigned(rule) for rule in BIO}).items():
        network = Network(genotype, 3, 10, 8, 6, 32)
        outer[rules] = {name for name, m in network.named_modules() if getattr(m, "rule", None) == "bp"}
    assert len({frozenset(names) for names in outer.values()}) == 1 and outer["fa"]


def test_scope_all_leaves_nothing_on_bp():
    counts = account.layers_by_rule(Network(PUBLISHED["biodarts"].assigned("fa"), 3, 10, 8, 6, 32, True, "all", "fa"))
    assert {rule for rule, (layers, _) in counts.items() if layers} == {"fa"}


# Counted in the public code's single-rule network: 343 of 343 convs and linears, the skips' and the auxiliary head's among them.
@pytest.mark.parametrize("auxiliary", [True, False])
def test_scope_all_converts_as_many_layers_as_the_public_code(auxiliary):
    counts = account.layers_by_rule(Network(PUBLISHED["biodarts"].assigned("fa"), 3, 10, 36, 20, 32, auxiliary, "all", "fa"))
    assert counts["fa"][0] == (343 if auxiliary else 340)


@pytest.mark.parametrize(("size", "head"), [(32, True), (28, True), (16, True), (8, False)])
def test_auxiliary_head_by_image_size(size, head):
    network = Network(PUBLISHED["biodarts"], 1, 10, 4, 3, size, auxiliary=True)
    out = network(torch.rand(2, 1, size, size))
    assert isinstance(out, tuple) == head and (network.auxiliary_at is not None) == head
    assert network.eval()(torch.rand(2, 1, size, size)).shape == (2, 10)  # logits alone


@pytest.mark.parametrize("size", [4, 5, 6, 7, 9, 10, 16, 17])
def test_the_auxiliary_pools_windows_are_an_adaptive_ones(size):
    """An adaptive pool itself cannot be taken: its backward is refused in deterministic mode on CUDA."""
    pool, x = auxiliary_pool(size), torch.rand(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(pool(x), F.adaptive_avg_pool2d(x, 2))
    assert isinstance(pool, nn.AvgPool2d)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [8, 16, 28, 32])
def test_cells_learn_in_deterministic_mode_on_the_gpu(size):
    network = Network(PUBLISHED["biodarts"], 3, 10, 4, 3, size, auxiliary=True).cuda()
    supernet = Supernet(SearchSpace(BIO), 3, 10, 4, 3, 2).cuda()
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        for model in (network, supernet):
            outputs = model(torch.rand(2, 3, size, size, device="cuda"))
            sum(out.square().sum() for out in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
    finally:
        torch.set_deterministic_debug_mode(mode)


@pytest.mark.parametrize("size", [2, 6, 30])
def test_images_that_cannot_be_halved_twice_are_refused(size):
    with pytest.raises(ValueError, match=f"{size}×{size} is no multiple of 4×4"):
        Network(PUBLISHED["biodarts"], 1, 10, 4, 3, size)


@pytest.mark.parametrize("rule", [None, *catalog.RULES])
def test_every_assignment_learns(rule):
    mixed = random_genotype(SearchSpace(BIO), 2, 3)
    network = Network(mixed.assigned(rule) if rule else mixed, 1, 10, 4, 3, 8)
    network(torch.rand(3, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_drop_path_zeroes_whole_samples_scales_the_rest_and_leaves_its_input():
    torch.manual_seed(0)
    x = torch.ones(1000, 2, 3, 3)
    out = drop_path(x, 0.25)
    per_sample = out.flatten(1)
    assert ((per_sample == 0).all(1) | (per_sample == 1 / 0.75).all(1)).all() and (x == 1).all()
    assert (per_sample[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
