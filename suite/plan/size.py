"""A definition at its size, full or tiny → its plan."""

from __future__ import annotations

import dataclasses

from bionas import catalog
from suite.definition import spec
from suite.definition.benchmark import Attack, Benchmark, Tune
from suite.plan.expand import Plan, plan

SHORT = {"steps": 3, "n_restarts": 2, "eot": 2, "n_queries": 20, "popsize": 20}


def load(path: str, size: str = "full") -> Plan:
    """Read a definition and plan it; `size="tiny"` cuts it first. Raises ValueError with one line for a mistake in it."""
    catalog.choose("size", size, ("full", "tiny"))
    benchmark = spec.read(path)
    try:
        return plan(cut(benchmark) if size == "tiny" else benchmark)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def cut(benchmark: Benchmark) -> Benchmark:
    """Cut to minutes: an epoch or two, small networks, a few images, one data set, protocol, model and seed. Bounds and comparisons go.

    Every kind of run stays: each search method, with its first rule set; each rule of a model; each assignment of a cell. Of a grid of
    learning rates stay two, of retrainings as many. Attacks are all there, on every network, by a few steps or queries each.
    """
    models, attacks = benchmark.models, benchmark.attacks
    small = {"epochs": 1, "channels": 4, "cells": 3}
    searching = {"epochs": 2, "warmup": 1, "nodes": 2, "restarts": 2, "population": 4, "generations": 1, "candidates": 2, "batch_size": 256}
    searches = tuple(
        dataclasses.replace(
            search, rule_sets=dict([next(iter(search.rule_sets.items()))]), settings={**search.settings, **small, **searching}
        )
        for search in benchmark.searches
    )
    kept = [name for search in searches for name in search.names]
    return dataclasses.replace(
        benchmark,
        tiny=True,
        datasets=benchmark.datasets[:1],
        seeds=benchmark.seeds[:1],
        protocols=benchmark.protocols[:1],
        models=models
        and dataclasses.replace(models, names=models.names[:1], settings={**models.settings, "epochs": 1}, tune=_few_rates(models.tune)),
        searches=searches,
        cells=tuple(
            dataclasses.replace(
                cells,
                genotypes=cells.genotypes[:1],
                searches=tuple(name for name in (kept if cells.searches is None else cells.searches) if name in kept)[:1],
                train_on=cells.train_on and cells.train_on[:1],
                settings={**cells.settings, **small},
                retrainings=min(cells.retrainings, 2),
                tune=_few_rates(cells.tune),
                by_method={method: {k: v for k, v in settings.items() if k not in small} for method, settings in cells.by_method.items()},
            )
            for cells in benchmark.cells
        ),
        attacks=attacks and dataclasses.replace(attacks, images=min(attacks.images, 8), each=tuple(map(_short, attacks.each))),
        comparisons=(),
        expect={},
    )


def _short(attack: Attack) -> Attack:
    """Cut what makes an attack long; its label stays, and its parameters are recorded as they are."""
    cut = {name: min(value, SHORT[name]) for name, value in attack.parameters.items() if name in SHORT}
    return dataclasses.replace(attack, parameters={**attack.parameters, **cut}, networks=None, seeds=None)


def _few_rates(tune: Tune | None) -> Tune | None:
    return tune and dataclasses.replace(tune, lr=tune.lr[:2], epochs=0, seeds=None)
