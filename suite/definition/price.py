"""What a plan costs before it runs: epochs, images, disk, multiply-adds and hours. Imports torch only to count a model of the catalog.

Multiply-adds are those of convs and linears, forward; a backward pass counts as two forward ones. A genotype that is not searched yet
counts as the mean of its space; a model is built and counted, and one that cannot be is named. Hours are multiply-adds ÷ a throughput,
which `python -m suite.run calibrate` measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bionas import catalog
from bionas.space import PUBLISHED, SearchSpace
from data_prep import Variant
from suite.definition import cost
from suite.definition.runs import BATCHES, TRACKED, Attacked, Evaluation, Search, Trial, tuners

THROUGHPUT = 2e12  # multiply-adds a second: a fifth of what an A100's data sheet gives for float32
LEARNING = 3  # a training pass in forward passes
RUN_FILE = 300_000  # bytes of metrics beside a run's weights, generously


@dataclass(frozen=True)
class Price:
    """What it takes: passes over training images, images that go forward, multiply-adds, and bytes left on disk.

    `uncounted` says which networks' multiply-adds are left out, and why.
    """

    epochs: int = 0
    images: int = 0
    flops: int = 0
    disk: int = 0
    uncounted: tuple[str, ...] = ()

    def __add__(self, other: Price) -> Price:
        return Price(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def of(searches: Mapping[str, Search], trials: Mapping[str, Trial]) -> Price:
    """Return the price of a plan's runs, data sets and what chooses learning rates included."""
    trials = {**trials, **tuners(trials.values())}
    runs = [of_search(search) for search in searches.values()]
    runs += [of_trial(trial, searches.get(trial.parent) if trial.parent else None) for trial in trials.values()]
    names = {run.dataset for run in (*searches.values(), *trials.values())}
    sizes = [Variant.parse(name).size for name in names]
    data = [Price(disk=(size.train + size.test) * size.channels * size.side**2) for size in sizes]
    return sum([*runs, *data], Price())


def of_search(search: Search) -> Price:
    settings, images, size = search.settings, *_images(search.dataset)
    epochs, half = settings["epochs"], (settings["images"] or size.train) // 2
    space = SearchSpace(search.rule_set, settings["space"], none=search.method.startswith("darts"))
    dimensions = (images, settings["channels"], settings["cells"])
    if search.method.startswith("random"):
        each = cost.mean_network(space, settings["nodes"], *dimensions)
        learned, judged = epochs * half, settings["candidates"] * half
    else:
        each = cost.supernet(space, *dimensions, settings["nodes"])
        learned, judged = epochs * half, epochs * half
        if search.method.startswith("darts"):
            learned *= 2  # α learns from as many
        elif search.method.startswith("eg"):
            a_generation = settings["population"] + 1  # the best one is looked at again
            an_epoch = settings["restarts"] * settings["generations"] * a_generation + 1
            judged += (epochs - settings["warmup"]) * an_epoch * settings["fitness_images"]
    return Price(epochs, learned + judged, (LEARNING * learned + judged) * each, RUN_FILE)


def epochs_of_equal_work(search: Search) -> int:
    """Return the epochs by which a random search makes the multiply-adds of DARTS with its settings; no fewer than its own."""

    def work(**other: Any) -> int:
        return of_search(replace(search, settings={**search.settings, **other})).flops

    ranking = work(epochs=0)
    darts = of_search(replace(search, method="darts")).flops
    return max(search.settings["epochs"], round((darts - ranking) / (work(epochs=1) - ranking)))


def of_trial(trial: Trial, parent: Search | None) -> Price:
    settings, images, size = trial.settings, *_images(trial.dataset)
    each, weights, uncounted = _network(trial, parent, images)
    held = round(settings["holdout"] * size.train)
    learned = settings["epochs"] * (size.train - held)
    judged = settings["epochs"] * (size.test if settings["selection"] == "best_test" else held)
    judged += 0 if settings["selection"] == "none" else size.test
    trained = Price(settings["epochs"], learned + judged, (LEARNING * learned + judged) * each, RUN_FILE + 4 * weights, uncounted)
    if trial.track:  # before the first epoch, too
        trained += Price(0, 0, len(trial.track) * 2 * LEARNING * TRACKED * (settings["epochs"] + 1) * each)
    return trained + (of_evaluation(trial.evaluation, trial, each) if trial.evaluation else Price())


def of_evaluation(evaluation: Evaluation, trial: Trial, each: int) -> Price:
    """Return the price of what is done to a trial; `each`: multiply-adds of its network, and of those that make images for it."""
    size = Variant.parse(trial.dataset).size
    num, used = min(evaluation.images, size.test), {attacked.label: passes(attacked, size.classes) for attacked in evaluation.attacks}
    forward = sum(used[label] for label, _ in evaluation.pairs) + sum(used[label] for label in evaluation.released)
    forward += 2 * LEARNING if evaluation.attacks and evaluation.switchable else 0  # the cosine of two gradients
    price = Price(0, num * (len(evaluation.pairs) + len(evaluation.released)), num * forward * each, RUN_FILE)
    if "gradients" in evaluation.analyses:
        batches = min(BATCHES * trial.settings["batch_size"], size.train)
        price += Price(0, batches, 2 * LEARNING * batches * each)
    return price


def passes(attacked: Attacked, classes: int) -> int:
    """Return the forward passes an image, at most: before, during and after the attack, none of which ends early."""
    p, name = attacked.parameters, attacked.name
    match name:
        case "square":
            tries = p["n_queries"]
        case "fab" | "deepfool":  # a step takes the gradient of every class
            tries = p["steps"] * (LEARNING - 1) * (classes + 1)
        case "apgd_t":  # towards every other class
            tries = (classes - 1) * LEARNING * p["steps"]
        case _ if "popsize" in p:
            tries = (p["steps"] + 1) * max(1, p["popsize"] // (5 * p["pixels"])) * 5 * p["pixels"]
        case _:
            tries = LEARNING * p.get("steps", 1)
    return tries * p.get("n_restarts", 1) * p.get("eot", 1) + 2


def _network(trial: Trial, parent: Search | None, images: cost.Images) -> tuple[int, int, tuple[str, ...]]:
    """Return (multiply-adds an image, weights, why they are not known)."""
    if trial.network in catalog.MODELS:
        try:
            shape = (images.channels, images.side, images.side)
            return *catalog.load("bionas.networks.account:of_model")(catalog.MODELS[trial.network], images.classes, shape), ()
        except Exception as error:  # somebody's own network may raise anything
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            return 0, 0, (f"{trial.network} on {images.side}×{images.side} ({reason})",)
    size = trial.settings["channels"], trial.settings["cells"]
    at_one_pixel = cost.Images(images.channels, 1, images.classes)  # a layer costs its weights there
    if parent is None:
        genotype = PUBLISHED[trial.network]
        return cost.network(genotype, images, *size), cost.network(genotype, at_one_pixel, *size), ()
    space, nodes = SearchSpace(parent.rule_set, parent.settings["space"], none=False), parent.settings["nodes"]
    return cost.mean_network(space, nodes, images, *size), cost.mean_network(space, nodes, at_one_pixel, *size), ()


def _images(dataset: str) -> tuple[cost.Images, Any]:
    size = Variant.parse(dataset).size
    return cost.Images(size.channels, size.side, size.classes), size


def memory(searches: Mapping[str, Search]) -> tuple[Search, int, int] | None:
    """Return the search that needs most of a GPU's memory, what it needs in bytes, and what it would need with `recompute`.

    Nothing without a search that mixes, since a path, as random search trains it, needs little; nor if all insist on a CPU.
    """
    mixing = [search for search in searches.values() if not search.method.startswith("random") and search.device != "cpu"]
    if not mixing:
        return None

    def size(search: Search) -> int:
        space, settings = SearchSpace(search.rule_set, search.settings["space"]), search.settings
        each = cost.supernet(space, _images(search.dataset)[0], settings["channels"], settings["cells"], settings["nodes"])
        return int(settings["batch_size"] * each)

    largest = max(mixing, key=size)
    settings, images = largest.settings, _images(largest.dataset)[0]
    space = (largest.rule_set, settings["space"], largest.method.startswith("darts"))
    shape = (images.channels, images.classes, images.side, settings["channels"], settings["cells"], settings["nodes"])
    needed = catalog.load("bionas.search.memory:needed")
    return largest, *(needed(space, *shape, settings["batch_size"], recompute) for recompute in (settings.get("recompute", False), True))


# ---------------------------------------------------------------------------------------------- in words


def throughput(path: Path | None) -> tuple[float, str]:
    """Return multiply-adds a second, and whose; of a file that `calibrate` wrote if one is given. Raises ValueError for another file."""
    if path is None:
        return THROUGHPUT, "assumed, a fifth of an A100's float32; --calibration takes a measured one"
    try:
        found = json.loads(path.read_text())
        return float(found["flops_per_second"]), f"measured on {found['device']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a calibration ({type(error).__name__}); make one with python -m suite.run calibrate") from None


def say(price: Price, speed: tuple[float, str]) -> str:
    """Return one line, and one more for what could not be counted."""
    per_second, whose = speed
    hours = price.flops / per_second / 3600
    uncounted = "".join(f"\nnot counted: {what}" for what in dict.fromkeys(price.uncounted))
    return (
        f"{price.epochs:,} epochs, {price.images / 1e6:,.1f} M images, {price.disk / 2**30:.2f} GiB, {price.flops:.3g} multiply-adds: "
        f"{hours:,.3g} device-hours at {per_second:.2g} a second ({whose}){uncounted}"
    )


def say_memory(search: Search, needed: int, recomputed: int) -> str:
    """Return one line."""
    less = "" if needed == recomputed else f" ({recomputed / 2**30:,.2g} with recompute: true)"
    what = f"{search.name} on {search.dataset}, batches of {search.settings['batch_size']}"
    return f"on a GPU the largest search needs {needed / 2**30:,.2g} GiB of its memory{less}: {what}"
