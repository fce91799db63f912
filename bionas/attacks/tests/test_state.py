"""What an attack leaves behind: nothing; and what it sees of what ran before: nothing."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from bionas import catalog
from bionas.attacks import chunks, evaluate, gradient_cosine, released_accuracy
from bionas.attacks.tests.helpers import digits, seen_right, short, trained

EVERY = [(name, gradient) for name, attack in catalog.ATTACKS.items() for gradient in catalog.GRADIENTS[: 1 + attack.uses_gradient]]


def used(redraw="forward"):
    """A model that something else was done with: modes and flags of many kinds, gradients, and forwards that were counted."""
    model = trained("brsf", redraw).train()
    model(digits()[0][:3]).sum().backward()
    model[3].eval()
    model[1].weight.requires_grad_(False)
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    return model


def state(model):
    owners = [layer for layer in model.modules() if hasattr(layer, "update")]
    tensors = [*model.parameters(), *model.buffers(), *[p.grad for p in model.parameters() if p.grad is not None]]
    return (
        [m.training for m in model.modules()],
        [(p.requires_grad, p.grad is None) for p in model.parameters()],
        [(layer.seed, layer.name, layer.update, layer.exact) for layer in owners],
        [t.detach().numpy().tobytes() for t in tensors],
        (torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize(("attack", "gradient"), EVERY)
def test_every_attack_leaves_everything_as_it_was(attack, gradient):
    model, (images, labels) = used(), seen_right(2)
    before = state(model)
    evaluate(model, images, labels, attack, gradient, **short(catalog.parameters(attack, "paper")))
    assert state(model) == before


class Interrupted(nn.Module):
    """A model at whose third forward something goes wrong."""

    def __init__(self, model):
        super().__init__()
        self.model, self.forwards = model, 0

    def forward(self, x):
        self.forwards += 1
        if self.forwards == 3:
            raise RuntimeError("interrupted")
        return self.model(x)


@pytest.mark.parametrize("attack", [name for name in catalog.ATTACKS if name != "fgsm"])  # which has three forwards
def test_so_does_one_that_fails(attack):
    model, (images, labels) = Interrupted(used()), seen_right(2)
    before = state(model)
    with pytest.raises(RuntimeError, match="interrupted"):
        evaluate(model, images, labels, attack, **short(catalog.parameters(attack, "paper")))
    assert state(model) == before


def test_so_do_both_networks_of_a_transfer():
    here, (images, labels) = used(), seen_right(2)
    there = used()
    before = state(here), state(there)
    evaluate(here, images, labels, "pgd", "from-brsf", source=there)
    assert (state(here), state(there)) == before


def test_so_do_the_cosine_and_the_public_evaluator():
    model, (images, labels) = used(), seen_right(2)
    before = state(model)
    gradient_cosine(model, images, labels)
    released_accuracy(model, images, labels, "pgd", catalog.parameters("pgd", "paper"), seed=0)
    assert state(model) == before


def test_an_attack_within_no_grad_has_its_gradients():
    model, (images, labels) = trained("fa"), seen_right(2)
    with torch.no_grad():
        found = evaluate(model, images, labels, "fgsm", keep_adversarial=True)
        assert not torch.is_grad_enabled()
    assert torch.equal(found.adversarial, evaluate(model, images, labels, "fgsm", keep_adversarial=True).adversarial)


def test_no_parameter_has_a_gradient_while_images_are_attacked():
    model, (images, labels) = used(), seen_right(2)
    seen = []
    model.register_forward_hook(lambda module, given, out: seen.extend(p.requires_grad for p in model.parameters()))
    evaluate(model, images, labels, "pgd")
    assert seen and not any(seen)


@pytest.mark.parametrize("redraw", ["update", "forward"])
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "fab"])
def test_an_attack_resumed_after_any_chunk_is_the_same(attack, redraw):
    images, labels = (part[:120] for part in digits())
    parameters = catalog.parameters(attack, "standard", eps=0.2, **short(catalog.parameters(attack, "paper")))
    whole = list(chunks(trained("brsf", redraw), images, labels, attack, "rule", parameters, seed=3))
    (resumed,) = chunks(trained("brsf", redraw), images, labels, attack, "rule", parameters, seed=3, start=1)
    assert [len(part.clean_correct) for part in whole] == [100, 20]
    assert torch.equal(resumed.adversarial, whole[1].adversarial)
    assert not torch.equal(resumed.adversarial, images[100:])


def test_feedback_drawn_at_every_forward_does_not_depend_on_what_ran_before():
    images, labels = seen_right(8)
    fresh, old = trained("brsf", "forward"), trained("brsf", "forward")
    for _ in range(3):
        old(images)
    found = [evaluate(model, images, labels, "pgd", keep_adversarial=True).adversarial for model in (fresh, old, old)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    cosines = [gradient_cosine(model, images, labels) for model in (fresh, old)]
    assert torch.equal(*cosines)


def test_nor_does_training_depend_on_an_attack_in_between():
    images, labels = seen_right(8)
    quiet, attacked = trained("brsf", "forward"), trained("brsf", "forward")

    def gradient(model):
        x = images.clone().requires_grad_()
        return torch.autograd.grad(model(x).logsumexp(1).sum(), x)[0]

    first = gradient(quiet), gradient(attacked)
    evaluate(attacked, images, labels, "pgd")
    second = gradient(quiet), gradient(attacked)
    assert torch.equal(*first) and torch.equal(*second) and not torch.equal(first[0], second[0])


def test_attacking_imports_no_statistics_and_leaves_them_usable():
    said = (
        "import sys, torch; from bionas.attacks import evaluate\n"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))\n"
        "evaluate(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), 'fgsm')\n"
        "assert 'torchattacks' in sys.modules and 'scipy.stats._stats_py' not in sys.modules\n"
        "from scipy import stats; print(stats.norm.cdf(0.0))"
    )
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "0.5\n"
