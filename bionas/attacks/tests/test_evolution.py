"""Differential evolution: scipy's, when both are given the same numbers; problems are alone and leave when solved."""

import numpy as np
import pytest
import torch
from scipy.optimize import differential_evolution

from bionas.attacks.evolution import draw, evolve, mutants

COORDINATES, CANDIDATES = 4, 8


def rugged(x):
    """A function of many minima (Rastrigin), of points in [0, 1] in the last axis."""
    z = 6 * (x - 0.4)
    return (z**2 - 3 * torch.cos(6 * z)).sum(-1)


def naive(candidate, population, drawn):
    """Return best1bin's mutant as a textbook has it, of numbers laid out as ours."""
    factor, first, second = drawn[0], drawn[1 + candidate], drawn[1 + CANDIDATES + candidate]
    fresh = drawn[1 + 2 * CANDIDATES :].reshape(CANDIDATES, COORDINATES)[candidate]
    others = [i for i in range(CANDIDATES) if i != candidate]
    a = others.pop(int(first * len(others)))
    b = others.pop(int(second * len(others)))
    mutant = population[0] + (0.5 + factor / 2) * (population[a] - population[b])
    return np.where((mutant < 0) | (mutant > 1), fresh, mutant)


@pytest.mark.parametrize("generations", [0, 1, 2, 30])
@pytest.mark.parametrize("key", [3, 2**62 + 5])
def test_evolution_is_scipys_given_the_same_numbers(key, generations):
    keys = torch.tensor([key])
    found = evolve(lambda standing, trials: rugged(trials.double()), keys, CANDIDATES, COORDINATES, generations)
    first = draw(keys, 0, CANDIDATES * COORDINATES).view(CANDIDATES, COORDINATES).double().numpy()
    drawn = [draw(keys, g, 1 + CANDIDATES * (2 + COORDINATES))[0].double().numpy() for g in range(generations + 1)]
    asked = []

    def strategy(candidate, population, rng=None):
        asked.append(candidate)
        return naive(candidate, population, drawn[1 + (len(asked) - 1) // CANDIDATES])

    theirs = differential_evolution(
        lambda x: rugged(torch.as_tensor(x.T)).numpy(),
        [(0, 1)] * COORDINATES,
        strategy=strategy,
        init=first,
        maxiter=generations,
        tol=0,
        polish=False,
        updating="deferred",
        vectorized=True,
    )
    assert len(asked) == generations * CANDIDATES
    np.testing.assert_allclose(found[0].numpy(), theirs.x, atol=1e-4)


def test_numbers_are_uniform_and_differ_by_key_generation_and_place():
    numbers = torch.cat([draw(torch.arange(10), generation, 5000) for generation in (0, 1)])
    assert (numbers >= 0).all() and (numbers < 1).all() and numbers.unique().numel() > 0.99 * numbers.numel()
    counts = torch.histc(numbers, 10, 0, 1)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 27.9  # χ² of 9 degrees, p = 0.001


def test_each_mutant_is_of_two_others_each_pair_as_likely_as_the_next():
    """A population of powers of two tells who took part: best + factor · (first − second)."""
    population = (2.0 ** -torch.arange(1, 6)).view(1, 5, 1).repeat(4000, 1, 1)
    drawn = draw(torch.arange(4000), 1, 1 + 5 * 3)
    drawn[:, 0], drawn[:, 11:] = 0, -1  # the factor is 0.5; what left the bounds says so
    differences = (mutants(population, drawn)[..., 0] - 0.5) / 0.5
    for candidate in range(5):
        others = [i for i in range(5) if i != candidate]
        pairs = {2.0 ** -(a + 1) - 2.0 ** -(b + 1) for a in others for b in others if a != b}
        inside = {pair for pair in pairs if 0 <= 0.5 + pair / 2 <= 1}
        assert len(pairs) == 12
        found, counts = differences[:, candidate].unique(return_counts=True)
        assert set(found.tolist()) - {-3.0} == inside
        assert ((counts[found != -3] - 4000 / 12) ** 2 / (4000 / 12)).sum() < 35


def test_what_leaves_the_bounds_is_drawn_anew():
    population = torch.tensor([[[1.0], [0.9], [0.1], [0.5], [0.0]]]).repeat(50, 1, 1)
    drawn = draw(torch.arange(50), 1, 16)
    found, fresh = mutants(population, drawn)[..., 0], drawn[:, 11:]
    assert (found >= 0).all() and (found <= 1).all()
    assert (found == fresh).any() and (found != fresh).any()


def test_solved_problems_are_not_judged_again_and_keep_their_solution():
    """Of twelve problems, problem i is solved by whatever is judged i-th."""
    asked = []

    def judge(standing, trials):
        asked.append(standing.tolist())
        solved = standing == len(asked) - 1
        return rugged(trials).masked_fill(solved[:, None], -torch.inf)

    found = evolve(judge, torch.arange(12), CANDIDATES, COORDINATES, 5)
    assert asked == [list(range(i, 12)) for i in range(6)]
    alone = evolve(lambda standing, trials: torch.full(trials.shape[:2], -torch.inf), torch.arange(12), CANDIDATES, COORDINATES, 5)
    assert torch.equal(found[0], alone[0]) and not torch.equal(found[1], alone[1])


def test_nothing_is_judged_after_the_last_is_solved():
    asked = []

    def judge(standing, trials):
        asked.append(len(standing))
        return torch.full(trials.shape[:2], -torch.inf)

    evolve(judge, torch.arange(3), CANDIDATES, COORDINATES, 5)
    assert asked == [3]


def test_a_problem_is_a_function_of_its_key_alone():
    def best(keys):
        return evolve(lambda standing, trials: rugged(trials), torch.tensor(keys), CANDIDATES, COORDINATES, 10)

    several = best([7, 8, 9])
    assert torch.equal(several[1:2], best([8])) and torch.equal(several[[2, 0]], best([9, 7]))
    assert not torch.equal(several[0], several[1])
