"""Steps of every search and training, on any device: what tests of devices run."""

import dataclasses

import torch
import torch.nn.functional as F

from bionas import catalog
from bionas.networks import Network, parts
from bionas.search import darts
from bionas.search.common import SearchState, WeightSettings, weight_step
from bionas.space import PUBLISHED, SearchSpace, random_genotype
from bionas.supernet import Supernet, initialise_alphas
from bionas.training.loop import LoopState, TrainSettings, train

BIO = ("fa", "usf", "brsf", "frsf")
RULES = (*catalog.RULES, *catalog.NETWORK_RULES)
WEIGHTS = WeightSettings(2, 4, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0)
TRAINING = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 3e-4, "schedule": "cosine", "milestones": ()}
TRAINING |= {"label_smoothing": 0.1, "grad_clip": 5.0, "selection": "last", "aux_weight": 0.4, "drop_path": 0.2}


def batch(side, images=4, device="meta"):
    """Images and labels, the same on every device that has data."""
    stream = torch.Generator().manual_seed(0)
    return torch.rand(images, 3, side, side, generator=stream).to(device), (torch.arange(images) % 10).to(device)


def search(method, rules=BIO, side=32, recompute=False, redraw="update", device="meta", dtype=torch.float32, **changes):
    """A search's state, and its step as a function."""
    settings = dataclasses.replace(WEIGHTS, **changes)
    space = SearchSpace(rules, "repaired", none=method == "darts")
    options = parts.Options(brsf_redraw=redraw)
    net = Supernet(space, 3, 10, 4, 3, 2, fused=method != "random", options=options, recompute=recompute)
    net = initialise_alphas(parts.initialise(net.to(dtype), 0), 0).to(device)
    state = SearchState.start(net, settings)
    images, labels = batch(side, device=device)
    images = images.to(dtype)
    if method == "darts":
        darts.prepare(state, darts.Settings(3e-4, 1e-3))

    def step():
        if method == "darts":
            darts.alpha_step(state, images, labels, settings.precision)
        if method == "eg":  # the fitness of an individual, without its last words to the host
            with torch.no_grad():
                F.cross_entropy(net.eval()(images, net.mixture()), labels)
        paths = space.paths(random_genotype(space, 2, 0)) if method == "random" else None
        weight_step(state, images, labels, settings, paths)

    return state, step


class Batches:
    """Training data whose images are there already."""

    def __init__(self, *batch):
        self.batch = batch

    def epoch(self, epoch, start=0):
        while True:
            yield self.batch


def training(network, rule, side=32, device="meta", **changes):
    """A training's state, and its step as a function."""
    if network == "cells":
        cell = PUBLISHED["biodarts"]
        model = Network(
            cell.assigned(rule) if rule in catalog.RULES else cell, 3, 10, 4, 3, side, auxiliary=True, scope="all", outer_rule="brsf"
        )
    else:
        model = catalog.load(catalog.MODELS[network])(rule, 10, 3)
    settings = TrainSettings(epochs=2, batch_size=4, **(TRAINING | changes))
    state = LoopState.start(parts.initialise(model, 0).to(device), settings)
    loop = train(state, Batches(*batch(side, device=device)), None, settings)
    return state, lambda: next(loop)
