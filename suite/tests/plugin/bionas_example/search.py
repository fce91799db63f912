"""Random search that climbs: every candidate is the best one so far with one of its two cells drawn anew."""

from dataclasses import dataclass

from bionas.search.common import end_epoch, weight_step
from bionas.search.ranking import accuracy
from bionas.seeds import derive
from bionas.space import Genotype, random_genotype

NONE = False  # whether `none` is a candidate of an edge
MIXES = False  # paths are trained one by one


@dataclass(frozen=True)
class Settings:
    """At most how many genotypes are judged, and how many in a row may be no better."""

    candidates: int
    patience: int


def prepare(state, settings):
    """Give the state what this method keeps in it: all that a checkpoint needs beside weights and curves, in plain types."""
    state.extra = {"judged": 0, "since": 0, "found": "", "accuracy": -1.0}


def search(state, data, weights, settings):
    """Train random paths, then climb; yield wherever the search may stop and go on."""
    supernet, kept = state.supernet, state.extra
    while state.epoch < weights.epochs and state.status == "ok":
        for images, labels in data.weights.epoch(state.epoch, start=state.step):
            drawn = random_genotype(supernet.space, supernet.nodes, derive(data.seed, "path", state.epoch, state.step))
            weight_step(state, images, labels, weights, supernet.space.paths(drawn))
            yield state
        end_epoch(state, data, weights, judge=False)
        yield state
    while state.status == "ok" and kept["judged"] < settings.candidates and kept["since"] < settings.patience:
        drawn = random_genotype(supernet.space, supernet.nodes, derive(data.seed, "candidate", kept["judged"]))
        if kept["found"]:
            best = Genotype.from_json(kept["found"])
            drawn = Genotype(drawn.normal, best.reduce) if kept["judged"] % 2 else Genotype(best.normal, drawn.reduce)
        judged = accuracy(state, data, drawn)
        state.passes["judged"] += len(data.held_out)
        kept["since"] += 1
        if judged > kept["accuracy"]:
            kept.update(found=drawn.to_json(), accuracy=judged, since=0)
        kept["judged"] += 1
        yield state
    if state.status == "ok":
        state.genotype = kept["found"]
        state.curves["val_accuracy"][-1] = kept["accuracy"]
