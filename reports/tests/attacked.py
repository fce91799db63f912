"""Attacked networks made by hand: what stays right, image by image."""

from dataclasses import replace

import numpy as np

from bionas import catalog
from reports.tests.test_reports import trial

LINF = 8 / 255


def attack(name, *ways, preset="standard", **overrides):
    """The plan's entry of an attack, by its label."""
    parameters = catalog.parameters(name, preset, **overrides)
    return {catalog.label(name, preset, overrides): {"attack": name, "parameters": parameters, "gradients": list(ways)}}


def left(images, of):
    """Which of so many images stay right: the first ones."""
    return np.arange(of) < images


def network(rule, seed, planned, outcomes, clean=None, parent=None, distances=(), **metrics):
    """A trial with the attacks that were planned for it and {label/way: which images stay right}; `clean`: before any attack."""
    entry, train, evaluation = trial(rule, seed, 5.0, parent=parent)
    arrays = {f"attacks/{key}/robust_correct": np.asarray(found, dtype=bool) for key, found in outcomes.items()}
    (of,) = {len(found) for found in arrays.values()}
    arrays |= {"attacks/clean_correct": left(of, of) if clean is None else clean, "attacks/image_ids": np.arange(of)}
    arrays |= {f"attacks/{key}/distance": np.asarray(found, dtype=np.float32) for key, found in dict(distances).items()}
    entry["evaluation"] = {"id": "e", "images": of, "attacks": planned, "numerics": 8}
    found = {"images": of, "clean_accuracy": 100 * float(arrays["attacks/clean_correct"].mean())}
    found |= {f"robust_accuracy_{key.replace('/', '_')}": 100 * float(np.mean(each)) for key, each in outcomes.items()}
    return entry, train, replace(evaluation, metrics=found | metrics, arrays=arrays)
