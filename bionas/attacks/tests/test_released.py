"""The public evaluator's number, against its script written out."""

import pytest
import torch
import torchattacks

from bionas import catalog
from bionas.attacks import released_accuracy
from bionas.attacks.tests.helpers import Threshold, trained, unseen


def test_100_percent_clean_and_0_percent_robust_is_50_percent_there():
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    parameters = catalog.parameters("pgd", "paper")
    assert released_accuracy(Threshold(images), images, torch.zeros(6, dtype=torch.long), "pgd", parameters, seed=0) == 50


@pytest.mark.parametrize("rule", ["bp", "fa"])
@pytest.mark.parametrize("eps", [0.1, 0.5])
def test_it_is_the_mean_of_a_clean_and_an_attacked_pass_over_normalised_images(rule, eps):
    images, labels = unseen(130)
    net = trained(rule)[1:]  # as the public code has it, behind a loader that normalises
    normalised = (images - 0.3) / 0.4
    attacked = torchattacks.FGSM(net, eps=eps)(normalised, labels)
    assert attacked.min() == 0 and attacked.max() == 1 and normalised.min() < 0  # cut off
    passes = [100 * (net(z).argmax(1) == labels).double().mean().item() for z in (normalised, attacked)]
    found = released_accuracy(trained(rule), images, labels, "fgsm", {"eps": eps}, seed=0)
    assert found == pytest.approx(sum(passes) / 2, abs=100 / 260 + 1e-9)  # one image of two passes may turn by rounding
    assert passes[1] < passes[0]


def test_it_is_a_function_of_the_seed():
    images, labels = unseen(130)
    found = {seed: released_accuracy(trained(), images, labels, "pgd", {"eps": 0.35}, seed=seed) for seed in (1, 2, 3, 4)}
    assert found[1] == released_accuracy(trained(), images, labels, "pgd", {"eps": 0.35}, seed=1)
    assert len(set(found.values())) > 1
