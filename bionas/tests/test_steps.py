"""Every step as a GPU would take it, on a device that is not there: nothing waits for the host, nothing is done that CUDA refuses."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bionas import attacks, catalog, kernels
from bionas.kernels import channels_last
from bionas.networks import Network
from bionas.networks.ops import build
from bionas.rules import layers
from bionas.space import PUBLISHED, Candidate
from bionas.tests.helpers import BIO, RULES, batch, search, training
from bionas.training.counting import count

SIZES = (8, 16, 28, 32)

# What `torch.use_deterministic_algorithms` refuses on CUDA, as its documentation names it, and the operations behind it.
REFUSED = {
    "nn.AvgPool3d": ["avg_pool3d_backward"],
    "nn.AdaptiveAvgPool2d": ["_adaptive_avg_pool2d_backward"],
    "nn.AdaptiveAvgPool3d": ["_adaptive_avg_pool3d_backward"],
    "nn.AdaptiveMaxPool2d": ["adaptive_max_pool2d_backward"],
    "nn.FractionalMaxPool2d": ["fractional_max_pool2d_backward"],
    "nn.FractionalMaxPool3d": ["fractional_max_pool3d_backward"],
    "nn.MaxUnpool1d": ["max_unpool2d"],
    "nn.MaxUnpool2d": ["max_unpool2d"],
    "nn.MaxUnpool3d": ["max_unpool3d"],
    "nn.functional.interpolate": [f"upsample_{kind}_backward" for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")],
    "nn.ReflectionPad1d": ["reflection_pad1d_backward"],
    "nn.ReflectionPad2d": ["reflection_pad2d_backward"],
    "nn.ReflectionPad3d": ["reflection_pad3d_backward"],
    "nn.NLLLoss": ["nll_loss2d", "nll_loss2d_forward"],  # of images; that of classes is not meant
    "nn.CTCLoss": ["_ctc_loss_backward"],
    "nn.EmbeddingBag": ["_embedding_bag"],
    "Tensor.put_": ["put", "put_"],
    "histc": ["histc"],
    "bincount": ["bincount"],  # with weights, and a host sync without
    "median": ["median", "nanmedian"],
    "nn.functional.grid_sample": ["grid_sampler_2d_backward", "grid_sampler_3d_backward"],
    "Tensor.scatter_reduce": ["scatter_reduce", "scatter_reduce_"],
    "Tensor.resize_": [],  # of quantised tensors
}
NAMES = {name for names in REFUSED.values() for name in names}


class Refusing(TorchDispatchMode):
    """Note every operation that CUDA refuses."""

    def __init__(self):
        super().__init__()
        self.met = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in NAMES:
            self.met.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Take the GPU's way on a CPU, where something has to be computed really."""
    monkeypatch.setattr(kernels, "form", lambda x: channels_last)
    monkeypatch.setattr(layers, "quicker", lambda conv, x: None)


# ---------------------------------------------------------------------------------------------- nothing waits for the host


def syncs(step):
    step()  # what is looked up once, is
    return count(step).syncs


@pytest.mark.parametrize("rules", [BIO, ("bp",), ("brsf", "bp"), ("kp", "fa")], ids="-".join)
@pytest.mark.parametrize("method", ["darts", "eg", "random"])
def test_no_step_of_a_search_waits_for_the_host(method, rules):
    assert not syncs(search(method, rules)[1])


@pytest.mark.parametrize("change", [{"recompute": True}, {"redraw": "forward"}], ids=str)
def test_nor_with_a_cell_computed_again_or_feedback_drawn_at_every_forward_pass(change):
    assert not syncs(search("darts", **change)[1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", ["resnet20", "cells"])
def test_no_step_of_a_training_waits_for_the_host(network, rule):
    assert not syncs(training(network, rule)[1])


def test_a_planted_one_is_seen(monkeypatch):
    state, step = search("darts")
    step()
    monkeypatch.setattr(type(state.feedback), "advance", lambda self, optimiser: state.sums.sum().item())
    assert count(step).syncs == {"_local_scalar_dense": 1}


# ---------------------------------------------------------------------------------------------- nothing that is refused


def refused(step):
    with Refusing() as seen:
        step()
    return seen.met


def test_torchs_list_is_the_one_that_is_looked_for():
    _, _, text = torch.use_deterministic_algorithms.__doc__.partition(":class:`RuntimeError` when ``mode=True``:")
    text, _, _ = text.partition("In addition, several operations")
    assert set(re.findall(r"\* :\w+:`torch\.([\w.]+)`", text)) == set(REFUSED)


@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("method", ["darts", "eg", "random"])
def test_searches_do_nothing_that_is_refused(method, side):
    assert not refused(search(method, side=side)[1])


TRAININGS = [(network, rule, side) for network in ("resnet20", "cells") for rule in RULES for side in SIZES]
TRAININGS += [("lenet", rule, side) for side in [catalog.SIDES["lenet"]] for rule in RULES]


@pytest.mark.parametrize(("network", "rule", "side"), [*TRAININGS, ("resnet56", "brsf", 32)])  # deeper than resnet20, and else the same
def test_trainings_do_nothing_that_is_refused(network, rule, side):
    assert not refused(training(network, rule, side)[1])


@pytest.mark.parametrize("gradient", catalog.GRADIENTS)
@pytest.mark.parametrize("attack", catalog.ATTACKS)
def test_attacks_do_nothing_that_is_refused(as_on_a_gpu, attack, gradient):
    short = {"n_queries": 20, "steps": 3, "popsize": 5}
    images, _ = batch(16, 2, "cpu")
    short = {name: value for name, value in short.items() if name in catalog.parameters(attack, "paper")}
    for model in (
        catalog.load(catalog.MODELS["resnet20"])("brsf", 10, 3),
        Network(PUBLISHED["biodarts"], 3, 10, 4, 3, 16, auxiliary=True),
    ):
        labels = model.eval()(images).argmax(1)  # what is wrong already is left alone
        assert not refused(lambda model=model, labels=labels: attacks.evaluate(model, images, labels, attack, gradient, **short))


class Wrong(TorchDispatchMode):
    """Note average pools whose gradient CUDA gets wrong, before torch 2.14 at least: channels last, with padding."""

    def __init__(self):
        super().__init__()
        self.pools = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == "avg_pool2d_backward" and any(args[4]):
            self.pools.append(args[1].is_contiguous())
        return func(*args, **(kwargs or {}))


def pools_laid_out(run):
    with Wrong() as seen:
        run().sum().backward()
    assert seen.pools
    return all(seen.pools)


@pytest.mark.parametrize("method", ["darts", "random"])
def test_no_average_pool_of_a_supernet_lies_as_cuda_gets_it_wrong(method):
    supernet = search(method, side=16)[0].supernet
    assert pools_laid_out(lambda: supernet(batch(16)[0]))


def test_nor_does_an_operations():
    x = torch.empty(2, 4, 8, 8, device="meta", requires_grad=True).to(memory_format=torch.channels_last)
    pool = build(Candidate("avg_pool_3x3"), 4, 1, affine=False)
    assert pools_laid_out(lambda: pool(x)) and not pools_laid_out(lambda: F.avg_pool2d(x, 3, 1, 1))


def test_the_pool_of_before_is_caught():
    x = torch.rand(1, 1, 5, 5, requires_grad=True)
    assert refused(lambda: F.adaptive_avg_pool2d(x, 2).sum().backward()) == {"_adaptive_avg_pool2d_backward"}
