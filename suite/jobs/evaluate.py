"""Job: what is done to one trained trial, its attacks and its analyses."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bionas import catalog, plugins
from suite import code, store
from suite.definition.runs import BATCHES, budgets
from suite.jobs import machine, network, parameters
from suite.jobs.checkpoint import Checkpoint
from suite.jobs.progress import Bar
from suite.jobs.stopping import StopFlag, turn

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bionas.dataset import Dataset


def evaluate(args: argparse.Namespace, stop: StopFlag) -> None:
    """Attack and analyse one trained trial: its evaluation file."""
    params = parameters.read(args.params, "evaluation")
    trained = store.read(args.trial / "train.h5")
    params = {"trial": trained.id, **params}
    sources = _sources(params, args.sources)
    for run in (trained, *(run for run, _ in sources.values())):
        plugins.demand(run.params.get("plugins", {}))
    made_by = code.of("evaluation", code.attacked(trained.params, params))
    with turn(args.out, trained.id, params, stop, made_by) as mine:
        if mine and trained.status == "ok":
            _evaluate(trained, params, sources, args, stop, made_by)
        elif mine:
            status = f"skipped(parent {trained.status})"
            here = {"code": made_by}
            store.write(args.out, store.Run(stage="evaluation", id=trained.id, params=params, status=status, provenance=here))
            print(f"{trained.id}: {status}; wrote {args.out}")


def _sources(params: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, tuple[store.Run, Path]]:
    """Return {rule: (run, its folder)} of the trials that make images for this one. Raises ValueError if one is missing."""
    found = {run.id: (run, folder) for folder in folders for run in [store.read(folder / "train.h5")]}
    for rule, id in params.get("sources", {}).items():
        if id not in found:
            raise ValueError(f"--sources: {id} is missing; images from {rule} are made on it")
    return {rule: found[id] for rule, id in params.get("sources", {}).items()}


def _evaluate(
    trained: store.Run,
    params: dict[str, Any],
    sources: Mapping[str, tuple[store.Run, Path]],
    args: argparse.Namespace,
    stop: StopFlag,
    made_by: str,
) -> None:
    seed = trained.params["seed"]
    here = machine.set_up(trained.params["device"], trained.params["threads"], seed, stop)
    import torch

    from bionas import attacks, dataset
    from bionas.seeds import generator
    from bionas.training import data

    made_by = code.joined(
        made_by, code.of("evaluation", code.attacked(trained.params, params))
    )  # it may have been edited while this job waited for a GPU
    weights = [run.metrics.get("weights_sha256", run.status) for run, _ in sources.values()]
    owner = {**params, "on": here.device.type, "weights": [trained.metrics["weights_sha256"], *weights]}
    checkpoint = Checkpoint(args.out, trained.id, owner, args.checkpoint_seconds, stop, made_by)
    content = dataset.read(args.data)
    model = _trained(trained, args.trial, content, here.device, args.data)
    failed = {rule: run.status for rule, (run, _) in sources.items() if run.status != "ok"}
    others = {
        f"from-{rule}": _trained(run, folder, content, here.device, args.data)
        for rule, (run, folder) in sources.items()
        if rule not in failed
    }
    arrays = _analysed(model, params.get("analyses", ()), trained, content, here.device)
    ids = torch.randperm(len(content.test_labels), generator=generator(0, "attacked images"))[: params["images"]].sort().values
    metrics: dict[str, Any] = {"images": len(ids)}
    if failed:
        metrics["left_out"] = "; ".join(f"from-{rule}: source {status}" for rule, status in failed.items())

    pairs = [(label, way) for label, attack in params["attacks"].items() for way in attack["gradients"] if way[5:] not in failed]
    # {label/gradient: chunks of outcomes so far}; an attack is done when it has all of its chunks.
    saved = checkpoint.load() or {"attacks": {}, "released": {}}
    done: dict[str, dict[str, Any]] = saved["attacks"]
    if pairs:
        images, labels = next(data.Split.of(content.test_images, content.test_labels, here.device).at(ids).chunks(len(ids)))
        if trained.params["settings"].get("backend", "native") == "native":
            cosine = attacks.gradient_cosine(model, images, labels)
            arrays["attacks/gradient_cosine"] = cosine.numpy()
            metrics["gradient_cosine"] = float(cosine.double().mean())
        _attack(_Attacked(trained.id, model, images, labels, others, seed), params, pairs, saved, checkpoint)

    outcomes = {key: {name: torch.cat(part[name]) for name in ("clean", "robust", "distance") if part[name]} for key, part in done.items()}
    metrics |= _accuracies(params, outcomes) | {f"released_accuracy_{label}": value for label, value in saved["released"].items()}
    for key, found in outcomes.items():
        arrays |= {"attacks/clean_correct": found["clean"].numpy(), f"attacks/{key}/robust_correct": found["robust"].numpy()}
        arrays |= {f"attacks/{key}/distance": found["distance"].float().numpy()} if "distance" in found else {}
    arrays |= {"attacks/image_ids": ids.numpy()} if outcomes else {}
    run = store.Run(
        stage="evaluation",
        id=trained.id,
        params=params,
        metrics=metrics,
        arrays=arrays,
        timings={
            **here.usage(),
            **{f"seconds_{key.replace('/', '_')}": part["seconds"] for key, part in done.items()},
        },
        provenance={**here.provenance(trained.params, params), "code": checkpoint.made_by},
    )
    store.write(args.out, run)
    checkpoint.remove()
    worst = [f"{name.removeprefix('worst_case_accuracy_')} {v:.2f} %" for name, v in metrics.items() if name.startswith("worst_case_")]
    said = f"worst case {', '.join(worst)} of {len(ids)} images" if worst else "analysed"
    print(f"{trained.id}: {said}; wrote {args.out}", flush=True)


class _Attacked(NamedTuple):
    """A trained network, what it is attacked on, and the networks that make images for it, by way."""

    id: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    others: Mapping[str, nn.Module]
    seed: int


def _attack(
    it: _Attacked, params: Mapping[str, Any], pairs: Sequence[tuple[str, str]], saved: dict[str, Any], checkpoint: Checkpoint
) -> None:
    """Run every attack by every way that `saved` does not hold yet, and put what came out into it."""
    import torch

    from bionas import attacks

    done, released = saved["attacks"], saved["released"]
    num_chunks = -(-len(it.labels) // attacks.CHUNK[it.images.device.type])
    with Bar(f"{it.id} attacks", len(pairs) * num_chunks, "chunks of images") as bar:
        for label, way in pairs:
            attack, settings = params["attacks"][label]["attack"], params["attacks"][label]["parameters"]
            part = done.setdefault(f"{label}/{way}", {"clean": [], "robust": [], "distance": [], "seconds": 0.0})
            before, source = len(part["clean"]), it.others.get(way)
            tick = time.monotonic()
            for outcome in attacks.chunks(it.model, it.images, it.labels, attack, way, settings, seed=it.seed, start=before, source=source):
                part["clean"].append(outcome.clean_correct)
                part["robust"].append(outcome.robust_correct)
                part["distance"] += [] if outcome.distance is None else [outcome.distance]
                part["seconds"] += time.monotonic() - tick
                tick = time.monotonic()
                bar.at(sum(len(p["clean"]) for p in done.values()))
                if checkpoint.due():
                    checkpoint.save(saved)
            robust = _percent(torch.cat(part["robust"]))
            note = f"{part['seconds']:7.2f} s" if before < num_chunks else "done before"
            bar.line(f"attack {label:10s} through {way:5s}  robust {robust:6.2f} %  {note}")
        for label in params.get("released", ()):
            if label not in released:
                attack, settings = params["attacks"][label]["attack"], params["attacks"][label]["parameters"]
                released[label] = attacks.released_accuracy(it.model, it.images, it.labels, attack, settings, seed=it.seed)
                bar.line(f"attack {label:10s} as the public evaluator counts it: {released[label]:6.2f} %")
                if checkpoint.due():
                    checkpoint.save(saved)


def _trained(run: store.Run, folder: Path, content: Dataset, device: Any, data: Path) -> nn.Module:
    """Return a trial's trained network, ready to be attacked. Raises ValueError if its weights or its data are others."""
    return network.trained(run, folder, content, data).to(device).eval()


def _analysed(model: nn.Module, names: Sequence[str], trained: store.Run, content: Dataset, device: Any) -> dict[str, Any]:
    """Return what the analyses find, by path."""
    found: dict[str, Any] = {}
    for name in names:
        analyse = catalog.load(catalog.ANALYSES[name])
        args = [_batches(trained, content, device)] if name == "gradients" else []
        found |= {f"analyses/{name}/{key}": array for key, array in analyse(model, *args).items()}
    return found


def _batches(trained: store.Run, content: Dataset, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of training images, without augmentation: the same ones for every network that learnt from batches of that size."""
    import torch

    from bionas.seeds import generator
    from bionas.training import data

    size = min(trained.params["settings"]["batch_size"], len(content.train_labels) // 2)  # two, at least
    chosen = torch.randperm(len(content.train_labels), generator=generator(0, "analysed batches"))[: BATCHES * size]
    chosen = chosen[: len(chosen) // size * size]
    yield from data.Split.of(content.train_images, content.train_labels, device).at(chosen).chunks(size)


def _accuracies(params: Mapping[str, Any], outcomes: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """Return clean and robust accuracies, and the worst case of every budget: images that every attack within it leaves right."""
    import torch

    if not outcomes:
        return {}
    found = {"clean_accuracy": _percent(next(iter(outcomes.values()))["clean"])}
    for budget, labels in budgets(params["attacks"]).items():
        within = [outcome["robust"] for key, outcome in outcomes.items() if key.rpartition("/")[0] in labels]
        if within:
            found[f"worst_case_accuracy_{budget}"] = _percent(torch.stack(within).all(0))
    return found | {f"robust_accuracy_{key.replace('/', '_')}": _percent(outcome["robust"]) for key, outcome in outcomes.items()}


def _percent(correct: Any) -> float:
    return 100 * int(correct.sum()) / len(correct)
