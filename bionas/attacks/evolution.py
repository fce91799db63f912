"""Differential evolution (Storn & Price 1997) of many problems at once; a problem that is solved leaves.

best1bin as torchattacks has it: every coordinate from the mutant, a factor drawn a generation, what leaves the bounds drawn anew. But
the best changes places with what stands first, as in scipy today: in the scipy of 2016, which torchattacks copied, it overwrites that,
and the population ends up with fewer candidates that differ.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bionas.seeds import GOLDEN, scrambled, unit_interval

FACTOR = (0.5, 1.0)  # of the difference of two candidates that is added to the best


def evolve(judge: Callable[[Tensor, Tensor], Tensor], keys: Tensor, candidates: int, coordinates: int, generations: int) -> Tensor:
    """Return the best candidate found for every problem: (problems, coordinates) in [0, 1].

    `judge` is given the numbers of n problems that still stand and their candidates (n, candidates, coordinates) in [0, 1], and returns
    energies (n, candidates): the lower the better, and −inf solves the problem. It is asked once for the candidates drawn at first,
    and once a generation. All that is drawn for a problem is a function of its key, int64.
    """
    standing = torch.arange(len(keys), device=keys.device)
    population = draw(keys, 0, candidates * coordinates).view(-1, candidates, coordinates)
    energies = judge(standing, population)
    _best_first(population, energies)
    best = population[:, 0].clone()
    for generation in range(1, generations + 1):
        left = energies[:, 0].isneginf().logical_not_().nonzero().squeeze(1)  # all that a generation asks of the device
        if not len(left):
            break
        standing, keys, population, energies = standing[left], keys[left], population[left], energies[left]
        trials = mutants(population, draw(keys, generation, 1 + candidates * (2 + coordinates)))
        judged = judge(standing, trials)
        better = judged < energies
        population, energies = torch.where(better[..., None], trials, population), torch.where(better, judged, energies)
        _best_first(population, energies)
        best[standing] = population[:, 0]
    return best


def draw(keys: Tensor, generation: int, numbers: int) -> Tensor:
    """Return (problems, numbers) uniform in [0, 1): hashes of key, generation and place, the same on every device."""
    counter = torch.arange(1, numbers + 1, device=keys.device) + (generation << 32)
    return unit_interval(scrambled(counter * GOLDEN + keys[:, None]), torch.float32)


def mutants(population: Tensor, drawn: Tensor) -> Tensor:
    """Return for every candidate the best one plus a multiple of the difference of two others, by numbers drawn in [0, 1)."""
    problems, candidates, coordinates = population.shape
    factor, first, second, fresh = drawn.split((1, candidates, candidates, candidates * coordinates), 1)
    itself = torch.arange(candidates, device=population.device)
    first, second = (first * (candidates - 1)).long(), (second * (candidates - 2)).long()
    first += first >= itself  # the numbers of the others, each as likely as the next
    second += second >= torch.minimum(first, itself)
    second += second >= torch.maximum(first, itself)
    of = torch.arange(problems, device=population.device)[:, None]
    factor = FACTOR[0] + (FACTOR[1] - FACTOR[0]) * factor[..., None]
    trials = population[:, :1] + factor * (population[of, first] - population[of, second])
    return torch.where((trials < 0) | (trials > 1), fresh.view_as(trials), trials)


def _best_first(population: Tensor, energies: Tensor) -> None:
    of, lowest = torch.arange(len(energies), device=energies.device), energies.argmin(1)
    for tensor in (population, energies):
        tensor[of, lowest], tensor[:, 0] = tensor[:, 0].clone(), tensor[of, lowest]
