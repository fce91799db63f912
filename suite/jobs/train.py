"""Job: one trial, from a model or a genotype under its rules to trained weights and a test error."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

from suite import code, store
from suite.jobs import machine, network, parameters, task
from suite.jobs.checkpoint import Checkpoint
from suite.jobs.progress import Bar, epoch_line
from suite.jobs.stopping import StopFlag, turn
from suite.jobs.tracking import Tracking


def train(args: argparse.Namespace, stop: StopFlag) -> None:
    """Train one trial: DIR/train.h5 and DIR/weights.pt."""
    params, out = parameters.read(args.params, "trial"), args.out / "train.h5"
    made_by = code.of("train", params)
    with turn(out, params["id"], params, stop, made_by) as mine:
        if mine:
            try:
                trained = task.of(params, args.search, args.tuning)
            except task.Skipped as reason:
                status, here = f"skipped({reason})", {"code": made_by}
                store.write(out, store.Run(stage="train", id=params["id"], params=params, status=status, provenance=here))
                print(f"{params['id']}: {status}; wrote {out}", flush=True)
            else:
                _train(params, trained, args, stop, out, made_by)


def _train(params: dict[str, Any], trained: task.Task, args: argparse.Namespace, stop: StopFlag, out: Path, made_by: str) -> None:
    settings, seed, genotype = trained.settings, params["seed"], trained.genotype
    here = machine.set_up(params["device"], params["threads"], seed, stop)
    from bionas import dataset
    from bionas.networks import account
    from bionas.training import data, loop

    content = dataset.read(args.data)
    parameters.check_data(content, params, args.data)
    model = network.build(params, content, genotype).to(here.device)
    made_by = code.joined(made_by, code.of("train", params))  # it may have been edited while this job waited for a GPU
    train_settings = parameters.chosen(loop.TrainSettings, {"milestones": [], **settings})
    cutout = settings.get("cutout", 0)
    if cutout > content.augment.cutout:
        raise ValueError(f"cutout: {cutout} pixels of {content.image_shape[1]}; allowed for {content.name}: 0..{content.augment.cutout}")
    augment = content.augment if settings["augment"] else dataset.Augment()
    augment = dataset.Augment(augment.crop, augment.flip, cutout)
    kept, held_out = data.hold_out(data.Split.of(content.train_images, content.train_labels, here.device), settings["holdout"], seed)
    test = data.Split.of(content.test_images, content.test_labels, here.device)
    if settings["selection"] == "best_test":  # the public code's way; `test_error_of` says so
        held_out = test
    batches = data.TrainingData(kept, augment, settings["batch_size"], seed, content.mean)

    state = loop.LoopState.start(model, train_settings)
    epoch_seconds: list[float] = []
    tracked = Tracking(params.get("track", ()), data.Split.of(content.train_images, content.train_labels, here.device))
    owner = {**params, "settings": settings, "genotype": genotype, "on": here.device.type}
    checkpoint = Checkpoint(out, params["id"], owner, args.checkpoint_seconds, stop, made_by)
    if saved := checkpoint.load():
        with checkpoint.going_on():
            state.load_state_dict(saved["loop"])
            epoch_seconds = saved["epoch_seconds"]
            tracked.found |= saved.get("tracked", {})
        print(f"{params['id']}: going on after epoch {state.epoch}, step {state.step}", flush=True)

    with Bar(params["id"], settings["epochs"] * batches.steps, "steps") as bar:
        if state.epoch == state.step == 0:
            tracked.look(model)
        tick = time.monotonic()
        for _ in loop.train(state, batches, held_out, train_settings):
            bar.at(state.epoch * batches.steps + state.step)
            if state.step == 0:
                epoch_seconds.append(time.monotonic() - tick)
                tracked.look(model)
                tick = time.monotonic()
                bar.line(epoch_line(state.curves, state.epoch, settings["epochs"], epoch_seconds[-1]))
            if checkpoint.due():
                checkpoint.save({"loop": state.state_dict(), "epoch_seconds": epoch_seconds, "tracked": tracked.found})

    tested = state.best["epoch"] if state.best else state.epoch - 1
    metrics: dict[str, Any] = {name: column[tested] for name, column in state.curves.items() if name != "lr"}
    if held_out is None:
        del metrics["val_loss"], metrics["val_accuracy"]
    if state.status == "ok" and settings["selection"] == "none":  # a rate is tried: the test split plays no part
        state.status = "ok" if math.isfinite(metrics["val_loss"]) else "diverged"
    elif state.status == "ok":  # the one time that the test split is looked at, unless weights are selected on it
        test_loss, accuracy = loop.measure(model, test)
        if math.isfinite(test_loss):
            tested_epoch = {
                "last": "last epoch",
                "best_val": f"best validation epoch, {tested + 1}",
                "best_test": f"best test epoch, {tested + 1}, selected on test",
            }
            metrics |= {"test_loss": test_loss, "test_error": 100 - accuracy, "test_error_of": tested_epoch[settings["selection"]]}
        else:
            state.status = "diverged"
    if settings["selection"] == "best_test" and state.status == "ok":  # what was held out is the test split: the honest number, too
        metrics["test_error_last"] = 100 - state.curves["val_accuracy"][-1]
    weights = network.weights_of(out)
    network.save_weights(model, weights)
    metrics["weights_sha256"] = network.sha256(model)  # now: biotorch's layers draw anew at the next forward
    metrics |= {"num_parameters": account.num_parameters(model), "flops": account.flops(model, content.image_shape)}
    metrics |= {"num_feedback": learnt} if (learnt := account.num_feedback(model)) else {}
    for rule, (layers, count) in account.layers_by_rule(model).items():
        metrics |= {f"layers_{rule}": layers, f"weights_{rule}": count}
    metrics |= {"train_images": len(kept), "test_images": len(content.test_labels)}
    metrics |= {**trained.metrics, "dataset_checksum": content.checksum}
    if genotype:
        metrics |= {"genotype": genotype, "auxiliary": _auxiliary(model, settings)}
    run = store.Run(
        stage="train",
        id=params["id"],
        params=params,
        status=state.status,
        metrics=metrics,
        arrays={f"curves/{name}": column for name, column in state.curves.items()} | tracked.arrays(),
        timings={**here.usage(), "epoch_seconds": epoch_seconds},
        provenance={**here.provenance(params), "code": checkpoint.made_by},
    )
    store.write(out, run)
    checkpoint.remove()
    found = f"held-out accuracy {metrics['val_accuracy']:.2f} %" if settings["selection"] == "none" else ""
    found = f"test error {metrics['test_error']:.2f} %" if "test_error" in metrics else found
    print(f"{params['id']}: {found if state.status == 'ok' else state.status}; wrote {out} and {weights}", flush=True)


def _auxiliary(model: Any, settings: dict[str, Any]) -> str:
    if not settings["aux_weight"]:
        return "none"
    return f"after cell {model.auxiliary_at + 1}" if model.auxiliary_at is not None else "none: images are below 16×16"
