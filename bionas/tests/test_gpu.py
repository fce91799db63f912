"""What only a GPU can tell, each in the mode in which jobs run: `pytest -m gpu -n 4`."""

import copy
import os
import shutil

import pytest
import torch
import torch.nn.functional as F
from packaging.version import Version

from bionas import attacks, catalog
from bionas.networks import Network, parts
from bionas.rules import true_gradient
from bionas.search.memory import needed
from bionas.space import PUBLISHED, SearchSpace
from bionas.supernet import Supernet, initialise_alphas
from bionas.tests.helpers import BIO, RULES, batch, search, training

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
METHODS = ("darts", "eg", "random")
SIZES = (8, 16, 28, 32)


@pytest.fixture(autouse=True)
def as_in_jobs():
    """Deterministic or an error, in float32 throughout."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    mode, tf32 = torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_deterministic_debug_mode(mode)
    torch.backends.cudnn.allow_tf32 = tf32


def taken(step, times=3):
    """Take steps; all but the first, which looks things up, may not wait for the device."""
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(times - 1):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def bits(model):
    return {name: value.cpu().numpy().tobytes() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


def assert_close(ours, theirs, tolerance):
    """Of the largest number, in every tensor."""
    theirs = theirs.state_dict()
    for name, value in ours.state_dict().items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            scale = theirs[name].abs().max().clamp_min(1e-3).item()
            torch.testing.assert_close(
                value.cpu(), theirs[name], rtol=0, atol=tolerance * scale, msg=lambda text, name=name: f"{name}: {text}"
            )


# ---------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_searches_step_without_a_sync_and_to_the_same_bits(method, side):
    found = []
    for _ in range(2):
        state, step = search(method, side=side, device="cuda")
        taken(step)
        found.append(bits(state.supernet))
    assert found[0] == found[1]


@pytest.mark.parametrize("changes", [{"recompute": True}, {"redraw": "forward"}, {"rules": ("bp",)}, {"precision": "bfloat16"}], ids=str)
def test_searches_do_so_in_every_setting(changes):
    state, step = search("darts", device="cuda", **changes)
    taken(step)
    assert all(p.isfinite().all() for p in state.supernet.parameters())


@pytest.mark.parametrize("side", SIZES)
def test_a_search_steps_as_on_a_cpu(side):
    """In float64: a training makes more of a rounding than any tolerance allows."""
    ours, theirs = (search("darts", side=side, device=device, dtype=torch.float64) for device in ("cuda", "cpu"))
    ours[1](), theirs[1]()
    assert_close(ours[0].supernet, theirs[0].supernet, 1e-8)


def test_a_cell_computed_again_gives_the_same_bits():
    found = []
    for recompute in (False, True):
        state, step = search("darts", recompute=recompute, device="cuda")
        taken(step)
        found.append(bits(state.supernet))
    assert found[0] == found[1]


def test_the_fused_supernet_is_the_plain_one_in_float64():
    nets = []
    for fused in (False, True):
        net = Supernet(SearchSpace(BIO), 3, 10, 4, 3, 2, fused).double()
        net = initialise_alphas(parts.initialise(net, 0), 0).cuda()
        images, labels = batch(16, device="cuda")
        F.cross_entropy(net(images.double()), labels).backward()
        nets.append({name: p.grad for name, p in net.named_parameters() if ".fans." not in name and ".edges." not in name})
    for name, grad in nets[1].items():
        torch.testing.assert_close(grad, nets[0][name], rtol=0, atol=1e-9 * nets[0][name].abs().max().item(), msg=name)


TRAININGS = [(network, rule, side) for network in ("resnet20", "cells") for rule in RULES for side in SIZES]
TRAININGS += [("lenet", rule, side) for side in [catalog.SIDES["lenet"]] for rule in RULES]


@pytest.mark.parametrize(("network", "rule", "side"), [*TRAININGS, ("resnet56", "brsf", 32)])
def test_trainings_step_without_a_sync_and_to_the_same_bits(network, rule, side):
    found = []
    for _ in range(2):
        torch.manual_seed(0)  # drop path
        state, step = training(network, rule, side, "cuda")
        taken(step)
        found.append(bits(state.model))
    assert found[0] == found[1]


@pytest.mark.parametrize("network", ["resnet20", "cells"])
@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"memory_format": "channels_last"}, {"compile": "cudagraphs"}], ids=str)
def test_trainings_do_so_at_the_price_of_bits(network, changes):
    if network == "resnet20" and "compile" in changes and Version(torch.__version__) < Version("2.14"):
        pytest.skip("torch 2.11 does not trace how a ResNet listens at its output; 2.14 does")
    state, step = training(network, "brsf", 32, "cuda", drop_path=0.0, **changes)
    for _ in range(4):
        step()
    assert all(p.isfinite().all() for p in state.model.parameters())


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor_trains():
    state, step = training("cells", "usf", 32, "cuda", compile="inductor")
    step(), step()
    assert all(p.isfinite().all() for p in state.model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(method):
    whole, step = search(method, device="cuda")
    for _ in range(4):
        step()
    first, step = search(method, device="cuda")
    step(), step()
    saved = copy.deepcopy(first.state_dict())
    second, step = search(method, device="cuda")
    second.load_state_dict(saved)
    step(), step()
    assert bits(second.supernet) == bits(whole.supernet)


# ---------------------------------------------------------------------------------------------- attacks and memory


ATTACKS = [(name, gradient) for name, attack in catalog.ATTACKS.items() for gradient in catalog.GRADIENTS[: 1 + attack.uses_gradient]]


@pytest.mark.parametrize(("attack", "gradient"), ATTACKS)
def test_attacks_run_and_leave_everything_as_it_was(attack, gradient):
    model = parts.initialise(catalog.load(catalog.MODELS["resnet20"])("brsf", 10, 3), 0).cuda()
    before, stream = bits(model), torch.cuda.get_rng_state()
    images, _ = batch(32, 2, "cuda")
    labels = model.eval()(images).argmax(1)  # what is wrong already is left alone
    ran = [attacks.evaluate(model, images, labels, attack, gradient, "paper", keep_adversarial=True) for _ in range(2)]
    assert torch.equal(ran[0].adversarial, ran[1].adversarial)
    assert bits(model) == before and torch.equal(torch.cuda.get_rng_state(), stream)


def test_gradients_of_both_kinds_are_those_of_a_cpu():
    found = {}
    for device in ("cpu", "cuda"):
        for gradient in catalog.GRADIENTS:
            model = parts.initialise(Network(PUBLISHED["biodarts"], 3, 10, 4, 3, 16), 0).double().to(device).eval()
            images, labels = batch(16, device=device)
            images = images.double().requires_grad_()
            with true_gradient(model) if gradient == "true" else torch.enable_grad():
                F.cross_entropy(model(images), labels).backward()
            found[device, gradient] = images.grad.cpu()
    for gradient in catalog.GRADIENTS:
        torch.testing.assert_close(found["cuda", gradient], found["cpu", gradient], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_search_needs_the_memory_that_its_plan_says(recompute):
    net = Supernet(SearchSpace(BIO), 3, 10, 16, 5, 4, recompute=recompute).cuda()
    images, labels = torch.rand(128, 3, 32, 32, device="cuda"), torch.zeros(128, dtype=torch.int64, device="cuda")
    F.cross_entropy(net(images), labels).backward()
    net.zero_grad()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    F.cross_entropy(net(images), labels).backward()
    planned = needed((BIO, "repaired", True), 3, 10, 32, 16, 5, 4, 128, recompute)
    assert 0.9 < torch.cuda.max_memory_allocated() / planned < 1.1
