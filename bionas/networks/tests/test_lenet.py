"""LeNet is biotorch's: as many parameters, the same logits, and under every rule the same 200 steps."""

import pytest
import torch
import torch.nn.functional as F

from bionas import catalog
from bionas.networks import account, lenet
from bionas.rules import Feedback

PAIRS = {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "linear1": "fc1", "linear2": "fc2"}  # ours: biotorch's


def theirs_under(rule):
    """biotorch's own network, converted by its own module, in float64."""
    from biotorch.models.le_net import LeNetMNIST
    from biotorch.module.biomodule import BioModule

    torch.manual_seed(0)
    return BioModule(LeNetMNIST(), mode="backpropagation" if rule == "bp" else rule).double()


def layers(ours, theirs):
    found = dict(theirs.named_modules())
    return [(getattr(ours, name), next(m for path, m in found.items() if path.endswith(other))) for name, other in PAIRS.items()]


@torch.no_grad()
def take(ours, theirs, weights=False):
    """Give ours biotorch's magnitudes of its last forward; and its weights, to begin with."""
    for mine, other in layers(ours, theirs):
        if weights:
            mine.weight.copy_(other.weight)
            mine.bias.copy_(other.bias)
        if mine.R is not None:
            mine.R.copy_(other.weight_backward if mine.rule == "fa" else other.weight_backward.abs())


def batch(step):
    stream = torch.Generator().manual_seed(step)
    return torch.rand(4, 1, 32, 32, generator=stream, dtype=torch.float64), torch.randint(10, (4,), generator=stream)


def test_parameters_by_hand():
    # 6·25 + 6, 16·6·25 + 16, 120·16·25 + 120, 84·120 + 84, 10·84 + 10
    assert account.num_parameters(lenet.LeNet("fa")) == 156 + 2_416 + 48_120 + 10_164 + 850


@pytest.mark.parametrize("rule", catalog.BIOTORCH)
def test_200_steps_equal_biotorchs(rule):
    ours, theirs = lenet.LeNet(rule).double(), theirs_under(rule)
    take(ours, theirs, weights=True)
    feedback = Feedback(ours)
    trained = [p for p in theirs.parameters() if p.requires_grad]
    optimisers = [torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=1e-3) for weights in (list(ours.parameters()), trained)]
    losses = []
    for step in range(200):
        images, labels = batch(step)
        expected = F.cross_entropy(theirs(images), labels)  # brsf draws its R here
        take(ours, theirs)
        found = F.cross_entropy(ours(images), labels)
        for optimiser, loss in zip(optimisers, (found, expected), strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if rule != "brsf":
            feedback.advance()
        losses.append(expected.item())
    for mine, other in layers(ours, theirs):
        torch.testing.assert_close(mine.weight, other.weight, rtol=0, atol=1e-8)
        torch.testing.assert_close(mine.bias, other.bias, rtol=0, atol=1e-8)
    assert max(losses) - min(losses) > 0.1, "nothing was learned, so nothing was compared"
