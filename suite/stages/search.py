"""Job: one search, from a supernet to a genotype and its trace."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from suite import job, store
from suite.job import Checkpoint, StopFlag
from suite.progress import Bar


def search(args: argparse.Namespace, stop: StopFlag) -> None:
    """Search for a genotype: DIR/search.h5."""
    params = job.read_run_params(args.params, "search")
    out = args.out / "search.h5"
    with store.locked(args.out, stop) as got:
        if not got:
            job.ask_to_go_on(params["id"])
        job.refuse_foreign(out, params["id"])
        if store.finished(out, params):
            (args.out / "search.checkpoint").unlink(missing_ok=True)
            print(f"{out}: finished already")
        else:
            _search(params, args, stop, out)


def _search(params: dict[str, Any], args: argparse.Namespace, stop: StopFlag, out: Path) -> None:
    started = time.monotonic()
    settings, seed = params["settings"], params["seed"]
    device = job.set_up(params["device"], params["threads"], seed, stop)
    from importlib import import_module

    import numpy as np

    from bionas import catalog, dataset
    from bionas.networks import account, parts
    from bionas.networks.cells import check_image_size
    from bionas.search.common import SearchData, SearchState, WeightSettings
    from bionas.space import SearchSpace
    from bionas.supernet import Supernet, initialise_alphas
    from bionas.training import data

    content = dataset.read(args.data)
    check_image_size(content.image_shape[1])
    null = params["method"].endswith("-null")
    method = import_module(catalog.SEARCHERS[params["method"].removesuffix("-null")].module)
    weights, own = job.chosen(WeightSettings, settings), job.chosen(method.Settings, settings)
    training = data.Split.of(content.train_images, content.train_labels, device)
    augment = content.augment if settings["augment"] else dataset.Augment()
    crop_and_flip = dataset.Augment(augment.crop, augment.flip)
    halves = SearchData.split(training, crop_and_flip, settings["batch_size"], seed, null, settings["images"])
    space = SearchSpace(params["rule_set"], settings["space"], none=method.NONE)
    size = {name: settings[name] for name in ("channels", "cells", "nodes")}
    learning = {name: settings[name] for name in job.LEARNING if name in settings}
    options = {"fused": method.MIXES, "mean": content.mean, "std": content.std, **learning}
    supernet = Supernet(space, content.image_shape[0], len(content.classes), **size, **options)
    supernet = initialise_alphas(parts.initialise(supernet, seed, settings["init"]), seed).to(device)

    state = SearchState.start(supernet, weights)
    method.prepare(state, own)
    seconds = 0.0
    checkpoint = Checkpoint(args.out / "search.checkpoint", {**params, "on": device.type}, args.checkpoint_seconds)
    if saved := checkpoint.load():
        state.load_state_dict(saved["search"])
        seconds = saved["seconds"]
        print(f"{params['id']}: going on after epoch {state.epoch}, step {state.step}", flush=True)

    with Bar(params["id"], weights.epochs * halves.weights.steps, "steps") as bar:
        tick, said = time.monotonic(), state.epoch
        for _ in method.search(state, halves, weights, own):
            bar.at(state.epoch * halves.weights.steps + state.step)
            if state.epoch > said:
                said = state.epoch
                bar.line(_search_line(state, weights.epochs, time.monotonic() - tick))
                seconds += time.monotonic() - tick
                tick = time.monotonic()
            if stop() or checkpoint.due():
                checkpoint.save({"search": state.state_dict(), "seconds": seconds})
            if stop():
                job.ask_to_go_on(params["id"])

    metrics: dict[str, Any] = {name: column[-1] for name, column in state.curves.items() if name != "lr" and column[-1] == column[-1]}
    metrics |= {"num_parameters": account.num_parameters(supernet), "candidates": len(space)}
    metrics |= {f"images_{kind}": count for kind, count in state.passes.items()}
    metrics["dataset_checksum"] = content.checksum
    if state.genotype:
        metrics["genotype"] = state.genotype
    arrays = {f"curves/{name}": column for name, column in state.curves.items()}
    arrays |= {f"alphas/{kind}": np.stack([mixture[kind].numpy() for mixture in state.trace]) for kind in ("normal", "reduce")}
    arrays |= {"alphas/candidates": [str(candidate) for candidate in space.candidates], "genotypes": state.genotypes}
    arrays |= {f"evolution/{name}": column for name, column in state.extra.get("log", {}).items()}
    if best := state.extra.get("best"):
        metrics |= {"best_individual": best["genotype"], "best_individual_accuracy": best["accuracy"]}
    run = store.Run(
        stage="search",
        id=params["id"],
        params=params,
        status=state.status,
        metrics=metrics,
        arrays=arrays,
        timings={**store.usage(started), "search_seconds": seconds, **job.device_memory()},
        provenance=store.provenance(job.device_name(device), params["threads"], seed),
    )
    store.write(out, run)
    checkpoint.remove()
    print(f"{params['id']}: {state.genotype or state.status}; wrote {out}", flush=True)


def _search_line(state: Any, epochs: int, seconds: float) -> str:
    last = {name: column[-1] for name, column in state.curves.items()}
    return (
        f"epoch {state.epoch:4d}/{epochs}  lr {last['lr']:.5f}  loss {last['train_loss']:8.4f}  train {last['train_accuracy']:6.2f} %  "
        f"val {last['val_accuracy']:6.2f} %  α span {last['alpha_span']:.4f}  {seconds:7.2f} s"
    )
