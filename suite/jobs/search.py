"""Job: one search, from a supernet to a genotype and its trace."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from bionas.space import SearchSpace
from suite import code, store
from suite.definition import cost
from suite.jobs import machine, parameters
from suite.jobs.checkpoint import Checkpoint
from suite.jobs.progress import Bar, epoch_line
from suite.jobs.stopping import StopFlag, ask_to_go_on, turn


def search(args: argparse.Namespace, stop: StopFlag) -> None:
    """Search for a genotype: DIR/search.h5."""
    params, out = parameters.read(args.params, "search"), args.out / "search.h5"
    made_by = code.of("search", params)
    with turn(out, params["id"], params, stop, made_by) as mine:
        if mine:
            _search(params, args, stop, out, made_by)


def _search(params: dict[str, Any], args: argparse.Namespace, stop: StopFlag, out: Path, made_by: str) -> None:
    settings, seed = params["settings"], params["seed"]
    here = machine.set_up(params["device"], params["threads"], seed, stop)
    import numpy as np

    from bionas import catalog, dataset
    from bionas.networks import Options, account, initialise
    from bionas.networks.cells import check_image_size
    from bionas.search import ranking
    from bionas.search.common import SearchData, SearchState, WeightSettings
    from bionas.space import Genotype
    from bionas.supernet import Supernet, initialise_alphas
    from bionas.training import data

    content = dataset.read(args.data)
    parameters.check_data(content, params, args.data)
    check_image_size(content.image_shape[1])
    method = catalog.load(catalog.searcher(params["method"]).module)
    made_by = code.joined(made_by, code.of("search", params))  # it may have been edited while this job waited for a GPU
    weights, own = parameters.chosen(WeightSettings, settings), parameters.chosen(method.Settings, settings)
    training = data.Split.of(content.train_images, content.train_labels, here.device)
    augment = content.augment if settings["augment"] else dataset.Augment()
    crop_and_flip = dataset.Augment(augment.crop, augment.flip)
    halves = SearchData.split(training, crop_and_flip, settings["batch_size"], seed, settings["images"])
    space = SearchSpace(params["rule_set"], settings["space"], none=method.NONE)
    size = {name: settings[name] for name in ("channels", "cells", "nodes")}
    options = parameters.chosen(Options, {**settings, "mean": content.mean, "std": content.std})
    supernet = Supernet(
        space,
        content.image_shape[0],
        len(content.classes),
        **size,
        fused=method.MIXES,
        options=options,
        recompute=settings.get("recompute", False),
    )
    supernet = initialise_alphas(initialise(supernet, seed, settings["init"]), seed).to(here.device)

    state = SearchState.start(supernet, weights)
    method.prepare(state, own)
    seconds = 0.0
    checkpoint = Checkpoint(out, params["id"], {**params, "on": here.device.type}, args.checkpoint_seconds, stop, made_by)
    if saved := checkpoint.load():
        with checkpoint.going_on():
            state.load_state_dict(saved["search"])
            seconds = saved["seconds"]
        print(f"{params['id']}: going on after epoch {state.epoch}, step {state.step}", flush=True)

    with Bar(params["id"], weights.epochs * halves.weights.steps, "steps") as bar:
        tick, said = time.monotonic(), state.epoch
        for _ in method.search(state, halves, weights, own):
            bar.at(state.epoch * halves.weights.steps + state.step)
            if state.epoch > said:
                said = state.epoch
                bar.line(epoch_line(state.curves, state.epoch, weights.epochs, time.monotonic() - tick))
                seconds += time.monotonic() - tick
                tick = time.monotonic()
            if checkpoint.due():
                checkpoint.save({"search": state.state_dict(), "seconds": seconds})

    metrics: dict[str, Any] = {name: column[-1] for name, column in state.curves.items() if name != "lr" and column[-1] == column[-1]}
    metrics |= {"num_parameters": account.num_parameters(supernet), "candidates": max(sum(space.allowed(stride)) for stride in (1, 2))}
    metrics |= {"num_feedback": learnt} if (learnt := account.num_feedback(supernet)) else {}
    metrics |= {f"images_{kind}": count for kind, count in state.passes.items()}
    metrics["multiply_adds"] = _multiply_adds(
        state.passes, space, method.MIXES, cost.Images(*content.image_shape[:2], len(content.classes)), size
    )
    metrics["dataset_checksum"] = content.checksum
    if state.genotype:
        metrics["genotype"] = state.genotype
    arrays: dict[str, Any] = {f"curves/{name}": column for name, column in state.curves.items()}
    arrays |= {f"alphas/{kind}": np.stack([mixture[kind].numpy() for mixture in state.trace]) for kind in ("normal", "reduce")}
    arrays |= {"alphas/candidates": [str(candidate) for candidate in space.candidates], "genotypes": state.genotypes}
    arrays |= {f"evolution/{name}": column for name, column in state.extra.get("log", {}).items()}
    if params.get("ranking") and state.genotype:
        last = {kind: rows.tolist() for kind, rows in state.trace[-1].items()} if method.MIXES else None
        checkpoint.save({"search": state.state_dict(), "seconds": seconds})  # judging takes a while, and changes nothing
        genotypes = ranking.ranked(Genotype.from_json(state.genotype), last, space, settings["nodes"], seed)
        arrays["ranking/genotypes"] = genotypes
        accuracies = arrays["ranking/accuracies"] = []
        for text in genotypes:
            if stop():
                ask_to_go_on(params["id"])
            accuracies.append(ranking.accuracy(state, halves, Genotype.from_json(text)))
    if best := state.extra.get("best"):
        metrics |= {"best_individual": best["genotype"], "best_individual_accuracy": best["accuracy"]}
    run = store.Run(
        stage="search",
        id=params["id"],
        params=params,
        status=state.status,
        metrics=metrics,
        arrays=arrays,
        timings={**here.usage(), "search_seconds": seconds},
        provenance={**here.provenance(params), "code": checkpoint.made_by},
    )
    store.write(out, run)
    checkpoint.remove()
    print(f"{params['id']}: {state.genotype or state.status}; wrote {out}", flush=True)


def _multiply_adds(passes: dict[str, int], space: SearchSpace, mixes: bool, images: cost.Images, size: dict[str, int]) -> int:
    """Return those of convs and linears, a backward pass as two forward ones: through the mixture, or through the mean path."""
    each = cost.supernet(space, images, **size) if mixes else cost.mean_network(space, images=images, **size)
    return (3 * passes["trained"] + passes["judged"]) * int(each.flops)
