"""Random search with weight sharing (Li & Talwalkar 2019): the control that a search has to beat at equal cost.

Every step trains the path of a random genotype; afterwards `candidates` random genotypes are ranked on the second half. A path costs
about a twentieth of the mixture, so at equal images its supernet has seen a twentieth of the arithmetic; `random-work` is the same
search with as many epochs as make up for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bionas.search.common import SearchData, SearchState, WeightSettings, end_epoch, weight_step
from bionas.search.ranking import accuracy
from bionas.seeds import derive
from bionas.space import random_genotype

NONE = False
MIXES = False  # paths are trained one by one, which the plain supernet does best


@dataclass(frozen=True)
class Settings:
    """How many genotypes are ranked. Twice as many as there are epochs make as many image passes as DARTS, α's steps included."""

    candidates: int


def prepare(state: SearchState, settings: Settings) -> None:
    state.extra = {"ranked": [], "accuracies": []}


def search(state: SearchState, data: SearchData, weights: WeightSettings, settings: Settings) -> Iterator[SearchState]:
    """Train random paths, then rank random genotypes; yield after every step and every genotype."""
    supernet = state.supernet
    space, nodes = supernet.space, supernet.nodes
    while state.epoch < weights.epochs and state.status == "ok":
        for images, labels in data.weights.epoch(state.epoch, start=state.step):
            drawn = random_genotype(space, nodes, derive(data.seed, "path", state.epoch, state.step))
            weight_step(state, images, labels, weights, space.paths(drawn))
            yield state
        end_epoch(state, data, weights, judge=False)  # the mixture is no network of this search
        yield state
    while state.status == "ok" and len(state.extra["ranked"]) < settings.candidates:
        drawn = random_genotype(space, nodes, derive(data.seed, "candidate", len(state.extra["ranked"])))
        state.extra["accuracies"].append(accuracy(state, data, drawn))
        state.passes["judged"] += len(data.held_out)
        state.extra["ranked"].append(drawn.to_json())
        yield state
    if state.status == "ok":
        accuracies = state.extra["accuracies"]
        best = max(range(len(accuracies)), key=accuracies.__getitem__)
        state.genotype = state.extra["ranked"][best]
        state.curves["val_accuracy"][-1] = accuracies[best]
