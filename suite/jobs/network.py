"""A trial's network and its weights: built, written, read back and believed only when they are those that were trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import store
from suite.jobs import tensors
from suite.jobs.parameters import chosen

if TYPE_CHECKING:
    from torch import nn

    from bionas.dataset import Dataset


def build(params: Mapping[str, Any], content: Dataset, genotype: str | None) -> nn.Module:
    """Make the trial's network, a model of the catalog if there is no genotype, with its initial weights."""
    from bionas import catalog
    from bionas.networks import Network, Options, initialise
    from bionas.rules import convert
    from bionas.space import Genotype

    settings, classes, channels = params["settings"], len(content.classes), content.image_shape[0]
    options = chosen(Options, {**settings, "mean": content.mean, "std": content.std})
    if genotype is None:
        biotorch = settings.get("backend") == "biotorch"
        make = catalog.load(catalog.MODELS[params["network"]])
        model: nn.Module = make("bp" if biotorch else params["rules"], classes, channels, options=options)
        if biotorch:
            model, _ = convert(model, params["rules"], "biotorch", seed=params["seed"])
    else:
        single = params["rules"] in catalog.RULES and settings["single_rule_scope"] == "all"
        model = Network(
            Genotype.from_json(genotype),
            channels,
            classes,
            settings["channels"],
            settings["cells"],
            content.image_shape[1],
            auxiliary=settings["aux_weight"] > 0,
            scope="all" if single else settings["scope"],
            outer_rule=params["rules"] if single else settings.get("outer_rule", "bp"),
            released=not settings["skip_rules"] and not single,  # the public code's conversion finds the skips' convs, too
            options=options,
        )
    return initialise(model, params["seed"], settings["init"])


def load(folder: Path, data: Path) -> nn.Module:
    """Return a trial's trained network, in evaluation mode on the CPU, by the folder of its run and its data set's file.

    Raises ValueError if the training did not end well, or if weights or data are others than those that it was.
    """
    from bionas import dataset

    run = store.read(folder / "train.h5")
    if run.status != "ok":
        raise ValueError(f"{folder}: {run.status}; allowed: a training that ended well")
    return trained(run, folder, dataset.read(data), data).eval()


def trained(run: store.Run, folder: Path, content: Dataset, data: Path) -> nn.Module:
    """Return the network of a run with its weights. Raises ValueError if its weights or its data are others."""
    if content.checksum != run.metrics["dataset_checksum"]:
        raise ValueError(f"{data}: not the data that {run.id} was trained on")
    model = build(run.params, content, run.metrics.get("genotype"))
    load_weights(model, weights_of(folder / "train.h5"), run)
    return model


def weights_of(run: Path) -> Path:
    """Return where the weights of a trained run lie: beside it, of no concern to the workflow, since a skipped run has none."""
    return run.with_name("weights.pt")


def sha256(model: nn.Module) -> str:
    """Hash weights, buffers and the state of R."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.cpu().numpy().tobytes() if hasattr(value, "cpu") else json.dumps(value, sort_keys=True).encode())
    return total.hexdigest()


def save_weights(model: nn.Module, path: Path) -> None:
    tensors.write(path, {name: value.cpu() if hasattr(value, "cpu") else value for name, value in model.state_dict().items()})


def load_weights(model: nn.Module, path: Path, trained: store.Run) -> None:
    """Load the weights that `trained` was trained to. Raises ValueError if the file is missing, damaged or another run's."""
    try:
        model.load_state_dict(tensors.read(path))
    except Exception as error:  # what is not this network's makes torch raise almost anything
        what = str(error).partition("\n")[0].rstrip(":")
        raise ValueError(f"{path}: not readable weights ({what}); remove the run's folder and run it again") from None
    if sha256(model) != trained.metrics["weights_sha256"]:
        raise ValueError(f"{path}: not the weights that {trained.id} was trained to; remove its folder and run it again")
