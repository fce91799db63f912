"""BioNAS-EG (paper §3.3, A.4.2; Cai et al. 2024): α by evolution, weights by gradient.

Once an epoch, after a warm-up, N runs of CMA-ES explore mixtures on one batch of the second half; α takes a step ξ·s. Variants:

    paper      individuals are α themselves; each run starts at α + σy of its own, anew every epoch; s = best individual − α
    released   the public code: one start, softmax(α) plus noise, and one seed for all runs, one generation of σ = 1,
               s = softmax(softmax(best)); so runs are copies, and α moves almost evenly
    repaired   as paper, with a diagonal covariance, and the runs' state kept over epochs

Why kept, why diagonal: on a separable quadratic in 588 dimensions (λ = 50, 35 epochs of 3 generations) runs that start anew end at
σ = 0.47 of 0.5 and 16 % of the loss; kept ones at σ = 0.13 and 8 %, with a diagonal covariance 7 % (test_search.py measures it).

A.4.2's fitness, which is minimised, *adds* the likeness to α of an individual that is better than α, and subtracts a worse one's: the
best of the better ones is the one least like α, and a worse one is forgiven up to 2η (0.8 nats) for being like it.

pycma's covariance update stands for the printed one (m^t where A.4.2 prints m^{t+1}). Fitness looks at outputs alone, so what
`darts.py` says about rules holds here, too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bionas.search.common import KINDS, SearchData, SearchState, WeightSettings, end_epoch, genotype_of, weight_step
from bionas.seeds import derive, generator
from bionas.supernet import Supernet

NONE = False
MIXES = True
VARIANTS = ("repaired", "paper", "released")
LOG = ("sigma", "alpha_step", "distinct", "fitness_spread", "best_fitness", "best_accuracy")


@dataclass(frozen=True)
class Settings:
    """A.4.2's letters: N restarts, λ population, T generations, σ, ζ, η and ξ; epochs of warm-up; images a fitness."""

    variant: str
    restarts: int
    population: int
    generations: int
    sigma: float
    zeta: float
    eta: float
    xi: float
    warmup: int
    likeness: str  # of an individual to α, a cosine over: allowed (coordinates), raw (all of them), softmaxed (the mixtures)
    fitness_images: int
    genotype_of: str  # final: of the last α; best: of the best individual over all steps


def prepare(state: SearchState, settings: Settings) -> None:
    state.extra = {"log": {name: [] for name in LOG}, "best": None, "origin": [], "told": [[] for _ in range(settings.restarts)]}
    state.extra["pending"] = []


def search(state: SearchState, data: SearchData, weights: WeightSettings, settings: Settings) -> Iterator[SearchState]:
    """Explore before an epoch, then train its weights; yield after every individual and every step."""
    runs: dict[int, Evolution] = {}
    while state.epoch < weights.epochs and state.status == "ok":
        if state.step == 0 and state.epoch >= settings.warmup and len(state.extra["log"]["sigma"]) <= state.epoch - settings.warmup:
            yield from explore(state, data, settings, runs)
        for images, labels in data.weights.epoch(state.epoch, start=state.step):
            weight_step(state, images, labels, weights)
            yield state
        end_epoch(state, data, weights)
        yield state
    best = state.extra["best"]
    state.genotype = best["genotype"] if settings.genotype_of == "best" and best else state.genotypes[-1]


class Evolution:
    """One run of pycma whose whole state is the fitnesses that it was told: it draws from a stream of its own, so they replay it."""

    def __init__(self, mean: np.ndarray, key: int, settings: Settings, told: list[list[float]]) -> None:
        import cma  # half a second that other searches do not pay

        stream = np.random.default_rng(key)
        options: dict[str, Any] = {"popsize": settings.population, "verbose": -9, "CMA_diagonal": settings.variant == "repaired"}
        options |= {"seed": math.nan, "randn": lambda *shape: stream.standard_normal(shape)}  # a seed would reseed numpy's global stream
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.strategy = cma.CMAEvolutionStrategy(mean, settings.sigma, options)
        self.asked: list[np.ndarray] = []
        for fitnesses in told:
            self.ask()
            self.tell(fitnesses)

    def ask(self) -> list[np.ndarray]:
        self.asked = self.asked or self.strategy.ask()
        return self.asked

    def tell(self, fitnesses: list[float]) -> None:
        self.strategy.tell(self.asked, fitnesses)
        self.asked = []


def explore(state: SearchState, data: SearchData, settings: Settings, runs: dict[int, Evolution]) -> Iterator[SearchState]:
    """One epoch's evolution and α's step; yields after every individual, with the fitnesses so far in `state.extra`."""
    extra, supernet, kept = state.extra, state.supernet, settings.variant == "repaired"
    batch = _fitness_batch(data, settings, state.epoch)
    alphas = flat(supernet.alphas)
    _, before = _outcome(supernet, supernet.mixture(), batch)
    started = any(extra["told"]) or bool(extra["pending"])
    if not started:
        extra["origin"] = alphas.tolist()
        runs.clear()
    generations = settings.generations * (state.epoch - settings.warmup + 1 if kept else 1)
    for n in range(settings.restarts):
        if n not in runs:
            mean, key = _start(extra["origin"], n, 0 if kept else state.epoch, data.seed, supernet, settings)
            runs[n] = Evolution(mean, key, settings, extra["told"][n])
        while len(extra["told"][n]) < generations:
            individuals = runs[n].ask()
            while len(extra["pending"]) < len(individuals):
                extra["pending"].append(_fitness(individuals[len(extra["pending"])], alphas, before, supernet, batch, settings))
                state.passes["judged"] += len(batch[1])
                yield state
            _remember_best(individuals, alphas, state, batch, settings)
            runs[n].tell(extra["pending"])
            extra["told"][n].append(extra["pending"])
            extra["pending"] = []
    _step_alpha(state, alphas, settings, runs)
    if not kept:
        extra["told"] = [[] for _ in range(settings.restarts)]
        runs.clear()
    yield state


def _start(origin: list[float], n: int, epoch: int, seed: int, supernet: Supernet, settings: Settings) -> tuple[np.ndarray, int]:
    """Return where run n starts, and the key of its stream."""
    if settings.variant == "released":
        stream = np.random.default_rng(derive(seed, "cma mean", epoch))
        mean = flat(_softmaxed(unflat(torch.tensor(origin), supernet))).numpy()
        return mean + 0.01 * stream.standard_normal(len(mean)), 1
    stream = np.random.default_rng(derive(seed, "cma mean", epoch, n))
    return np.array(origin) + settings.sigma * stream.standard_normal(len(origin)), derive(seed, "cma", epoch, n)


def _step_alpha(state: SearchState, alphas: Tensor, settings: Settings, runs: dict[int, Evolution]) -> None:
    """α ← α + ξ·s, and a line in the log."""
    extra, log, supernet = state.extra, state.extra["log"], state.supernet
    best = extra.pop("epoch_best")
    winner = torch.tensor(best["individual"], dtype=alphas.dtype)
    s = flat(_softmaxed(_softmaxed(unflat(winner, supernet)))) if settings.variant == "released" else winner - alphas
    with torch.no_grad():
        for kind, step in unflat(settings.xi * s, supernet).items():
            supernet.alphas[kind].add_(step.to(supernet.alphas[kind].device))
    last = [fitness for told in extra["told"] for fitness in told[-1]]
    log["sigma"].append(float(np.mean([run.strategy.sigma for run in runs.values()])))
    log["alpha_step"].append(settings.xi * s.norm().item())
    log["distinct"].append(len(set(last)))
    log["fitness_spread"].append(float(np.std(last)))
    log["best_fitness"].append(best["fitness"])
    log["best_accuracy"].append(best["accuracy"])


# ---------------------------------------------------------------------------------------------- fitness


def _fitness_batch(data: SearchData, settings: Settings, epoch: int) -> tuple[Tensor, Tensor]:
    """One batch of the second half for all of an epoch's individuals, as its images are."""
    judged = data.alphas.split
    order = torch.randperm(len(judged), generator=generator(data.seed, "fitness", epoch))
    return next(judged.at(order[: settings.fitness_images]).chunks(settings.fitness_images))


def _fitness(z: np.ndarray, alphas: Tensor, before: float, supernet: Supernet, batch: tuple[Tensor, Tensor], settings: Settings) -> float:
    """ζL₁ ± ηL₂, minimised: cross-entropy, and likeness to α, which counts against who is at least as good as α and for who is worse."""
    choices, likeness = _decode(z, alphas, supernet, settings)
    loss, accuracy = _outcome(supernet, choices, batch)
    return settings.zeta * loss + (settings.eta if accuracy >= before else -settings.eta) * likeness


def _decode(z: np.ndarray, alphas: Tensor, supernet: Supernet, settings: Settings) -> tuple[dict[str, Tensor], float]:
    """Return the mixture that an individual stands for, and its likeness to α: a cosine.

    The public code's is the mean over edges, of softmax(α) and the individual, and lies in [0, 1].
    """
    individual = torch.tensor(z, dtype=alphas.dtype)
    device = supernet.alphas["normal"].device
    if settings.variant != "released":
        mixture = supernet.mixture({kind: part.to(device) for kind, part in unflat(individual, supernet).items()})
        mine, its = individual, alphas
        if settings.likeness == "softmaxed":
            mine, its = flat(mixture), flat(supernet.mixture())
        elif settings.likeness == "allowed":
            allowed = ~torch.cat([supernet.get_buffer(f"barred_{kind}").cpu().flatten() for kind in KINDS])
            mine, its = individual[allowed], alphas[allowed]
        return mixture, F.cosine_similarity(mine, its, dim=0).item()
    rows = {kind: F.normalize(part, dim=1) for kind, part in unflat(individual, supernet).items()}
    softened = _softmaxed(unflat(alphas, supernet))
    cosines = torch.cat([F.cosine_similarity(softened[kind], rows[kind], dim=1) for kind in KINDS])
    return {kind: part.to(device) for kind, part in _softmaxed(rows).items()}, ((cosines + 1) / 2).mean().item()


@torch.no_grad()
def _outcome(supernet: Supernet, choices: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return (cross-entropy, accuracy in percent) with running statistics, as the public code."""
    images, labels = batch
    logits = supernet.eval()(images, choices)
    loss, correct = torch.stack([F.cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean()]).tolist()
    return loss, 100 * correct


def _remember_best(
    individuals: list[np.ndarray], alphas: Tensor, state: SearchState, batch: tuple[Tensor, Tensor], settings: Settings
) -> None:
    """Keep a generation's best individual if it is its epoch's best by fitness; and the best of all epochs by accuracy."""
    extra, supernet = state.extra, state.supernet
    i = int(np.argmin(extra["pending"]))
    if "epoch_best" in extra and extra["epoch_best"]["fitness"] <= extra["pending"][i]:
        return
    choices, _ = _decode(individuals[i], alphas, supernet, settings)
    _, accuracy = _outcome(supernet, choices, batch)
    extra["epoch_best"] = {"fitness": extra["pending"][i], "accuracy": accuracy, "individual": individuals[i].tolist()}
    if extra["best"] is None or accuracy > extra["best"]["accuracy"]:
        genotype = genotype_of({kind: rows.cpu() for kind, rows in choices.items()}, supernet)
        extra["best"] = {"accuracy": accuracy, "epoch": state.epoch, "genotype": genotype.to_json()}


# ---------------------------------------------------------------------------------------------- vectors


def flat(parts: Any) -> Tensor:
    """Both cells' α as one vector on the CPU."""
    return torch.cat([parts[kind].detach().cpu().flatten() for kind in KINDS])


def unflat(vector: Tensor, supernet: Supernet) -> dict[str, Tensor]:
    """One vector as both cells' α."""
    shape = supernet.alphas["normal"].shape
    return {kind: part.view(shape) for kind, part in zip(KINDS, vector.view(2, -1), strict=True)}


def _softmaxed(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {kind: part.softmax(-1) for kind, part in parts.items()}
