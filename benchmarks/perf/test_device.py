"""On a GPU: search step, derived network and ResNet-20 against the public code and biotorch, in the mode in which jobs run."""

import os

import peers
import pytest
import torch
from conftest import ROWS, Row

from bionas import catalog
from bionas.networks import Network, parts, resnet20
from bionas.search import darts
from bionas.search.common import SearchState, WeightSettings, weight_step
from bionas.search.memory import needed
from bionas.space import SearchSpace, random_genotype

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(autouse=True)
def as_in_jobs():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_deterministic_debug_mode("default")
    torch.cuda.empty_cache()


def on_gpu(*tensors):
    return [tensor.cuda() for tensor in tensors]


def searching(images, recompute=False, **changes):
    """A whole step of a search, on α and on the weights."""
    net = peers.supernet(16, 5, space="repaired").cuda()
    net.recompute = recompute
    settings = WeightSettings(1, images, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0, **changes)
    state = SearchState.start(net, settings)
    darts.prepare(state, darts.Settings(3e-4, 1e-3))
    batch = on_gpu(*peers.batch(32, images))

    def step():
        darts.alpha_step(state, *batch, settings.precision)
        weight_step(state, *batch, settings)

    return step


def test_search_step_against_the_public_code(compare):
    """Theirs goes forward and back twice, without clipping and updates."""
    public, batch = peers.public_supernet(16, 5).cuda(), on_gpu(*peers.batch(32, 64))
    once = peers.step(public, *batch)
    compare("search step, C=16, batch 64 of 32×32 ÷ public code", {"ours": searching(64), "peer": lambda: (once(), once())}, 5, 0.25)


@pytest.mark.parametrize("change", [{"recompute": True}, {"precision": "bfloat16"}], ids=str)
def test_search_step_by_setting(compare, change):
    said = ", ".join(f"{name}: {value}" for name, value in change.items()).lower()
    compare(f"search step, batch 256, {said} ÷ without", {said: searching(256, **change), "without": searching(256)}, 5)


def test_memory_of_a_search():
    run = searching(256)
    run()
    torch.cuda.reset_peak_memory_stats()
    run()
    peak, planned = torch.cuda.max_memory_allocated(), needed((peers.BIO, "repaired", True), 3, 10, 32, 16, 5, 4, 256)
    detail = f"{peak / 2**30:.2f} of {planned / 2**30:.2f} GiB"
    ROWS.append(Row("peak memory of a search, batch 256 ÷ planned", *[peak / planned] * 3, 1.1, detail))


@pytest.mark.parametrize("rule", catalog.BIOTORCH)
def test_resnet20_step_against_biotorch(compare, rule):
    batch, nets = on_gpu(*peers.batch(32, 128)), [parts.initialise(resnet20(rule), 0) for _ in range(2)]
    theirs = peers.training_step(peers.with_biotorch(nets[1]).cuda(), *batch)
    compare(
        f"ResNet-20 step, batch 128, {rule} ÷ biotorch", {"ours": peers.training_step(nets[0].cuda(), *batch), "biotorch": theirs}, 31, 1.0
    )


def test_derived_network_step_against_biotorch(compare):
    genotype = random_genotype(SearchSpace(peers.BIO, none=False), 4, 6)
    nets = [parts.initialise(Network(genotype, 3, 10, 36, 20, 32), 0) for _ in range(2)]
    batch = on_gpu(*peers.batch(32, 96))
    theirs = peers.training_step(peers.with_biotorch(nets[1]).cuda(), *batch)
    ours = peers.training_step(nets[0].cuda(), *batch)
    compare("derived network step, C=36, 20 cells, batch 96 ÷ biotorch", {"ours": ours, "biotorch": theirs}, 15, 1.0)
