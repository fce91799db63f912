"""Is a network slower than it was? By a ratio inside each file, since seconds of two machines or two days cannot be compared. No torch.

A network's median epoch is taken as a multiple of that of a yardstick in the same file: the same network under BP, else another one
under BP on the same data; of a search, its seconds as a multiple of the same search's over BP. It is slower if that multiple grew by
more than a factor, and the whole of what a bootstrap leaves open lies above it: of runs, and of epochs within them, since what slows a
machine for a minute slows many epochs. Fewer than three timings leave everything open: there it must not take twice as long, and the
line says that no more can be told. If everything becomes slower alike, this does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from suite.gate.line import Line
from suite.gate.networks import Network
from suite.power import LEVEL

RESAMPLES = 2000
TIMINGS = 3  # of each side, from which on their spread says something
GROSS = 2.0

Networks = Mapping[str, Network]


def judge(key: str, name: str, new: Networks, old: Networks, names: Mapping[str, str], slower: float) -> Line | None:
    """Judge one network that both files hold; say it where that cannot be done. None for what has no times of its own."""
    if not (_times(new[key]) and _times(old[key])):
        return None
    if _work(new[key]) != _work(old[key]):
        return Line(True, name, "time: not compared, it does other work than before", note=True)
    if {device for device, _ in new[key].machines} != {device for device, _ in old[key].machines}:
        return Line(True, name, "time: not compared, it is of another device", note=True)
    yardstick = _yardstick(key, new, old)
    if yardstick is None:
        return Line(True, name, "time: not compared, nothing else under BP is in both files", note=True)
    whose = f"{names[yardstick]}'s{' epoch' if key.startswith('search') and yardstick.startswith('trial') else ''}"
    sides = [_times(file[which]) for file in (new, old) for which in (key, yardstick)]
    medians = [float(np.median(np.concatenate(side))) for side in sides]
    ratio = medians[0] / medians[1] / (medians[2] / medians[3])
    said = f"{'an epoch' if key.startswith('trial') else 'the search'}'s time ÷ {whose}: {ratio:.2f} of what it was"
    if min(sum(map(len, side)) for side in sides) < TIMINGS:
        limit = max(GROSS, slower)
        kept = ratio < limit
        words = "cannot tell by so few timings" if kept else f"slower by {limit:g} or more"
        return Line(kept, name, f"{said}: {words}", note=kept)
    draws = np.random.default_rng(0)
    drawn = [_medians(side, draws) for side in sides]
    least = float(np.quantile(drawn[0] / drawn[1] / (drawn[2] / drawn[3]), LEVEL))
    return Line(least <= slower, name, f"{said}, at least {least:.2f}" + ("" if least <= slower else f": slower by more than {slower:g}"))


def _medians(side: list[np.ndarray], draws: np.random.Generator) -> np.ndarray:
    """Return medians of RESAMPLES bootstrap samples: of the runs, and of the epochs within each."""
    shortest = min(map(len, side))
    runs = np.array([times[:shortest] for times in side])
    which = draws.integers(len(runs), size=(RESAMPLES, len(runs), 1))
    epochs = draws.integers(shortest, size=(RESAMPLES, len(runs), shortest))
    return np.median(runs[which, epochs].reshape(RESAMPLES, -1), axis=1)


def _times(network: Network) -> list[np.ndarray]:
    """Return the seconds of every epoch of each run, but for the first, which warms up; or of each search."""
    found = [np.atleast_1d(run.timings[name])[skip:] for run in network.runs.values() for name, skip in _CLOCKS if name in run.timings]
    return [times for times in found if len(times)]


_CLOCKS = (("epoch_seconds", 1), ("search_seconds", 0))


def _work(network: Network) -> list[float]:
    """Return what its runs compute: a search that finds another cell is not slower by that."""
    return sorted(float(run.metrics.get("flops", run.metrics.get("multiply_adds", 0))) for run in network.runs.values())


def _yardstick(key: str, new: Networks, old: Networks) -> str | None:
    """Return the network under BP by which to measure: on the same data, device and processor, in both files, the most alike one."""
    params = new[key].params

    def fits(other: str) -> bool:
        if other == key or other not in old or not (_times(new[other]) and _times(old[other])) or not _bp(new[other]):
            return False
        same = all(file[other].machines == file[key].machines for file in (new, old)) and _work(new[other]) == _work(old[other])
        kinds = other.startswith("trial") or new[other].params.get("method") == params.get("method")
        return same and kinds and other.split("/")[1] == key.split("/")[1]

    def alike(other: str) -> tuple[bool, bool, str]:
        return other.split("/")[0] == key.split("/")[0], new[other].params.get("network") == params.get("network"), other

    return max(filter(fits, new), key=alike, default=None)


def _bp(network: Network) -> bool:
    return network.params.get("rules") == "bp" or list(network.params.get("rule_set", ())) == ["bp"]
