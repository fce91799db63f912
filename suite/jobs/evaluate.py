"""Job: the attacks on one trained trial."""

from __future__ import annotations

import argparse
import time
from typing import Any

from suite import code, store
from suite.jobs import machine, network, parameters
from suite.jobs.checkpoint import Checkpoint
from suite.jobs.progress import Bar
from suite.jobs.stopping import StopFlag, turn


def evaluate(args: argparse.Namespace, stop: StopFlag) -> None:
    """Attack one trained trial: its evaluation file."""
    params = parameters.read(args.params, "evaluation")
    trained = store.read(args.trial / "train.h5")
    params = {"trial": trained.id, **params}
    made_by = code.of("evaluation", trained.params)
    with turn(args.out, trained.id, params, stop, made_by) as mine:
        if mine and trained.status == "ok":
            _evaluate(trained, params, args, stop, made_by)
        elif mine:
            status = f"skipped(parent {trained.status})"
            here = {"code": made_by}
            store.write(args.out, store.Run(stage="evaluation", id=trained.id, params=params, status=status, provenance=here))
            print(f"{trained.id}: {status}; wrote {args.out}")


def _evaluate(trained: store.Run, params: dict[str, Any], args: argparse.Namespace, stop: StopFlag, made_by: str) -> None:
    seed = trained.params["seed"]
    here = machine.set_up(trained.params["device"], trained.params["threads"], seed, stop)
    import torch

    from bionas import attacks, catalog, dataset
    from bionas.seeds import generator
    from bionas.training import data

    made_by = code.joined(made_by, code.of("evaluation", trained.params))  # it may have been edited while this job waited for a GPU
    owner = {**params, "on": here.device.type, "weights": trained.metrics["weights_sha256"]}
    checkpoint = Checkpoint(args.out, trained.id, owner, args.checkpoint_seconds, stop, made_by)
    if params["parameters"] != {attack: catalog.parameters(attack, params["preset"]) for attack, _ in params["attacks"]}:
        raise ValueError(f"--params: preset {params['preset']!r} has other parameters in this version; plan again")
    content = dataset.read(args.data)
    if content.checksum != trained.metrics["dataset_checksum"]:
        raise ValueError(f"{args.data}: not the data that {trained.id} was trained on")
    model = network.build(trained.params, content, trained.metrics.get("genotype"))
    network.load_weights(model, network.weights_of(args.trial / "train.h5"), trained)
    model.to(here.device).eval()
    ids = torch.randperm(len(content.test_labels), generator=generator(0, "attacked images"))[: params["images"]].sort().values
    images, labels = next(data.Split.of(content.test_images, content.test_labels, here.device).at(ids).chunks(len(ids)))

    # {attack/gradient: chunks of outcomes so far}; an attack is done when it has all of its chunks.
    done: dict[str, dict[str, Any]] = checkpoint.load() or {}
    num_chunks = -(-len(ids) // attacks.CHUNK[here.device.type])
    with Bar(f"{trained.id} attacks", len(params["attacks"]) * num_chunks, "chunks of images") as bar:
        for attack, gradient in params["attacks"]:
            key, through = f"{attack}/{gradient}", "rule" if gradient == "none" else gradient
            part = done.setdefault(key, {"clean": [], "robust": [], "seconds": 0.0})
            before = len(part["clean"])
            tick = time.monotonic()
            for outcome in attacks.chunks(model, images, labels, attack, through, params["parameters"][attack], seed=seed, start=before):
                part["clean"].append(outcome.clean_correct)
                part["robust"].append(outcome.robust_correct)
                part["seconds"] += time.monotonic() - tick
                tick = time.monotonic()
                bar.at(sum(len(p["clean"]) for p in done.values()))
                if checkpoint.due():
                    checkpoint.save(done)
            robust = _percent(torch.cat(part["robust"]))
            note = f"{part['seconds']:7.2f} s" if before < num_chunks else "done before"
            bar.line(f"attack {attack:10s} through {gradient:5s}  robust {robust:6.2f} %  {note}")

    done = {key: {**part, "clean": torch.cat(part["clean"]), "robust": torch.cat(part["robust"])} for key, part in done.items()}
    clean = next(iter(done.values()))["clean"]
    worst = torch.stack([result["robust"] for result in done.values()]).all(0)
    metrics = {"clean_accuracy": _percent(clean), "worst_case_accuracy": _percent(worst), "images": len(ids)}
    metrics |= {f"robust_accuracy_{key.replace('/', '_')}": _percent(result["robust"]) for key, result in done.items()}
    arrays = {f"attacks/{key}/robust_correct": result["robust"].numpy() for key, result in done.items()}
    arrays |= {"attacks/clean_correct": clean.numpy(), "attacks/image_ids": ids.numpy()}
    run = store.Run(
        stage="evaluation",
        id=trained.id,
        params=params,
        metrics=metrics,
        arrays=arrays,
        timings={
            **here.usage(),
            **{f"seconds_{k.replace('/', '_')}": r["seconds"] for k, r in done.items()},
        },
        provenance={**here.provenance(), "code": checkpoint.made_by},
    )
    store.write(args.out, run)
    checkpoint.remove()
    print(f"{trained.id}: worst case {metrics['worst_case_accuracy']:.2f} % of {len(ids)} images; wrote {args.out}", flush=True)


def _percent(correct: Any) -> float:
    return 100 * int(correct.sum()) / len(correct)
