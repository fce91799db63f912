"""Whether results fell behind those of an earlier file: accuracy by interval, speed by a ratio inside each file. Imports no torch.

**Accuracy.** What differs in its seed alone is one network; each of its runs is paired with its namesake. From three seeds on, it is
worse if a one-sided t-interval of the mean difference lies above the tolerance. With fewer, the test images are what there is to go by:
both errors are shares of them, and the interval is that of two independent shares (wider than of the same images, which were not kept
one by one). Either level is divided by the number of networks, so that one run in twenty fails by chance, not one network. Intervals
of few seeds are wide, so a mean that is worse by `worst` points fails whatever they say, and where an interval could hardly have told
so much, the line says so.

**Speed.** Seconds of two machines, or of two days, cannot be compared. So each network's time for an epoch is taken as a multiple of
that of a yardstick in the same file: the same kind of network under BP on the same data. It is slower if that multiple grew by more
than a factor, beyond what a bootstrap over epochs leaves open. If everything became slower alike, this does not see it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from suite import store
from suite.gate.line import Line
from suite.power import INTERVAL_SEEDS, LEVEL

SEED = re.compile(r"seed\d+(-of\d+)?|-[0-9a-f]{8}(?=/|$)")  # and the hash that ends an id, which holds the seed
RESAMPLES = 2000

Runs = Mapping[str, store.Run]


@dataclass(frozen=True)
class Limits:
    """How much worse may pass: points by which an interval may lie above 0, points that a mean may grow, factor of time."""

    tolerance: float = 0.0
    worst: float = 3.0
    slower: float = 1.25


def compare(now: Runs, before: Runs, metric: str, limits: Limits) -> list[Line]:
    """Hold every network against its namesake in an earlier file. Raises ValueError if the files share no run that has the metric."""
    old, new = _networks(before), _networks(now)
    judged = {name: runs for name, runs in old.items() if any(metric in run.metrics for run in runs.values())}
    if not any(path in now for runs in judged.values() for path in runs):
        raise ValueError(f"the two files share no run with a {metric}")
    lines = [line for name, runs in judged.items() for line in _accuracy(name, new.get(name, {}), runs, metric, limits, len(judged))]
    lines += [line for name in old if name in new for line in _speed(name, new, old, limits.slower)]
    lines += [Line(True, name, "new here") for name in new if name not in old]
    return [replace(line, what=_short(line.what, {*old, *new})) for line in lines]


def _networks(runs: Runs) -> dict[str, dict[str, store.Run]]:
    """Return {name without seeds: {path: run}}."""
    found: dict[str, dict[str, store.Run]] = {}
    for path, run in runs.items():
        found.setdefault(SEED.sub("", path), {})[path] = run
    return found


def _accuracy(
    name: str, new: Mapping[str, store.Run], old: Mapping[str, store.Run], metric: str, limits: Limits, tests: int
) -> Iterator[Line]:
    """Judge one network; what is no longer there is missed, each run by itself."""
    pairs = []
    for path, was in old.items():
        if metric not in was.metrics:
            continue
        run = new.get(path)
        if run is not None and run.status == "ok" and metric in run.metrics:
            pairs.append((run, was))
        else:
            how = "missing" if run is None or run.status == "ok" else run.status
            yield Line(False, path, f"{metric}: {how}; it was {was.metrics[metric]:.4g}")
    if not pairs:
        return
    differences = np.array([run.metrics[metric] - was.metrics[metric] for run, was in pairs], dtype=float)
    mean, n = float(differences.mean()), len(differences)
    seeds = f"{n} seed{'s' if n > 1 else ''}"
    if not differences.any():
        yield Line(True, name, f"{metric}: the same, {seeds}")
        return
    half, by = _half(differences, pairs, metric, LEVEL / tests)
    told = mean - half > limits.tolerance
    worse = told or mean >= limits.worst
    level = f"{100 - 100 * LEVEL / tests:.4g} %"
    interval = f"at least {mean - half:+.2f} at {level} by {by}" if half < math.inf else f"no interval by {by}"
    word = "worse" if worse else "no worse that could be told" if mean > 0 else "no worse"
    why = "" if told or not worse else f", and {limits.worst:g} points or more"
    yield Line(not worse, name, f"{metric}: {mean:+.2f} points, {interval}, {seeds}: {word}{why}", doubt=not worse and half > limits.worst)


def _half(differences: np.ndarray, pairs: list[tuple[store.Run, store.Run]], metric: str, level: float) -> tuple[float, str]:
    """Return by how much the mean may be off on one side, and what says so."""
    from scipy import stats

    n = len(differences)
    if n >= INTERVAL_SEEDS and np.ptp(differences) > 1e-9:
        return float(stats.t.isf(level, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n), "seeds"
    images = [int(run.metrics.get("test_images", 0)) for pair in pairs for run in pair] if metric == "test_error" else [0]
    if not all(images):
        return math.inf, "so few seeds"
    variance = 0.0
    for side in range(2):
        share = sum(pair[side].metrics[metric] for pair in pairs) / n / 100
        count = sum(int(pair[side].metrics["test_images"]) for pair in pairs)
        share = (share * count + 1) / (count + 2)  # never 0 or 1, where a share of few images would have no spread (Agresti & Caffo 2000)
        variance += share * (1 - share) / (count + 2)
    return 100 * float(stats.norm.isf(level)) * math.sqrt(variance), "test images"


def _speed(
    name: str, new: Mapping[str, Mapping[str, store.Run]], old: Mapping[str, Mapping[str, store.Run]], slower: float
) -> Iterator[Line]:
    yardstick = _yardstick(name, new, old)
    if yardstick is None or yardstick == name or not _same_work(new[name], old[name]):
        return
    samples = [_epochs(runs[which]) for runs in (new, old) for which in (name, yardstick)]
    if not all(len(sample) > 1 for sample in samples):
        return
    ours, theirs, our_yard, their_yard = samples[0], samples[2], samples[1], samples[3]
    ratio = float(np.median(ours) / np.median(our_yard) / (np.median(theirs) / np.median(their_yard)))
    draws = np.random.default_rng(0)
    medians = [np.median(draws.choice(sample, (RESAMPLES, len(sample))), axis=1) for sample in (ours, our_yard, theirs, their_yard)]
    least = float(np.quantile(medians[0] / medians[1] / (medians[2] / medians[3]), LEVEL))
    kept = not (ratio > slower and least > 1)
    said = f"an epoch's time ÷ {'/'.join(yardstick.split('/')[2:4])}'s: {ratio:.2f} of what it was, at least {least:.2f}"
    yield Line(kept, name, said + ("" if kept else f": slower by more than {slower:g}"))


def _same_work(new: Mapping[str, store.Run], old: Mapping[str, store.Run]) -> bool:
    """Whether both are the same network: a search that finds another cell is not slower by that."""
    work = [sorted(run.metrics.get("flops", 0) for run in runs.values()) for runs in (new, old)]
    return work[0] == work[1]


def _yardstick(name: str, *files: Mapping[str, Mapping[str, store.Run]]) -> str | None:
    """Return the network under BP, of the same data if one is, that both files have times of: of the same architecture, else any."""

    def under_bp(other: str) -> bool:
        return all(
            other in file and any(run.stage == "train" and run.params.get("rules") == "bp" for run in file[other].values())
            for file in files
        )

    found = [other for other in files[0] if under_bp(other)]
    return max(
        found,
        key=lambda other: (other.split("/")[1] == name.split("/")[1], other.split("/")[:3] == name.split("/")[:3], other),
        default=None,
    )


def _epochs(runs: Mapping[str, store.Run]) -> np.ndarray:
    """Return the seconds of every epoch but each run's first, which warms up."""
    found = [np.atleast_1d(run.timings["epoch_seconds"])[1:] for run in runs.values() if "epoch_seconds" in run.timings]
    return np.concatenate(found) if found else np.array([])


def _short(name: str, names: Collection[str]) -> str:
    """Return a network's name up to its rules, if no other network of the same kind of run shares that; a run's stays whole."""
    start, _, kind = "/".join(name.split("/")[:4]), *name.rpartition("/")[1:]
    alike = [other for other in names if other.startswith(f"{start}/") and other.endswith(f"/{kind}")]
    return f"{start}/{kind}" if alike == [name] else name
