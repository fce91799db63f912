"""Whether results fell behind those of an earlier file: every network held against its namesake, in accuracy and speed. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from suite.gate import accuracy, speed
from suite.gate.line import Line
from suite.gate.networks import Runs, names, networks


@dataclass(frozen=True)
class Limits:
    """How much worse may pass: points by which an interval may lie above 0, points that a mean may grow, factor of time."""

    tolerance: float = 0.0
    worst: float = 3.0
    slower: float = 1.25


def compare(now: Runs, before: Runs, metric: str, limits: Limits) -> list[Line]:
    """Hold every network against its namesake in an earlier file. Raises ValueError if the files share no run that has the metric."""
    new, old = networks(now), networks(before)
    judged = {key: network for key, network in old.items() if any(metric in run.metrics for run in network.runs.values())}
    if not judged.keys() & new.keys():
        raise ValueError(f"the two files share no run with a {metric}")
    called = names(old, new)
    lines = [
        line
        for key, network in judged.items()
        for line in accuracy.judge(called[key], new.get(key), network, metric, limits.tolerance, limits.worst, len(judged))
    ]
    for key, network in old.items():  # whatever else was there
        for seed, was in network.runs.items() if key not in judged else ():
            run = new[key].runs.get(seed) if key in new else None
            if run is None or (was.status == "ok" and run.status != "ok"):
                lines.append(Line(False, network.paths[seed], f"{run.status if run else 'missing'}; it was {was.status}"))
    times = (speed.judge(key, called[key], new, old, called, limits.slower) for key in old if key in new)
    lines += [line for line in times if line]
    lines += [Line(True, called[key], "new here", note=True) for key in new if key not in old]
    return lines
