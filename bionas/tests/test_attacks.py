"""Attacks: the paper's parameters, outcomes that are not mixed, and nothing left behind."""

import numpy as np
import pytest
import torch
from torch import nn

from bionas import catalog
from bionas.attacks import chunks, evaluate
from bionas.networks import Options, resnet20
from bionas.rules import RuleConv2d, RuleLinear


class Threshold(nn.Module):
    """Right about every image as it is and wrong about any that was touched."""

    def __init__(self, images):
        super().__init__()
        self.images = nn.Parameter(images)

    def forward(self, x):
        touched = (x - self.images[: len(x)]).abs().sum((1, 2, 3))
        return torch.stack([0.5 - touched, touched - 0.5], 1) * 50


def problem(n=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(4, (n,), generator=generator)


def network(rule):
    torch.manual_seed(0)
    return nn.Sequential(
        RuleConv2d(3, 4, 3, rule=rule), nn.ReLU(), RuleConv2d(4, 4, 3, rule=rule), nn.Flatten(), RuleLinear(64, 4, rule=rule)
    )


def test_clean_and_robust_accuracy_are_never_mixed():
    images, _ = problem()
    outcome = evaluate(Threshold(images), images, torch.zeros(6, dtype=torch.long), "pgd")  # its random start touches every image
    assert outcome.clean_correct.all() and not outcome.robust_correct.any()


def test_an_image_that_is_wrong_without_an_attack_is_not_robust():
    images, _ = problem()
    outcome = evaluate(Threshold(images), images, torch.ones(6, dtype=torch.long), "fgsm")
    assert not outcome.clean_correct.any() and not outcome.robust_correct.any()


# Paper §3.5; one-pixel changes one pixel.
@pytest.mark.parametrize(("attack", "eps"), [("fgsm", 0.35), ("pgd", 0.35), ("tpgd", 8 / 255), ("apgd", 8 / 255)])
def test_perturbations_fill_the_papers_ball_and_no_more(attack, eps):
    images, labels = problem()
    labels = network("bp")(images).argmax(1)  # apgd leaves alone what is wrong already
    adversarial = evaluate(network("bp"), images, labels, attack, keep_adversarial=True).adversarial
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    moved = (adversarial - images).abs().flatten(1).max(1).values
    assert moved.max().item() <= eps + 1e-6
    if attack != "apgd":  # which hands back the image where it fails
        assert moved.max().item() > 0.9 * eps


def test_onepixel_changes_one_pixel():
    images, labels = problem()
    adversarial = evaluate(network("bp"), images, labels, "onepixel", keep_adversarial=True).adversarial
    assert ((adversarial != images).any(1).flatten(1).sum(1) <= 1).all()


def test_papers_parameters_stand_in_the_catalog():
    paper = {name: attack.paper for name, attack in catalog.ATTACKS.items()}
    assert paper["fgsm"] == {"eps": 0.35}
    assert paper["pgd"] == {"eps": 0.35, "alpha": 2 / 255, "steps": 10, "random_start": True}
    assert paper["tpgd"] == {"eps": 8 / 255, "alpha": 2 / 255, "steps": 7}
    assert paper["apgd"] == {"norm": "Linf", "eps": 8 / 255, "steps": 50, "n_restarts": 1}


@pytest.mark.parametrize("attack", catalog.ATTACKS)
@pytest.mark.parametrize("gradient", catalog.GRADIENTS)
@pytest.mark.parametrize("preset", catalog.PRESETS)
def test_every_attack_leaves_everything_as_it_was(attack, gradient, preset):
    model = network("brsf").train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    images, labels = problem(2)
    flags = [p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]
    torch.manual_seed(7), np.random.seed(7)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluate(model, images, labels, attack, gradient, preset)
    assert ([p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]) == flags
    assert torch.equal(torch_state, torch.get_rng_state()) and np.array_equal(numpy_state, np.random.get_state()[1])
    assert all(p.grad is None for p in model.parameters())


def test_an_attack_resumed_after_any_chunk_has_the_same_outcomes():
    images, labels = torch.rand(120, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(120) % 4
    arguments = (network("brsf"), images, labels, "pgd", "rule", "paper")
    whole = list(chunks(*arguments, seed=3))
    (resumed,) = chunks(*arguments, seed=3, start=1)
    assert [len(part.clean_correct) for part in whole] == [100, 20]
    assert torch.equal(resumed.adversarial, whole[1].adversarial)


def test_outcome_is_a_function_of_the_seed():
    images, labels = problem()

    def adversarial(seed):
        return evaluate(network("fa"), images, labels, "pgd", seed=seed, keep_adversarial=True).adversarial

    assert torch.equal(adversarial(1), adversarial(1)) and not torch.equal(adversarial(1), adversarial(2))


@pytest.mark.parametrize("rule", ["fa", "usf", "brsf", "frsf"])
def test_gradient_says_which_way_the_attack_steps(rule):
    images, labels = problem()
    model = network(rule)
    plain = network("bp")
    plain.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name in dict(plain.named_parameters())}, strict=False
    )
    exact = evaluate(plain, images, labels, "fgsm", keep_adversarial=True).adversarial
    through = {g: evaluate(model, images, labels, "fgsm", g, keep_adversarial=True).adversarial for g in ("rule", "true")}
    assert torch.equal(through["true"], exact)
    assert not torch.equal(through["rule"], exact)


def test_normalisation_inside_the_model_keeps_pixels_in_the_ball():
    images, labels = problem()
    model = resnet20("usf", 4, 3, Options(mean=[0.5], std=[0.1]))
    adversarial = evaluate(model, images, labels, "fgsm", keep_adversarial=True).adversarial
    assert (adversarial - images).abs().max().item() == pytest.approx(0.35, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "fgms"}, "did you mean 'fgsm'"),
        ({"gradient": "exact"}, "rule, true"),
        ({"preset": "none"}, "paper, standard"),
        ({"images": torch.full((2, 3, 8, 8), 1.5)}, "0..1"),
        ({"images": torch.rand(0, 3, 8, 8)}, "none given"),
    ],
)
def test_bad_input_is_refused(changes, words):
    images, labels = problem(2)
    arguments = {"images": images, "labels": labels, "attack": "fgsm"} | changes
    with pytest.raises(ValueError, match=words):
        evaluate(network("bp"), **arguments)
