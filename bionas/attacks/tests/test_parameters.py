"""Attacks by name: parameters, budgets, labels, and words for what does not exist."""

import inspect

import pytest

from bionas import catalog, plugins
from bionas.attacks.attackers import attacker
from bionas.attacks.tests.helpers import digits, trained

OURS = {"targeted", "budget", "eot"}  # told otherwise to the library's classes


def test_papers_parameters_stand_in_the_catalog():
    paper = {name: attack.paper for name, attack in catalog.ATTACKS.items()}
    assert paper["fgsm"] == {"eps": 0.35}
    assert paper["pgd"] == {"eps": 0.35, "alpha": 2 / 255, "steps": 10, "random_start": True}
    assert paper["tpgd"] == {"eps": 8 / 255, "alpha": 2 / 255, "steps": 7}
    assert paper["apgd"] == {"norm": "Linf", "eps": 8 / 255, "steps": 50, "n_restarts": 1}
    assert [paper[f"onepixel{n}"] for n in ("", 2, 5)] == [{"pixels": n, "steps": 10, "popsize": 10} for n in (1, 2, 5)]


def test_standard_is_an_eps_of_8_of_255_and_steps_that_can_cross_the_ball():
    for name, attack in catalog.ATTACKS.items():
        if plugins.package("attacks", name):  # whose own affair it is
            continue
        if "eps" in attack.standard:
            assert attack.standard["eps"] == 8 / 255, name
        if "alpha" in attack.standard:
            assert attack.standard["alpha"] * attack.standard["steps"] > 2 * attack.standard["eps"], name


def test_a_preset_is_changed_one_by_one_and_stays_as_it_was():
    found = catalog.parameters("pgd", "standard", eps=0.1, n_restarts=5)
    assert found == {"eps": 0.1, "alpha": 2 / 255, "steps": 10, "random_start": True, "n_restarts": 5}
    assert catalog.parameters("pgd", "standard")["eps"] == 8 / 255


def test_what_the_paper_has_not_is_standard():
    assert catalog.parameters("apgd_t", "paper") == catalog.parameters("apgd_t", "standard")


def test_a_number_is_one_kind_of_number():
    assert repr(catalog.parameters("cw", "paper", budget=1)["budget"]) == "1.0"


@pytest.mark.parametrize(
    ("arguments", "overrides", "words"),
    [
        (("fgms", "paper"), {}, "did you mean 'fgsm'"),
        (("fgsm", "papers"), {}, "did you mean 'paper'"),
        (("fgsm", "paper"), {"epz": 1}, "fgsm: parameter: 'epz' is unknown; allowed: eps, eot, targeted; did you mean 'eps'"),
        (("tpgd", "paper"), {"targeted": "random"}, "allowed: eps, alpha, steps"),  # the T is TRADES'
        (("pgd", "paper"), {"steps": 2.5}, "pgd: steps: 2.5 does not fit; allowed: a whole number, 1 or more"),
        (("pgd", "paper"), {"steps": 0}, "a whole number, 1 or more"),
        (("pgd", "paper"), {"steps": True}, "a whole number"),
        (("pgd", "paper"), {"eps": "big"}, "pgd: eps: 'big' does not fit; allowed: a number, 0 or more"),
        (("pgd", "paper"), {"eps": float("nan")}, "a number"),
        (("pgd", "paper"), {"random_start": 1}, "true, false"),
        (("apgd", "paper"), {"norm": "L1"}, "apgd: norm: 'L1' is unknown; allowed: Linf, L2"),
        (("pgd", "paper"), {"targeted": "best"}, "random, least_likely"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_in_one_line(arguments, overrides, words):
    with pytest.raises(ValueError) as error:
        catalog.parameters(*arguments, **overrides)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("attack", "overrides", "budget"),
    [
        ("fgsm", {}, ("linf", 0.35)),
        ("apgd", {"norm": "L2", "eps": 0.5}, ("l2", 0.5)),
        ("onepixel3", {}, ("l0", 3)),
        ("deepfool", {"budget": 2}, ("l2", 2)),
        ("fab", {}, ("linf", 8 / 255)),
    ],
)
def test_a_budget_is_a_size_in_a_norm(attack, overrides, budget):
    assert catalog.budget(attack, catalog.parameters(attack, "paper", **overrides)) == budget


@pytest.mark.parametrize("attack", catalog.ATTACKS)
def test_every_attack_has_a_budget_and_says_who_proposes_it(attack):
    norm, size = catalog.budget(attack, catalog.parameters(attack, "paper"))
    assert norm in ("linf", "l2", "l0") and size > 0
    assert catalog.ATTACKS[attack].source


@pytest.mark.parametrize(
    ("attack", "preset", "overrides", "label"),
    [
        ("pgd", "paper", {}, "pgd"),
        ("pgd", "standard", {}, "pgd@standard"),
        ("pgd", "paper", {"eps": 0.1}, "pgd@eps0.1"),
        ("onepixel", "paper", {"steps": 30, "popsize": 150}, "onepixel@steps30-popsize150"),
        ("pgd", "standard", {"n_restarts": 5}, "pgd@standard-n_restarts5"),
        ("pgd", "paper", {"targeted": "random"}, "pgd@targeted-random"),
        ("pgd", "paper", {"random_start": False}, "pgd@random_start-off"),
    ],
)
def test_labels(attack, preset, overrides, label):
    assert catalog.label(attack, preset, overrides) == label


@pytest.mark.parametrize("attack", catalog.ATTACKS)
def test_what_a_definition_may_say_is_what_the_attack_takes(attack):
    spec = catalog.ATTACKS[attack]
    taken = set(inspect.signature(catalog.load(spec.target)).parameters)
    known = {*(spec.paper or {}), *spec.standard, *spec.more, *spec.fixed} - OURS
    assert known - taken <= ({"n_restarts"} if attack == "pgd" else set())
    logits = trained()(digits()[0][:1])
    every = {key: {"targeted": "random", "eot": 2}.get(key) for key in OURS & set((*spec.more, *["targeted"] * spec.targets))}
    assert attacker(trained(), attack, catalog.parameters(attack, "standard", **every), 0, logits)
