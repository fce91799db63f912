"""Networks whose robustness can be said without attacking them."""

import pytest
import torch
from torch import nn

from bionas import catalog, plugins
from bionas.attacks import evaluate, gradient_cosine
from bionas.attacks.tests.helpers import Plane, Threshold, killer, short, trained, unseen
from bionas.rules import RuleLinear

LINF = [name for name, attack in catalog.ATTACKS.items() if attack.norm == "linf"]


def inner_images(n=6, side=4):
    """Images away from black and white, so that [0, 1] stops nobody."""
    return 0.3 + 0.4 * torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def plane(images, classes=4):
    """A plane, the images' labels by it, and their distances to it in L2 and L∞."""
    w = torch.randn(images[0].numel(), generator=torch.Generator().manual_seed(1))
    margins = images.flatten(1) @ w
    b = margins.mean().item()
    margins = (margins - b).abs()
    labels = (images.flatten(1) @ w < b).long()
    return Plane(w, b, classes), labels, margins / w.norm(), margins / w.abs().sum()


@pytest.mark.parametrize("attack", ["pgd", "tpgd", "apgd", "apgd_dlr", "apgd_t", "square", "onepixel"])
def test_a_network_that_no_touched_image_survives_is_100_percent_clean_and_0_percent_robust(attack):
    images = inner_images()
    outcome = evaluate(Threshold(images), images, torch.zeros(6, dtype=torch.long), attack, **short(catalog.parameters(attack, "paper")))
    assert outcome.clean_correct.all() and not outcome.robust_correct.any()


@pytest.mark.parametrize("attack", catalog.ATTACKS)
def test_an_image_that_is_wrong_without_an_attack_is_not_robust_and_left_alone(attack):
    images = inner_images()
    model = Threshold(images[:3])  # and wrong about the others
    outcome = evaluate(
        model, images, torch.zeros(6, dtype=torch.long), attack, keep_adversarial=True, **short(catalog.parameters(attack, "paper"))
    )
    assert outcome.clean_correct.tolist() == [True] * 3 + [False] * 3
    assert not outcome.robust_correct[3:].any() and torch.equal(outcome.adversarial[3:], images[3:])
    if outcome.distance is not None:
        assert (outcome.distance[3:] == 0).all()


class Constant(nn.Module):
    """Class 0, whatever the image; its gradient is 0 everywhere."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 1.0, 0.0, -1.0]))

    def forward(self, x):
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("attack", catalog.ATTACKS)
def test_a_network_that_does_not_look_is_as_robust_as_it_is_right(attack):
    images, labels = inner_images(), torch.tensor([0, 1, 0, 0, 2, 0])
    outcome = evaluate(Constant(), images, labels, attack, **short(catalog.parameters(attack, "paper")))
    assert torch.equal(outcome.robust_correct, labels == 0) and torch.equal(outcome.clean_correct, labels == 0)
    if outcome.distance is not None:
        assert outcome.distance.tolist() == [torch.inf if label == 0 else 0 for label in labels.tolist()]


# The gradient of a plane is the same everywhere: L∞ attacks cross it if, and only if, ε is more than |w·x − b| ÷ ‖w‖₁.
# What a plugin adds may be as weak as it likes.
@pytest.mark.parametrize("attack", [name for name in LINF if name not in ("square", "tpgd") and not plugins.package("attacks", name)])
@pytest.mark.parametrize(("factor", "robust"), [(0.98, True), (1.02, False)])
def test_a_plane_is_crossed_by_an_eps_above_the_distance_alone(attack, factor, robust):
    images = inner_images()
    model, labels, _, distances = plane(images)
    for image, label, distance in zip(images, labels, distances.tolist(), strict=True):
        more = {"alpha": distance / 10, "steps": 50} if attack == "pgd" else {}
        outcome = evaluate(model, image[None], label[None], attack, preset="standard", eps=factor * distance, **more)
        assert outcome.robust_correct.item() is robust


@pytest.mark.parametrize(("attack", "least", "most"), [("deepfool", 1, 1.021), ("cw", 1, 1.02)])
def test_a_minimal_attack_finds_the_distance_and_is_judged_by_it(attack, least, most):
    images = inner_images()
    model, labels, distances, _ = plane(images)
    more, slack = ({"steps": 500, "c": 10}, 2e-3) if attack == "cw" else ({}, 1e-6)  # Adam goes in steps
    found = evaluate(model, images, labels, attack, keep_adversarial=True, budget=10, **more)
    assert (found.distance >= least * distances - 1e-6).all() and (found.distance <= most * distances + slack).all()
    assert not found.robust_correct.any() and (model(found.adversarial).argmax(1) != labels).all()
    middle = distances.sort().values[2:4].mean().item()  # three are nearer than this
    judged = evaluate(model, images, labels, attack, budget=middle, **more)
    assert torch.equal(judged.robust_correct, distances > middle) and judged.robust_correct.sum() == 3


def test_fab_finds_the_distance_too():
    images = inner_images()
    model, labels, _, distances = plane(images)
    found = evaluate(model, images, labels, "fab", keep_adversarial=True, eps=0.5)
    moved = (found.adversarial - images).abs().flatten(1).amax(1)
    torch.testing.assert_close(moved, distances, rtol=0.06, atol=0)  # it oversteps by 5 %


def test_deepfool_that_stops_on_the_boundary_has_crossed_it_all_the_same():
    """As the library leaves them, many images of a BP net lie on the boundary itself, and count as robust."""
    images, labels = unseen(40)
    outcome = evaluate(trained(), images, labels, "deepfool", budget=100, overshoot=1e-7)
    assert not outcome.robust_correct.any() and outcome.distance.isfinite().all()


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "fab"])
def test_behind_a_feedback_that_is_nothing_a_net_falls_as_its_bp_twin_through_the_true_gradient(attack):
    images, labels = unseen()
    more = {"preset": "standard", "eps": 0.15, **short(catalog.parameters(attack, "standard")), "seed": 2, "keep_adversarial": True}
    more |= {"alpha": 0.05} if attack == "pgd" else {}
    twin = evaluate(trained(), images, labels, attack, **more)
    true = evaluate(killer(), images, labels, attack, "true", **more)
    assert torch.equal(true.adversarial, twin.adversarial) and torch.equal(true.robust_correct, twin.robust_correct)
    rule = evaluate(killer(), images, labels, attack, "rule", **more)
    assert rule.robust_correct.sum() > twin.robust_correct.sum() + 5  # masked
    if attack in ("fgsm", "fab"):  # no random start
        assert torch.equal(rule.robust_correct, rule.clean_correct)


def test_a_black_box_sees_through_it_without_a_switch():
    images, labels = unseen()
    more = {"preset": "standard", "eps": 0.15, "n_queries": 100}
    found = [evaluate(model, images, labels, "square", **more).robust_correct for model in (killer(), trained())]
    assert torch.equal(*found) and found[0].sum() < 50


# ---------------------------------------------------------------------------------------------- cosine


def test_the_cosine_says_how_far_a_rules_gradient_is_from_the_true_one():
    images, labels = unseen(8)
    torch.testing.assert_close(gradient_cosine(trained(), images, labels), torch.ones(8))
    assert (gradient_cosine(killer(), images, labels) == 0).all()
    fa = gradient_cosine(trained("fa"), images, labels)
    usf = gradient_cosine(trained("usf"), images, labels)
    assert fa.shape == (8,) and fa.abs().max() < usf.max() < 1


def test_the_cosine_of_one_layer_is_that_of_two_products():
    model = nn.Sequential(nn.Flatten(), RuleLinear(16, 3, rule="fa"))
    images, labels = inner_images(5), torch.tensor([0, 1, 2, 0, 1])
    error = model(images).softmax(1) - torch.eye(3)[labels]  # of the cross-entropy, at the logits
    rule, true = error @ model[1].feedback(), error @ model[1].weight
    expected = (rule * true).sum(1) / (rule.norm(dim=1) * true.norm(dim=1))
    torch.testing.assert_close(gradient_cosine(model, images, labels), expected.detach())


def test_gradients_too_small_to_be_squared_have_a_cosine_too():
    images, labels = unseen(8)
    model = nn.Sequential(trained("usf"), Scaled(1e-30))  # of the logits; the square of such a gradient is nothing in float32
    flat = nn.Sequential(trained("usf"), Scaled(1e-3))  # the same softmax, as good as
    torch.testing.assert_close(gradient_cosine(model, images, labels), gradient_cosine(flat, images, labels), rtol=0.05, atol=0.01)


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x
