"""What every model of the catalog keeps, and the example of docs/extending.md: the contract of a network of one's own."""

import re
from pathlib import Path

import pytest
import torch

from bionas import catalog
from bionas.networks import Options, account, parts
from bionas.rules import RULES, RuleConv2d, RuleLinear

PAGE = Path(__file__).parents[3] / "docs/extending.md"


def example():
    """The class that the page prints."""
    (code,) = re.findall(r"^<!-- file: bionas/networks/cnn3.py -->\n```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(code, found := {})
    return found["CNN3"]


@pytest.fixture(params=[*catalog.MODELS, "the page's"])
def name(request):
    return request.param


@pytest.fixture
def make(name):
    return catalog.load(catalog.MODELS[name]) if name in catalog.MODELS else example()


@pytest.fixture
def images(name):
    side = catalog.SIDES.get(name, 8)
    return torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rule", RULES)
def test_learns_under_every_rule(make, images, rule):
    network = make(rule, 7, 1, options=Options(mean=[0.3], std=[0.2]))
    logits = network(images)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("rule", RULES)
def test_every_conv_and_linear_follows_the_rule(make, rule):
    counts = account.layers_by_rule(make(rule, 7, 1))
    assert {r for r, (layers, _) in counts.items() if layers} == {rule}


def test_normalisation_is_part_of_it_images_shifted_and_scaled_give_the_same_logits(make, images):
    plain, normalised = (
        parts.initialise(make("fa", 7, 1, options=options), 0).double() for options in (Options(), Options(mean=[0.3], std=[0.2]))
    )
    x = images.double()
    torch.testing.assert_close(normalised.eval()(0.2 * x + 0.3), plain.eval()(x), rtol=1e-6, atol=1e-6)  # 0.3 and 0.2 are float32's


def test_options_reach_every_layer(make):
    network = make("usf", 7, 1, options=Options(scale="rms", init="kaiming", brsf_redraw="forward"))
    layers = [m for m in network.modules() if isinstance(m, RuleConv2d | RuleLinear)]
    assert layers and {(layer.scale, layer.init, layer.redraw) for layer in layers} == {("rms", "kaiming", "forward")}


@pytest.mark.parametrize("rule", catalog.NETWORK_RULES)
def test_a_rule_of_the_whole_network_works_or_is_refused_by_name(make, images, rule):
    network = make(rule, 7, 1)
    try:
        network(images).square().sum().backward()
    except ValueError as refused:
        assert rule in str(refused)
    else:
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_direct_feedback_reaches_the_first_layer_of_the_pages_example():
    network = example()("dfa", 7, 1)
    network(torch.rand(2, 1, 8, 8)).square().sum().backward()
    assert network.conv1.weight.grad.abs().max() > 0
