"""Which learning rate of a grid a network is trained with: one function, for the job that trains it and the report that shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suite.store.layout import Run


@dataclass(frozen=True)
class Rates:
    """A grid of learning rates, from the smallest on, each with its held-out accuracy in percent: NaN where no run ended well."""

    accuracies: Mapping[float, float]

    @property
    def chosen(self) -> float | None:
        """The rate with the highest accuracy, of equal ones the smallest; None if no rate trains the network."""
        trained = [rate for rate, accuracy in self.accuracies.items() if not math.isnan(accuracy)]
        return max(trained, key=lambda rate: (self.accuracies[rate], -rate), default=None)

    @property
    def on_edge(self) -> bool:
        """Whether the chosen rate is the grid's smallest or largest, so that a better one may lie outside."""
        return self.chosen in (min(self.accuracies), max(self.accuracies))


def rates(tuning: Sequence[tuple[float, Sequence[str]]], runs: Mapping[str, Run]) -> Rates:
    """Judge every rate of a trial's parameter `tuning`, [(rate, ids of its runs)], by the mean over these runs.

    A run that diverged or was skipped counts as 0 %. Raises ValueError for a run that is missing.
    """
    accuracies = {}
    for rate, ids in tuning:
        for id in ids:
            if id not in runs:
                raise ValueError(f"the learning rate depends on run {id}, which is missing")
        found = [runs[id].metrics["val_accuracy"] if runs[id].status == "ok" else math.nan for id in ids]
        accuracies[rate] = math.nan if all(map(math.isnan, found)) else math.fsum(0.0 if a != a else a for a in found) / len(found)
    return Rates(accuracies)
