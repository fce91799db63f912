"""On a device that is not there: kernels, bytes, syncs and kept bytes of a step, against the form of before, the public code, biotorch."""

import peers
import pytest
import torch
from conftest import ROWS, Row

from bionas.networks import Network, parts, resnet20
from bionas.search import darts
from bionas.search.common import SearchState, WeightSettings, weight_step
from bionas.space import SearchSpace, random_genotype
from bionas.training.counting import count

# The supernet laid out for a CPU, on the same device, counted before there was another form (batch 256; draws of R included).
BEFORE = {
    "weight step": {"kernels": 4_296, "GB": 604.7, "kept GiB": 33.74, "seconds": 0.407},
    "α step": {"kernels": 2_759, "GB": 416.4, "kept GiB": 33.79, "seconds": 0.280},
}
BARS = {"kernels": 0.6, "GB": {"weight step": 0.5, "α step": 0.6}, "kept GiB": 0.7, "seconds": 0.6}


def there(side, images):
    return torch.empty(images, 3, side, side, device="meta"), torch.zeros(images, dtype=torch.int64, device="meta")


def counts(step, model):
    """Count a step after a first one, which looks things up."""
    step()
    counted = count(step, [*model.parameters(), *model.buffers()])
    numbers = {"kernels": len(counted.kernels), "GB": counted.bytes / 1e9, "kept GiB": counted.saved / 2**30, "seconds": counted.seconds}
    return {**numbers, "syncs": sum(counted.syncs.values()), "peak GiB": counted.peak / 2**30}


def report(what, ours, theirs, bars):
    for name, bar in bars.items():
        ratio = ours[name] / theirs[name]
        ROWS.append(Row(f"counted, {what}, {name}", ratio, ratio, ratio, bar, f"{ours[name]:.4g} of {theirs[name]:.4g}"))


def searching(recompute=False):
    net = peers.supernet(16, 5, space="repaired").to("meta")
    net.recompute = recompute
    settings = WeightSettings(1, 256, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0)
    state = SearchState.start(net, settings)
    darts.prepare(state, darts.Settings(3e-4, 1e-3))
    batch = there(32, 256)
    steps = {"weight step": lambda: weight_step(state, *batch, settings), "α step": lambda: darts.alpha_step(state, *batch)}
    return {name: counts(step, net) for name, step in steps.items()}


def test_search_steps():
    found = searching()
    for name, ours in found.items():
        report(name, ours, BEFORE[name], {what: bar[name] if isinstance(bar, dict) else bar for what, bar in BARS.items()})
        assert ours["syncs"] == 0
    whole = {"seconds": sum(ours["seconds"] for ours in found.values())}
    report("both steps, an A100's roofline", whole, {"seconds": sum(b["seconds"] for b in BEFORE.values())}, {"seconds": 0.6})
    for name, ours in searching(recompute=True).items():
        ROWS.append(Row(f"counted, {name} with recompute, peak GiB", *[ours["peak GiB"]] * 3, 10, f"kept {ours['kept GiB']:.2f} GiB"))


def test_search_step_against_the_public_code():
    """Forward and backward alone."""
    batch, nets = there(32, 256), [peers.supernet(16, 5).to("meta"), peers.public_supernet(16, 5).to("meta")]
    ours, theirs = (counts(peers.step(net, *batch), net) for net in nets)
    report("forward and backward ÷ public code", ours, theirs, {"kernels": 0.1, "GB": 1.0, "kept GiB": 0.5})
    assert theirs["syncs"] > 0 == ours["syncs"]


@pytest.mark.parametrize("name", ["derived network, C=36, 20 cells, batch 96", "ResNet-20, batch 128"])
def test_training_step_against_biotorch(name):
    genotype = random_genotype(SearchSpace(peers.BIO, none=False), 4, 6)
    derived = name.startswith("derived")
    nets = [parts.initialise(Network(genotype, 3, 10, 36, 20, 32) if derived else resnet20("brsf"), 0) for _ in range(2)]
    nets = nets[0].to("meta"), peers.with_biotorch(nets[1]).to("meta")
    ours, theirs = (counts(peers.training_step(net, *there(32, 96 if derived else 128)), net) for net in nets)
    report(f"{name} ÷ biotorch", ours, theirs, {"kernels": 1.0, "GB": 1.0})
