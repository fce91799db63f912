"""The verdict on masking: of outcomes made by hand, and of a real network whose own gradient is destroyed."""

import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from bionas.attacks import evaluate, gradient_cosine
from bionas.rules import RuleConv2d, RuleLinear
from reports.numbers import masking, robustness, tables
from reports.tests.attacked import attack, left, network
from reports.tests.test_reports import metrics, page_of

__all__ = ["metrics"]  # the fixture

PGD = attack("pgd", "rule", "true")
SQUARE = attack("square", "none")
BOTH = PGD | SQUARE
OWN, TRUE, NONE = "pgd@standard/rule", "pgd@standard/true", "square@standard/none"


def judged(metrics, *trials):
    return masking.verdicts(robustness.parts(tables.read(metrics(trials))))


def test_a_network_whose_own_gradient_misleads_is_masked_and_the_attack_that_broke_it_is_named(metrics):
    (row,) = judged(metrics, network("fa", 0, PGD, {OWN: left(62, 100), TRUE: left(3, 100)}))
    assert row.masked
    assert row.words == "masked: within ε = 8/255 in L∞ its own gradient leaves 62.0 %, pgd@standard through the true gradient 3.0 %"


@pytest.mark.parametrize(
    ("planned", "key", "named"),
    [
        (SQUARE, NONE, "square@standard without gradient 10.0 %"),
        (attack("pgd", "rule", "from-bp"), "pgd@standard/from-bp", "pgd@standard from the BP network 10.0 %"),
    ],
)
def test_attacks_that_do_without_the_networks_gradient_tell_as_well(metrics, planned, key, named):
    (row,) = judged(metrics, network("usf", 0, attack("pgd", "rule") | planned, {OWN: left(60, 100), key: left(10, 100)}))
    assert row.masked and row.words.endswith(named)


def test_all_attacks_through_its_own_gradient_count_together(metrics):
    """PGD fails, APGD does not: what one of them breaks is not masked."""
    planned = PGD | attack("apgd", "rule", "true")
    outcomes = {OWN: left(90, 100), TRUE: left(5, 100), "apgd@standard/rule": left(5, 100), "apgd@standard/true": left(5, 100)}
    (row,) = judged(metrics, network("fa", 0, planned, outcomes))
    assert row.masked is False


def test_what_each_attack_leaves_and_what_all_leave_are_kept_apart(metrics):
    """Two attacks that break different halves: each alone leaves as much as its own gradient, both together nothing."""
    planned, half = PGD | attack("apgd", "rule", "true"), left(50, 100)
    outcomes = {OWN: half, "apgd@standard/rule": half, TRUE: half, "apgd@standard/true": ~half}
    (row,) = judged(metrics, network("fa", 0, planned, outcomes))
    assert "attacks through the true gradient 0.0 % (most of all pgd@standard through the true gradient, 50.0 %)" in row.words


def test_bp_whose_square_is_the_weaker_one_shows_no_sign_and_the_verdict_says_what_would_have_told(metrics):
    """Square leaves 28 and PGD 10, of which Square breaks 2: so PGD alone breaks 20. What would have told: scipy's binomial test."""
    square = left(30, 100)
    square[[0, 1]] = False
    outcomes = {TRUE: left(10, 100), NONE: square}
    (row,) = judged(metrics, network("bp", 0, attack("pgd", "true") | SQUARE, outcomes))
    needed = next(alone for alone in range(21, 100) if stats.binomtest(20, alone + 20).pvalue < 0.05)
    assert row.masked is False and row.words == (
        "no sign of masking: within ε = 8/255 in L∞ attacks without gradient alone break 2 of 100 images, "
        f"its own gradient alone 20; {needed} would have told, more than the 10 that it leaves"
    )


def test_equal_outcomes_are_no_sign(metrics):
    (row,) = judged(metrics, network("usf", 0, PGD, {OWN: left(40, 100), TRUE: left(40, 100)}))
    assert row.words == (  # 2 / 2⁶ < 0.05 < 2 / 2⁵
        "no sign of masking: within ε = 8/255 in L∞ attacks through the true gradient alone break 0 of 100 images, "
        "its own gradient alone 0; 6 would have told"
    )


def test_a_true_gradient_that_is_the_weaker_guide_is_no_masking(metrics):
    (row,) = judged(metrics, network("fa", 0, PGD, {OWN: left(3, 100), TRUE: left(62, 100)}))
    assert row.masked is False


@pytest.mark.parametrize(
    ("rule", "planned", "outcomes", "why"),
    [
        ("fa", attack("pgd", "true"), {TRUE: left(3, 100)}, "no attack went through its own gradient"),
        ("fa", attack("pgd", "rule"), {OWN: left(3, 100)}, "no attack did without it"),
        ("bp", attack("pgd", "true"), {TRUE: left(3, 100)}, "its own gradient is the true one, and no attack did without it"),
        (
            "fa",
            BOTH,
            {OWN: left(5, 5), TRUE: left(0, 5)},
            "5 images are too few; it takes 6 that only attacks through the true gradient break",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(metrics, rule, planned, outcomes, why):
    (row,) = judged(metrics, network(rule, 0, planned, outcomes))
    assert row.masked is None and row.words == f"cannot be judged: {why}"


@pytest.mark.parametrize(
    "own",
    [
        attack("fgsm", "true"),  # a single step
        attack("pgd", "true", alpha=0.001),  # ten of 0.001 do not cross 0.031
        attack("pgd", "true", targeted="random"),
        attack("pgd", "true", eps=0.01),  # a smaller ball
    ],
)
def test_against_an_attack_that_was_never_thorough_square_proves_nothing(metrics, own):
    """Otherwise a BP network under FGSM alone would be called masked."""
    (label,) = own
    (row,) = judged(metrics, network("bp", 0, own | SQUARE, {f"{label}/true": left(60, 100), NONE: left(10, 100)}))
    assert row.masked is None


def test_a_larger_ball_of_the_true_gradient_is_not_held_against_a_smaller_one(metrics):
    planned = attack("pgd", "rule") | attack("pgd", "true", preset="paper")
    (row,) = judged(metrics, network("fa", 0, planned, {OWN: left(60, 100), "pgd/true": left(0, 100)}))
    assert row.masked is None


def test_tests_of_all_networks_are_corrected_together_and_seeds_are_counted(metrics):
    """6 of 6 have p = 0.03125, which two tests leave at 0.0625; 9 of 9, first of three, have 3 × 2 / 2⁹."""
    (alone,) = judged(metrics, network("fa", 0, PGD, {OWN: left(6, 20), TRUE: left(0, 20)}))
    assert alone.masked
    trials = [network("fa", seed, PGD, {OWN: left(own, 20), TRUE: left(0, 20)}) for seed, own in enumerate([6, 9, 0])]
    (row,) = judged(metrics, *trials)
    assert [verdict.masked for verdict in row.verdicts] == [False, True, False]
    assert [step.p for verdict in row.verdicts for _, step in verdict.tests] == pytest.approx([0.0625, 3 * 2 / 2**9, 1])
    assert row.words.startswith("masked in 1 of 3 networks; most of all seed 1: within")


def test_the_same_square_is_tested_once_however_many_budgets_allow_it(metrics):
    planned = PGD | attack("pgd", "rule", preset="paper") | SQUARE
    (row,) = judged(metrics, network("fa", 0, planned, {OWN: left(9, 99), TRUE: left(9, 99), "pgd/rule": left(9, 99), NONE: left(9, 99)}))
    assert [pairing.kind for verdict in row.verdicts for pairing, _ in verdict.tests] == ["true", "none"]


def test_the_page_says_it_with_the_cosine_beside(metrics):
    trials = [
        network("fa", seed, PGD, {OWN: left(62, 100), TRUE: left(3, 100)}, gradient_cosine=cosine) for seed, cosine in enumerate([0.1, 0.3])
    ]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_of(metrics(trials))))
    assert "masked in 2 of 2 networks; most of all seed 0 within ε = 8/255 in L∞ its own gradient leaves 62.0 %" in text
    assert "0.20 ± 0.14" in text


# --- a real network ---------------------------------------------------------------------------------------------------


def net(rule):
    torch.manual_seed(0)
    return nn.Sequential(RuleConv2d(1, 8, 3, rule=rule), nn.ReLU(), nn.Flatten(), RuleLinear(8 * 36, 4, rule=rule)).eval()


@pytest.fixture(scope="module")
def trained():
    """A network that BP trained, the same with feedback of zeros (its own gradient destroyed), and 120 images."""
    generator = torch.Generator().manual_seed(0)
    centres = 0.5 + 0.06 * torch.randn(4, 1, 8, 8, generator=generator)
    labels = torch.arange(4).repeat(50)
    images = (centres[labels] + 0.12 * torch.randn(200, 1, 8, 8, generator=generator)).clamp(0, 1)
    bp = net("bp")
    optimiser = torch.optim.Adam(bp.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(bp(images), labels).backward()
        optimiser.step()
    killed = net("fa")
    killed.load_state_dict(bp.state_dict(), strict=False)
    for layer in killed.modules():
        for name, feedback in layer.named_buffers(recurse=False):
            assert feedback.dim() > 1, name  # B, and nothing else
            feedback.zero_()
    return bp, killed, images[:120], labels[:120]


def test_a_destroyed_gradient_is_flagged_and_bp_is_not(metrics, trained):
    bp, killed, images, labels = trained
    fgsm, apgd = attack("fgsm", "rule", "true"), attack("apgd", "rule", "true", steps=20)
    square = attack("square", "none", n_queries=200)
    planned = fgsm | apgd | square

    def attacked(model, rule, ways):
        outcomes, clean = {}, None
        for label, one in planned.items():
            for way in set(one["gradients"]) & set(ways):
                overrides = {"steps": 20} if one["attack"] == "apgd" else {"n_queries": 200} if one["attack"] == "square" else {}
                found = evaluate(model, images, labels, one["attack"], way, "standard", **overrides)
                outcomes[f"{label}/{way}"], clean = found.robust_correct.numpy(), found.clean_correct.numpy()
        cosine = float(gradient_cosine(model, images, labels).mean())
        own = {label: {**one, "gradients": [way for way in one["gradients"] if way in ways]} for label, one in planned.items()}
        return network(rule, 0, own, outcomes, clean, gradient_cosine=cosine)

    sound, broken = attacked(bp, "bp", ("true", "none")), attacked(killed, "fa", ("rule", "true", "none"))
    rows = {row.variant.rules: row for row in judged(metrics, sound, broken)}
    assert rows["bp"].masked is False and rows["fa"].masked is True
    assert rows["bp"].cosine.mean == pytest.approx(1) and rows["fa"].cosine.mean == pytest.approx(0)
    levels = {rule: trial[2].metrics for rule, trial in (("bp", sound), ("fa", broken))}
    clean, level = levels["bp"]["clean_accuracy"], levels["bp"]["robust_accuracy_apgd@standard-steps20_true"]
    assert clean > 95 and level < clean - 20
    assert levels["fa"]["robust_accuracy_apgd@standard-steps20_rule"] == clean  # zeros lead nowhere
    assert levels["fa"]["robust_accuracy_apgd@standard-steps20_true"] == level
    assert f"its own gradient leaves {clean:.1f} %" in rows["fa"].words


def test_it_is_a_function_of_outcomes_and_not_of_their_order(metrics):
    order = np.random.default_rng(0).permutation(100)
    straight = {OWN: left(62, 100), TRUE: left(3, 100)}
    (one,) = judged(metrics, network("fa", 0, PGD, straight))
    (other,) = judged(metrics, network("fa", 0, PGD, {key: found[order] for key, found in straight.items()}))
    assert one.words == other.words
