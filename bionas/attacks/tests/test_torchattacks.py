"""Our outcomes against those of torchattacks called as its documentation says, on a network of plain backpropagation."""

import numpy as np
import pytest
import torch
import torchattacks

from bionas import catalog
from bionas.attacks import evaluate
from bionas.attacks.tests.helpers import seen_right, trained, unseen
from bionas.seeds import derive

EPS = 0.15
CALLS = {
    "fgsm": lambda model, seed: torchattacks.FGSM(model, eps=EPS),
    "pgd": lambda model, seed: torchattacks.PGD(model, eps=EPS, alpha=2 / 255, steps=20),
    "tpgd": lambda model, seed: torchattacks.TPGD(model, eps=EPS, alpha=2 / 255, steps=10),
    "apgd": lambda model, seed: torchattacks.APGD(model, eps=EPS, steps=20, seed=seed),
    "apgd_dlr": lambda model, seed: torchattacks.APGD(model, eps=EPS, steps=20, seed=seed, loss="dlr"),
    "apgd_t": lambda model, seed: torchattacks.APGDT(model, eps=EPS, steps=10, seed=seed, n_classes=10),
    "fab": lambda model, seed: torchattacks.FAB(model, eps=EPS, steps=10, seed=seed, n_classes=10),
    "square": lambda model, seed: torchattacks.Square(model, eps=EPS, n_queries=100, seed=seed),
}
STEPS = {"pgd": 20, "tpgd": 10, "apgd": 20, "apgd_dlr": 20, "apgd_t": 10, "fab": 10}
STRONG = ("apgd", "apgd_dlr", "apgd_t", "fab", "square")


def parameters(attack):
    more = {"steps": STEPS[attack]} if attack in STEPS else {}
    return {"eps": EPS, **more} | ({"n_queries": 100} if attack == "square" else {})


def theirs(attack, model, images, labels):
    key = derive(5, "attack", attack, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        np.random.seed(key % 2**32)
        return CALLS[attack](model, key)(images, labels)


@pytest.mark.parametrize("attack", CALLS)
def test_images_are_the_same(attack):
    images, labels = seen_right()
    adversarial = evaluate(
        trained(), images, labels, attack, "rule", "standard", seed=5, keep_adversarial=True, **parameters(attack)
    ).adversarial
    assert torch.equal(adversarial, theirs(attack, trained(), images, labels))
    assert not torch.equal(adversarial, images)


@pytest.mark.parametrize("attack", STRONG)
def test_robust_accuracy_is_the_same_with_wrong_images_in_the_batch(attack):
    images, labels = unseen(100)
    outcome = evaluate(trained(), images, labels, attack, "rule", "standard", seed=5, **parameters(attack))
    assert 80 < outcome.clean_correct.sum() < 100  # some are wrong
    right = trained()(theirs(attack, trained(), images, labels)).argmax(1) == labels
    assert outcome.robust_correct.sum() == right.sum()
    assert 0 < right.sum() < outcome.clean_correct.sum()


@pytest.mark.parametrize("kind", ["random", "least_likely"])
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "square"])
def test_targeted_forms_are_the_librarys(attack, kind):
    images, labels = seen_right()
    found = evaluate(
        trained(), images, labels, attack, preset="standard", seed=5, keep_adversarial=True, targeted=kind, **parameters(attack)
    )
    key = derive(5, "attack", attack, 0)
    call = CALLS[attack](trained(), key)
    getattr(call, f"set_mode_targeted_{kind}")(quiet=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        assert torch.equal(found.adversarial, call(images, labels))


def test_an_untargeted_pgd_of_the_catalog_is_the_librarys_own_default_but_for_its_ball():
    ours, default = catalog.parameters("pgd", "standard"), torchattacks.PGD(trained())
    assert ours == {name: getattr(default, name) for name in ours}
