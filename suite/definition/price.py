"""What a plan costs before it runs: epochs, images, disk and work. Imports torch only to count a model of the catalog.

Work is what convs and linears do going forward; a backward pass counts as two forward ones. A genotype that is not searched yet counts
as the mean of its space; a model is built and counted, and one that cannot be is named. `suite.plan.seconds` turns work into time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from bionas import catalog
from bionas.space import PUBLISHED, SearchSpace
from data_prep import Variant
from suite.definition import cost
from suite.definition.cost import Forward
from suite.definition.runs import BATCHES, TRACKED, Attacked, Evaluation, Search, Trial, tuners

LEARNING = 3  # a training pass in forward passes
JUDGED, ATTACKED = 512, 100  # images that go forward at once: measured, and attacked (on a GPU 250)
RUN_FILE = 300_000  # bytes of metrics beside a run's weights, generously


@dataclass(frozen=True)
class Price:
    """What it takes: passes over training images, images that go forward, multiply-adds, and bytes left on disk.

    `uncounted` says which networks' work is left out, and why. `calls` of layers and the `numbers` that they put out take time, too.
    """

    epochs: int = 0
    images: int = 0
    flops: int = 0
    disk: int = 0
    uncounted: tuple[str, ...] = ()
    calls: int = 0
    numbers: int = 0

    def __add__(self, other: Price) -> Price:
        return Price(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @classmethod
    def of_passes(cls, each: Forward, images: int, batches: int) -> Price:
        """Return the work of so many images, and of so many batches of them, that go forward through a network."""
        return cls(flops=images * int(each.flops), numbers=images * int(each.numbers), calls=batches * int(each.layers))


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
    steps = epochs * _batches(half, settings["batch_size"])
    dimensions = (images, settings["channels"], settings["cells"])
    if not catalog.searcher(search.method).mixes:
        each = _mean_network(search.rule_set, settings["space"], False, settings["nodes"], *dimensions)
        ranked = settings.get("candidates", 0)
        learned, judged = epochs * half, ranked * half
        looks = ranked * _batches(half, settings["batch_size"])
    else:
        each = _supernet(search.rule_set, settings["space"], search.method == "darts", settings["nodes"], *dimensions)
        learned, judged, looks = epochs * half, epochs * half, epochs * _batches(half, JUDGED)
        if search.method == "darts":
            learned, steps = 2 * learned, 2 * steps  # α learns from as many
        elif search.method == "eg":
            a_generation = settings["population"] + 1  # the best one is looked at again
            an_epoch = settings["restarts"] * settings["generations"] * a_generation + 1
            looks += (epochs - settings["warmup"]) * an_epoch
            judged += (epochs - settings["warmup"]) * an_epoch * settings["fitness_images"]
    return Price(epochs, learned + judged, disk=RUN_FILE) + Price.of_passes(each, LEARNING * learned + judged, LEARNING * steps + looks)


def epochs_of_equal_work(search: Search) -> int:
    """Return the epochs by which a random search makes the multiply-adds of DARTS with its settings; no fewer than its own."""

    def work(**other: Any) -> int:
        return of_search(replace(search, settings={**search.settings, **other})).flops

    ranking = work(epochs=0)
    darts = of_search(replace(search, method="darts")).flops
    return max(search.settings["epochs"], round((darts - ranking) / (work(epochs=1) - ranking)))


def of_trial(trial: Trial, parent: Search | None) -> Price:
    each, weights, uncounted = network(trial, parent)
    trained = of_training(trial, each) + Price(disk=4 * weights, uncounted=uncounted)
    return trained + (of_evaluation(trial.evaluation, trial, each) if trial.evaluation else Price())


def of_training(trial: Trial, each: Forward) -> Price:
    """Return the price of a trial's training; `each`: its network."""
    settings, size = trial.settings, Variant.parse(trial.dataset).size
    epochs, held = settings["epochs"], round(settings["holdout"] * size.train)
    learned, steps = epochs * (size.train - held), epochs * _batches(size.train - held, settings["batch_size"])
    looked_at = [size.test if settings["selection"] == "best_test" else held] * epochs
    looked_at += [] if settings["selection"] == "none" else [size.test]
    judged, looks = sum(looked_at), sum(_batches(images, JUDGED) for images in looked_at)
    trained = Price(epochs, learned + judged, disk=RUN_FILE)
    trained += Price.of_passes(each, LEARNING * learned + judged, LEARNING * steps + looks)
    if trial.track:  # before the first epoch, too
        passes = len(trial.track) * 2 * LEARNING * (epochs + 1)
        trained += Price.of_passes(each, passes * TRACKED, passes)
    return trained


def of_evaluation(evaluation: Evaluation, trial: Trial, each: Forward, right: float = 1.0) -> Price:
    """Return the price of what is done to a trial; `each`: its network, and those that make images for it.

    An image that the network has wrong before is looked at, and not attacked; `right`: the share of the others.
    """
    size = Variant.parse(trial.dataset).size
    num, used = min(evaluation.images, size.test), {attacked.label: passes(attacked, size.classes) for attacked in evaluation.attacks}
    asked = [*(label for label, _ in evaluation.pairs), *evaluation.released]
    cosine = 2 * LEARNING if evaluation.attacks and evaluation.switchable else 0  # of two gradients
    forward = sum(used[label] for label in asked) * right + cosine
    together = {attacked.label: _at_once(attacked) for attacked in evaluation.attacks}
    calls = sum(-(-used[label] // together[label]) for label in asked) * (right > 0) + cosine
    price = Price(images=num * len(asked), disk=RUN_FILE)
    price += Price.of_passes(each, round(num * forward), _batches(num, ATTACKED) * calls)
    for _ in filter(lambda name: catalog.ANALYSES[name].batches, evaluation.analyses):  # at most forward and back, by two gradients
        images = min(BATCHES * trial.settings["batch_size"], size.train)
        batches = _batches(images, trial.settings["batch_size"])
        price += Price(images=images) + Price.of_passes(each, 2 * LEARNING * images, 2 * LEARNING * batches)
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
            tries = (p["steps"] + 1) * _at_once(attacked)
        case _:
            tries = LEARNING * p.get("steps", 1)
    return tries * p.get("n_restarts", 1) * p.get("eot", 1) + 2


def _at_once(attacked: Attacked) -> int:
    """Return the candidates of an image that an attack judges at once: a population's."""
    p = attacked.parameters
    return max(1, p["popsize"] // (5 * p["pixels"])) * 5 * p["pixels"] if "popsize" in p else 1


def network(trial: Trial, parent: Search | None) -> tuple[Forward, int, tuple[str, ...]]:
    """Return (what an image takes to go forward, weights, why they are not known)."""
    images = _images(trial.dataset)[0]
    if trial.network in catalog.MODELS:
        try:
            shape = (images.channels, images.side, images.side)
            counted, weights = catalog.load("bionas.networks.account:of_model")(catalog.MODELS[trial.network], images.classes, shape)
            return Forward(*counted), weights, ()
        except Exception as error:  # somebody's own network may raise anything
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            return Forward(), 0, (f"{trial.network} on {images.side}×{images.side} ({reason})",)
    size = trial.settings["channels"], trial.settings["cells"]
    at_one_pixel = cost.Images(images.channels, 1, images.classes)  # a layer costs its weights there
    if parent is None:
        return _published(trial.network, images, *size), int(_published(trial.network, at_one_pixel, *size).flops), ()
    space = parent.rule_set, parent.settings["space"], False, parent.settings["nodes"]
    return _mean_network(*space, images, *size), int(_mean_network(*space, at_one_pixel, *size).flops), ()


@cache
def _mean_network(rules: tuple[str, ...], space: str, none: bool, nodes: int, images: cost.Images, channels: int, cells: int) -> Forward:
    return cost.mean_network(SearchSpace(rules, space, none=none), nodes, images, channels, cells)


@cache
def _published(name: str, images: cost.Images, channels: int, cells: int) -> Forward:
    return cost.network(PUBLISHED[name], images, channels, cells)


@cache
def _supernet(rules: tuple[str, ...], space: str, none: bool, nodes: int, images: cost.Images, channels: int, cells: int) -> Forward:
    return cost.supernet(SearchSpace(rules, space, none=none), images, channels, cells, nodes)


def _batches(images: int, size: int) -> int:
    return -(-images // size)


def _images(dataset: str) -> tuple[cost.Images, Any]:
    size = Variant.parse(dataset).size
    return cost.Images(size.channels, size.side, size.classes), size


def memory(searches: Mapping[str, Search]) -> tuple[Search, int, int] | None:
    """Return the search that needs most of a GPU's memory, what it needs in bytes, and what it would need with `recompute`.

    Nothing without a search that mixes, since a path, as random search trains it, needs little; nor if all insist on a CPU.
    """
    mixing = [search for search in searches.values() if catalog.searcher(search.method).mixes and search.device != "cpu"]
    if not mixing:
        return None

    def size(search: Search) -> int:
        settings, images = search.settings, _images(search.dataset)[0]
        each = _supernet(search.rule_set, settings["space"], True, settings["nodes"], images, settings["channels"], settings["cells"])
        return int(settings["batch_size"] * each.flops)

    largest = max(mixing, key=size)
    settings, images = largest.settings, _images(largest.dataset)[0]
    space = (largest.rule_set, settings["space"], largest.method == "darts")
    shape = (images.channels, images.classes, images.side, settings["channels"], settings["cells"], settings["nodes"])
    needed = catalog.load("bionas.search.memory:needed")
    return largest, *(needed(space, *shape, settings["batch_size"], recompute) for recompute in (settings.get("recompute", False), True))


# ---------------------------------------------------------------------------------------------- in words


def say(price: Price) -> str:
    """Return one line, and one more for what could not be counted."""
    uncounted = "".join(f"\nnot counted: {what}" for what in dict.fromkeys(price.uncounted))
    millions, size = price.images / 1e6, price.disk / 2**20
    images = f"{price.images:,}" if millions < 1 else f"{millions:,.2g} M" if millions < 10 else f"{millions:,.0f} M"
    disk = f"{size:,.3g} MiB" if size < 2**10 else f"{size / 2**10:,.2g} GiB"
    return f"{price.epochs:,} epochs, {images} images, {disk} of results, {price.flops:.2g} multiply-adds{uncounted}"


def say_memory(search: Search, needed: int, recomputed: int) -> str:
    """Return one line."""
    less = "" if needed == recomputed else f" ({recomputed / 2**30:,.2g} with recompute: true)"
    what = f"{search.name} on {search.dataset}, batches of {search.settings['batch_size']}"
    return f"on a GPU the largest search needs {needed / 2**30:,.2g} GiB of its memory{less}: {what}"
