"""How long a job takes: start-up, and its work by how fast a machine does it. Imports no torch.

    seconds = start + calls of layers × a + numbers that layers put out × b + multiply-adds × c

Small networks are bound by calls, narrow ones by the memory that their numbers go through, wide ones by arithmetic. The four
coefficients of a kind of job are DEFAULTS until a run has ended here, and are then moved towards what the runs took: all of them by
one factor, this machine's, and each kind's by a least-squares fit in which the factor counts as a quarter of a run. What the runs
cannot tell, such as arithmetic where all of them were small, so stays what it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from suite.definition import price
from suite.definition.cost import Forward
from suite.definition.price import Price
from suite.definition.runs import Evaluation, Search, Trial

# Start-up in seconds, seconds a call, a number and a multiply-add, by (on a GPU, kind of job).
#   CPU: measured on one core of an AMD EPYC of 2.6 GHz, kept to AVX2, torch 2.14: single steps of both ResNets' kind, LeNet, derived
#        networks and supernets of 8 to 32 pixels, and the demo's runs. Jobs start warm (suite.warm); elsewhere each takes 1.4 more.
#   GPU: calls and numbers from benchmarks/perf/h100.json (steps of ResNet-20, a derived network and supernets) and from LeNet's
#        training, sixteen jobs side by side on that H100. Its start-up, its arithmetic and all of its attacks are assumed.
NETWORK, ATTACKED, PATH = (125e-6, 2.6e-9, 1 / 40e9), (75e-6, 2.2e-9, 1 / 40e9), (160e-6, 5e-9, 1 / 50e9)
GPU_NETWORK, GPU_MIXTURE = (180e-6, 4e-12, 1 / 6e12), (60e-6, 4e-12, 1 / 6e12)
DEFAULTS = {
    (False, "train"): (0.2, *NETWORK),
    (False, "evaluation"): (0.2, *ATTACKED),
    (False, "random"): (0.6, *PATH),
    (False, "darts"): (0.4, 49e-6, 1.6e-9, 1 / 16e9),
    (False, "eg"): (0.4, 40e-6, 1.3e-9, 1 / 19e9),
    (True, "train"): (8.0, *GPU_NETWORK),
    (True, "evaluation"): (8.0, *GPU_NETWORK),
    (True, "random"): (8.0, *GPU_NETWORK),
    (True, "darts"): (8.0, *GPU_MIXTURE),
    (True, "eg"): (8.0, *GPU_MIXTURE),
}
OTHER = "darts"  # a search method that is not known mixes
PRIOR = 0.25  # runs that the machine's factor counts as, for each coefficient
OUTLIER = 4.0  # a run that took so many times more or less than its like was disturbed, and counts as so many times


@dataclass(frozen=True)
class Job:
    """One job: its kind (a method of search, train, evaluation), where it runs, and its work."""

    kind: str
    gpu: bool
    threads: int
    price: Price

    @property
    def parts(self) -> np.ndarray:
        """What start-up, calls, numbers and multiply-adds take by default. Threads share numbers and multiply-adds."""
        known = DEFAULTS.get((self.gpu, self.kind), DEFAULTS[self.gpu, OTHER])
        threads = 1 if self.gpu else self.threads
        return np.array([1, self.price.calls, self.price.numbers / threads, self.price.flops / threads]) * known


def of_search(search: Search, gpu: bool) -> Job:
    return Job(search.method.partition("-")[0], gpu, search.threads, price.of_search(search))


def of_training(trial: Trial, each: Forward, gpu: bool) -> Job:
    return Job("train", gpu, trial.threads, price.of_training(trial, each))


def of_evaluation(evaluation: Evaluation, trial: Trial, each: Forward, gpu: bool, right: float = 1.0) -> Job:
    return Job("evaluation", gpu, trial.threads, price.of_evaluation(evaluation, trial, each, right))


@dataclass(frozen=True)
class Speed:
    """How fast jobs are here: factors on the default coefficients, by kind, where runs have ended, and one for all others.

    `longest` is what the longest run of a kind took, and `runs` how many there were.
    """

    factors: Mapping[tuple[bool, str], np.ndarray] = field(default_factory=dict)
    others: Mapping[bool, float] = field(default_factory=dict)
    longest: Mapping[tuple[bool, str], float] = field(default_factory=dict)
    runs: int = 0

    def seconds(self, job: Job) -> float:
        return float(job.parts @ self.factors.get((job.gpu, job.kind), np.full(4, self.others.get(job.gpu, 1.0))))

    def knows(self, job: Job, times: float = 10) -> bool:
        """Say whether runs of its kind have ended here that were not much shorter."""
        return self.seconds(job) <= times * self.longest.get((job.gpu, job.kind), 0)


def fitted(ended: Iterable[tuple[Job, float]]) -> Speed:
    """Return how fast jobs are by (job, seconds that it took)."""
    kinds: dict[tuple[bool, str], list[tuple[Job, float]]] = {}
    for job, seconds in ended:
        kinds.setdefault((job.gpu, job.kind), []).append((job, seconds))
    others = {gpu: _factor([one for (on_gpu, _), runs in kinds.items() if on_gpu == gpu for one in runs]) for gpu in {g for g, _ in kinds}}
    factors = {kind: _fit(runs, others[kind[0]]) for kind, runs in kinds.items()}
    longest = {kind: max(seconds for _, seconds in runs) for kind, runs in kinds.items()}
    return Speed(factors, others, longest, sum(map(len, kinds.values())))


def _factor(runs: Sequence[tuple[Job, float]]) -> float:
    return statistics.median(seconds / job.parts.sum() for job, seconds in runs)


def _fit(runs: Sequence[tuple[Job, float]], factor: float) -> np.ndarray:
    """Return the factors, none negative, that explain the runs best, each as a share of what the machine's one factor says of it."""
    from scipy.optimize import nnls  # half a second, for who has runs

    parts = np.array([job.parts for job, _ in runs])
    expected = factor * parts.sum(1)
    shares = np.clip(np.array([seconds for _, seconds in runs]) / expected, 1 / OUTLIER, OUTLIER)
    prior = np.eye(4) * PRIOR**0.5
    found, _ = nnls(np.vstack([factor * parts / expected[:, None], prior]), np.concatenate([shares, prior.sum(1)]))
    return factor * np.asarray(found)
