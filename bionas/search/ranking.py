"""Genotypes judged by the weights that all of them share: what a supernet thinks of each, alone.

Whether it thinks rightly is asked of the same genotypes trained by themselves (Kendall's τ; Yu et al. 2020, Yang et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bionas.search.common import SearchData, SearchState
from bionas.space import Genotype, SearchSpace, random_genotype, uninformed
from bionas.supernet import Paths, Supernet, Weights, steady


def ranked(found: Genotype, alphas: Mapping[str, Sequence[Sequence[float]]] | None, space: SearchSpace, nodes: int, seed: int) -> list[str]:
    """Return the genotypes, as JSON, that a definition may retrain beside what was found: each rule alone and the controls of the seed.

    `alphas` are the search's last mixing weights, None for one that moves none. What the space has no candidate for is left out (a
    skip under FA).
    """
    others = [found.assigned(rule) for rule in space.rules] if len(space.rules) > 1 else []
    others += [uninformed(alphas, space, nodes, seed)] if alphas else []
    others.append(random_genotype(SearchSpace(space.rules, space.protocol), nodes, f"trial {seed}"))
    known = [genotype for genotype in (found, *others) if all(op in space.candidates for _, genes in genotype.cells() for op, _ in genes)]
    return list(dict.fromkeys(genotype.to_json() for genotype in known))


@torch.no_grad()
def accuracy(state: SearchState, data: SearchData, genotype: Genotype) -> float:
    """Return a genotype's accuracy on the second half, in percent; by batch statistics, since its BatchNorms have met other company."""
    judged, choices = data.alphas.split, alone(state.supernet, genotype)
    correct: Tensor | int = 0
    with steady(state.learning()):
        for images, labels in judged.chunks(data.alphas.batch_size):
            correct = correct + (state.supernet(images, choices).argmax(1) == labels).sum()
    return 100 * int(correct) / len(judged)


def alone(supernet: Supernet, genotype: Genotype) -> Weights | Paths:
    """Return what the supernet takes for this genotype: a path, or for the fused form its candidates with all of the weight."""
    paths = supernet.space.paths(genotype)
    if not supernet.fused:
        return paths
    rows = {kind: torch.zeros_like(supernet.alphas[kind]) for kind in paths}
    for kind, taken in paths.items():
        for edge, candidate in enumerate(taken):
            if candidate is not None:
                rows[kind][edge, candidate] = 1
    return rows
