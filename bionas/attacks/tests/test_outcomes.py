"""Outcomes of attacks: budgets, ways to a gradient, restarts, averages, targets, transfer; and what is refused."""

import pytest
import torch
from torch import nn

from bionas import catalog
from bionas.attacks import evaluate
from bionas.attacks.tests.helpers import Plane, seen_right, trained, unseen
from bionas.networks import Options, resnet20
from bionas.rules import RuleConv2d, RuleLinear, true_gradient


def problem(n=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(4, (n,), generator=generator)


def network(rule):
    torch.manual_seed(0)
    return nn.Sequential(
        RuleConv2d(3, 4, 3, rule=rule), nn.ReLU(), RuleConv2d(4, 4, 3, rule=rule), nn.Flatten(), RuleLinear(64, 4, rule=rule)
    )


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
        ({"gradient": "none"}, "rule, true"),  # fgsm uses one
        ({"gradient": "from-bp"}, "without a source; allowed: from-… with one"),
        ({"source": nn.Identity()}, "'rule' with a source"),
        ({"preset": "none"}, "paper, standard"),
        ({"steps": 3}, "'steps' is unknown; allowed: eps, eot, targeted"),
        ({"images": torch.full((2, 3, 8, 8), torch.nan)}, "0..1"),
        ({"images": torch.full((2, 3, 8, 8), 1.5)}, "0..1"),
        ({"images": torch.rand(0, 3, 8, 8)}, "none given"),
    ],
)
def test_bad_input_is_refused(changes, words):
    images, labels = problem(2)
    arguments = {"images": images, "labels": labels, "attack": "fgsm"} | changes
    with pytest.raises(ValueError, match=words):
        evaluate(network("bp"), **arguments)


@pytest.mark.parametrize(("attack", "classes", "needs"), [("apgd_dlr", 2, 3), ("apgd_t", 3, 4)])
def test_the_difference_of_logits_ratio_needs_classes(attack, classes, needs):
    images = torch.rand(2, 1, 4, 4)
    with pytest.raises(ValueError, match=f"the loss of {attack} needs {needs} or more classes; the network has {classes}"):
        evaluate(Plane(torch.ones(16), 8.0, classes), images, torch.zeros(2, dtype=torch.long), attack)


@pytest.mark.parametrize(("attack", "gradient"), [("square", "none"), ("onepixel", "none")])
def test_none_is_the_gradient_of_what_uses_none(attack, gradient):
    images, labels = seen_right(4)
    ran = [evaluate(trained("fa"), images, labels, attack, way, keep_adversarial=True).adversarial for way in ("none", "rule", "true")]
    assert torch.equal(ran[0], ran[1]) and torch.equal(ran[0], ran[2])


# ---------------------------------------------------------------------------------------------- balls


@pytest.mark.parametrize("attack", ["apgd", "apgd_dlr", "apgd_t", "fab", "square"])
def test_balls_of_l2(attack):
    images, labels = seen_right()
    more = {"n_queries": 50} if attack == "square" else {"steps": 5}
    found = evaluate(trained(), images, labels, attack, keep_adversarial=True, norm="L2", eps=1.0, **more)
    moved = (found.adversarial - images).flatten(1).norm(dim=1)
    assert 0.5 < moved.max() <= 1 + 1e-5 and not found.robust_correct.all()


class Beyond(nn.Module):
    """An attack that goes somewhat further than it may."""

    def __init__(self, model, eps):
        super().__init__()
        self.eps = eps

    def forward(self, images, labels):
        return images + self.eps + self.excess


@pytest.mark.parametrize(
    ("excess", "words"), [(1e-4, "fgsm left its ball, 0.1 from an image in linf where 0.1 is said"), (-0.2, r"left \[0, 1\]")]
)
def test_what_leaves_its_ball_or_the_colours_is_no_outcome(monkeypatch, excess, words):
    monkeypatch.setattr(Beyond, "excess", excess, raising=False)
    model, (images, labels) = trained(), seen_right(2)
    monkeypatch.setattr(catalog, "load", lambda target: Beyond)
    with pytest.raises(ValueError, match=words):
        evaluate(model, images, labels, "fgsm", eps=0.1)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        # Nothing bounds EAD; FGSM's bound is in another norm.
        (
            catalog.Attack("torchattacks:EADL1", "l2", "Chen et al. 2018", standard={"eps": 0.1}),
            "mine: torchattacks:EADL1 got an unexpected keyword argument 'eps'; allowed in its line",
        ),
        (
            catalog.Attack("torchattacks:FGSM", "l2", "Goodfellow et al. 2015", standard={"eps": 0.1}),
            r"mine left its ball, 0\.\d+ from an image in l2 where 0\.1 is said; allowed: the norm that bounds it, or minimal=True",
        ),
    ],
    ids=["unbounded", "another norm"],
)
def test_an_attack_that_does_not_keep_what_its_line_says_is_no_outcome(monkeypatch, entry, words):
    monkeypatch.setitem(catalog.ATTACKS, "mine", entry)
    with pytest.raises(ValueError, match=words) as error:
        evaluate(trained(), *seen_right(2), "mine", preset="standard")
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------- restarts, averages


def test_of_several_starts_the_worst_counts_and_broken_images_leave(monkeypatch):
    images, labels = unseen(100)
    more = {"preset": "standard", "eps": 0.1, "alpha": 0.02, "steps": 3}
    model, rows = trained(), []
    model.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    one = evaluate(model, images, labels, "pgd", keep_adversarial=True, **more)
    rows.clear()
    three = evaluate(model, images, labels, "pgd", keep_adversarial=True, n_restarts=3, **more)
    right = int(one.clean_correct.sum())
    left = int(one.robust_correct.sum())
    assert rows[:5] == [100, *[right] * 4] and rows[5:8] == [left] * 3  # before, three steps, what is left, and again three steps
    assert rows[8] == right  # what is left
    assert not (three.robust_correct & ~one.robust_correct).any()
    assert three.robust_correct.sum() < one.robust_correct.sum() < right
    broken = one.clean_correct & ~one.robust_correct
    assert torch.equal(three.adversarial[broken], one.adversarial[broken])


def mean_step(model, images, labels, Rs, eps):
    """By hand: a step along the mean gradient over these feedbacks of a network of two linear layers."""
    first, second = model[1], model[3]
    x = images.flatten(1)
    hidden = torch.relu(x @ first.weight.t())
    error = (hidden @ second.weight.t()).softmax(1) - torch.eye(second.out_features)[labels]
    gradients = [((error @ (R2 * second.weight.sign())) * (hidden > 0)) @ (R1 * first.weight.sign()) for R1, R2 in Rs]
    return (x + eps * sum(gradients).sign()).clamp(0, 1).view_as(images)


def test_eot_averages_over_feedback_that_is_drawn_at_every_forward():
    torch.manual_seed(0)
    options = {"bias": False, "rule": "brsf", "brsf_redraw": "forward"}
    model = nn.Sequential(nn.Flatten(), RuleLinear(16, 8, **options), nn.ReLU(), RuleLinear(8, 3, **options)).requires_grad_(False)
    images = torch.rand(5, 1, 4, 4)
    labels, drawn = model(images).argmax(1), []
    model.register_forward_hook(
        lambda module, given, out: drawn.append([model[1].R.clone(), model[3].R.clone()]) if out.requires_grad else None
    )
    for times in (1, 4):
        drawn.clear()
        found = evaluate(model, images, labels, "fgsm", keep_adversarial=True, eps=0.1, eot=times)
        assert len(drawn) == times
        assert torch.equal(found.adversarial, mean_step(model, images, labels, drawn, 0.1))


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "apgd_t"])
def test_an_average_over_what_is_the_same_is_the_same(attack):
    images, labels = seen_right()
    more = {"preset": "standard", "keep_adversarial": True, **({} if attack == "fgsm" else {"steps": 4})}
    once, twice = (evaluate(trained(), images, labels, attack, eot=times, **more).adversarial for times in (1, 2))
    torch.testing.assert_close(once, twice)


# ---------------------------------------------------------------------------------------------- transfer


def test_images_of_another_network_are_made_there_through_its_true_gradient():
    images, labels = unseen()
    here, there = trained("fa"), trained("fa")
    with torch.no_grad():
        there[3].weight.mul_(0.5)
    more = {"preset": "standard", "eps": 0.15, "keep_adversarial": True}
    moved = evaluate(here, images, labels, "fgsm", "from-fa", source=there, **more)
    right = here(images).argmax(1) == labels
    x = images.clone().requires_grad_()
    with true_gradient(there):
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(there(x), labels), x)
    expected = torch.where(right[:, None, None, None], (images + 0.15 * gradient.sign()).clamp(0, 1), images)
    assert torch.equal(moved.adversarial, expected)
    assert torch.equal(moved.clean_correct, right)
    assert torch.equal(moved.robust_correct, right & (here(expected).argmax(1) == labels))
    assert 0 < moved.robust_correct.sum() < right.sum()


def test_from_its_bp_twin_a_net_falls_as_through_its_own_true_gradient():
    images, labels = unseen()
    more = {"preset": "standard", "eps": 0.15, "steps": 10}
    own = evaluate(trained("fa"), images, labels, "apgd", "true", **more)
    twin = evaluate(trained("fa"), images, labels, "apgd", "from-bp", source=trained("bp"), **more)
    assert torch.equal(own.robust_correct, twin.robust_correct)


def test_a_plane_is_crossed_by_anothers_normal_if_the_two_are_near_enough():
    w, other = torch.ones(16), torch.cat([torch.ones(12), -torch.ones(4)])  # of a step of ε along the other, 12ε − 4ε are along w
    images = torch.full((1, 1, 4, 4), 0.5)
    for eps, robust in ((0.1, True), (0.15, False)):  # w·x − b is 1: crossed at ε = 1/8; without a detour at 1/16
        outcome = evaluate(Plane(w, 7.0), images, torch.zeros(1, dtype=torch.long), "fgsm", "from-bp", eps=eps, source=Plane(other, 7.0))
        assert outcome.robust_correct.item() is robust
