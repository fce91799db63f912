"""Is a network worse than it was? By an interval of the difference, or by plain words that nothing could tell. Imports no torch.

What differs in its seed alone is one network. Its runs are paired by seed; of a seed that was trained more than once it is the mean.
From three seeds on, a one-sided t-interval of the mean difference says how sure it is. With fewer, the test images do: both errors are
shares of them, and the interval is that of two independent shares. They are the same images, which makes it wider than need be; what
other seeds would move as a whole, it does not hold. Either level is divided by the number of networks that are judged, so that one run
of the gate in twenty fails by chance, not one network.

A network is worse if its whole interval lies above the tolerance. Intervals of few seeds or images are wide, so a mean that is worse by
`worst` points fails whatever they say; and where it could be worse by so much and pass, the line says that this cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from suite import store
from suite.gate.line import Line
from suite.gate.networks import Network
from suite.power import INTERVAL_SEEDS, LEVEL

Pair = tuple[store.Run, store.Run]  # now, before


def judge(name: str, new: Network | None, old: Network, metric: str, tolerance: float, worst: float, tests: int) -> Iterator[Line]:
    """Judge one of so many networks; a run that is not here any more, or has no such number, is missed by itself."""
    pairs: dict[int, list[Pair]] = {}
    for seed, was in old.runs.items():
        if metric not in was.metrics:
            continue
        run = new.runs.get(seed) if new else None
        if run is not None and run.status == "ok" and metric in run.metrics:
            pairs.setdefault(seed[0], []).append((run, was))
        else:
            how = "missing" if run is None or run.status == "ok" else run.status
            yield Line(False, old.paths[seed], f"{metric}: {how}; it was {was.metrics[metric]:.4g}")
    if not pairs:
        return
    now, before = (np.array([np.mean([pair[side].metrics[metric] for pair in of]) for of in pairs.values()]) for side in range(2))
    differences = (before - now) if "accuracy" in metric else (now - before)
    mean, n = float(differences.mean()), len(differences)
    seeds = f"{n} seed{'s' if n > 1 else ''}"
    if not differences.any():
        yield Line(True, name, f"{metric}: the same, {seeds}")
        return
    half, by = _half(differences, [pair for of in pairs.values() for pair in of], metric, LEVEL / tests)
    told = mean - half > tolerance
    worse = told or mean >= worst - 1e-9  # errors are counts of images, and 3 points of them 3 but for the last bits
    unseen = not worse and mean + half > worst
    if worse:
        words = "worse" if told else f"worse, by {worst:g} points or more"
    elif unseen:
        words = f"cannot tell at this n: it may be worse by {mean + half:.1f}" if half < math.inf else "cannot tell at this n"
    else:
        words = "no worse that could be told" if mean > 0 else "no worse"
    ends = f" [{mean - half:+.2f}, {mean + half:+.2f}] at {100 - 100 * LEVEL / tests:.4g} % each way by {by}"
    interval = ends if half < math.inf else f", no interval by {by}"
    change = f"{before.mean():.2f} → {now.mean():.2f}, {abs(mean):.2f} points {'worse' if mean > 0 else 'better' if mean else 'apart'}"
    yield Line(not worse, name, f"{metric}: {change}{interval}, {seeds}: {words}", doubt=unseen)


def _half(differences: np.ndarray, pairs: list[Pair], metric: str, level: float) -> tuple[float, str]:
    """Return by how much the mean may be off on one side, and what says so."""
    from scipy import stats  # a second, which no driver pays that compares nothing

    n = len(differences)
    if n >= INTERVAL_SEEDS and np.ptp(differences) > 1e-9:
        return float(stats.t.isf(level, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n), "seeds"
    if not all(_images(run, metric) for pair in pairs for run in pair):
        return math.inf, "so few seeds"
    variance = 0.0
    for side in range(2):
        counts = [_images(pair[side], metric) for pair in pairs]
        share = sum(pair[side].metrics[metric] / 100 * count for pair, count in zip(pairs, counts, strict=True))
        total = sum(counts) + 2
        share = (share + 1) / total  # never 0 or 1, where a share of few images would have no spread (Agresti & Caffo 2000)
        variance += share * (1 - share) / total
    return 100 * float(stats.norm.isf(level)) * math.sqrt(variance), "test images"


def _images(run: store.Run, metric: str) -> int:
    """Return how many images a number is a share of; 0 if it is none."""
    if run.stage == "evaluation" and "accuracy" in metric and not metric.startswith("released"):  # that is a mean of two
        return int(run.metrics.get("images", 0))
    return int(run.metrics.get("test_images", 0)) if metric == "test_error" else 0
