"""`python -m reports.tests.big TRIALS OUT`: a metrics file of so many trials, laid out as suite.collect does, with numbers out of a hat."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

from suite import store
from suite.definition import spec
from suite.plan import plan

IMAGES = 50
DEFINITION = """
name: big
about: many trials
datasets: [{datasets}]
seeds: [{seeds}]
device: cpu
search: {{methods: [darts], rule_sets: {{bio: [fa, usf]}}}}
cells: {{rules: [searched, shuffled, fa, usf, bp]}}
models: {{names: [resnet20, resnet56], rules: [bp, fa, usf, brsf, frsf], settings: {{epochs: 20}}}}
attacks: {{names: [fgsm, pgd, square], images: {images}}}
comparisons: [{{of: resnet20/bp, against: [resnet20/fa, resnet20/usf]}}]
"""
EACH = 15  # trials of a seed on a data set
DATASETS = ("cifar10", "cifar100", "fashion_mnist", "digits", "imagenet16_120")
GENOTYPE = json.dumps({kind: [["sep_conv_3x3:usf", 0], ["max_pool_3x3", 1]] for kind in ("normal", "reduce")})


def write(trials: int, out: Path) -> None:
    """Write a metrics file of about so many trials."""
    datasets = DATASETS[: 1 if trials < 500 else 5]
    seeds = max(1, round(trials / EACH / len(datasets)))
    text = DEFINITION.format(datasets=", ".join(datasets), seeds=", ".join(map(str, range(seeds))), images=IMAGES)
    planned, draws = plan(spec.parse(text)), np.random.default_rng(0)
    with h5py.File(out, "w") as file:
        file.attrs.update(format=store.FORMAT, benchmark=planned.name)
        file["plan"] = json.dumps(planned.to_dict(), sort_keys=True)
        file["definition"] = text
        file["verdict"] = "[]"
        file["provenance/other_code"] = json.dumps({"made": [], "rests": [], "anew": "", "confirm": ""})
        for id, search in planned.searches.items():
            store.write_group(file.create_group(f"search/{id}"), _search(id, search.params, draws))
        for id, trial in planned.trials.items():
            store.write_group(file.create_group(f"trial/{id}/train"), _train(id, trial, draws))
            store.write_group(file.create_group(f"trial/{id}/evaluation"), _evaluation(id, trial, draws))


def _provenance(seed):
    return {"device": "cpu", "commit": "0" * 40, "argv": "python -m suite.run", "seed": seed, "finished": "2026-01-01T00:00:00+00:00"}


def _search(id, params, draws):
    metrics = {"val_accuracy": 60 + 5 * draws.random(), "genotype": GENOTYPE, "candidates": 8, "alpha_span": 0.1}
    metrics |= {"images_trained": 1e6, "images_judged": 1e5, "multiply_adds": 1e12}
    arrays = {f"curves/{name}": np.sort(draws.random(20)) for name in ("val_accuracy", "alpha_span")}
    timings = {"seconds": 60.0, "search_seconds": 50.0}
    return store.Run("search", id, params, metrics=metrics, arrays=arrays, timings=timings, provenance=_provenance(params["seed"]))


def _train(id, trial, draws):
    error = 10 + len(trial.rules) + draws.normal()
    metrics = {"test_error": error, "test_images": 10_000, "train_loss": 0.5, "train_accuracy": 90.0, "num_parameters": 270_000}
    metrics |= {"flops": 40_000_000, "layers_bp": 1, "weights_bp": 10, f"layers_{trial.rules}": 20, f"weights_{trial.rules}": 270_000}
    metrics |= {"genotype": GENOTYPE} if trial.parent else {}
    names = ("train_loss", "train_accuracy", "val_accuracy")
    arrays = {f"curves/{name}": 100 * np.sort(draws.random(20)) for name in names}
    timings = {"seconds": 60.0, "peak_memory_mib": 500.0, "epoch_seconds": draws.random(20)}
    return store.Run("train", id, trial.params, metrics=metrics, arrays=arrays, timings=timings, provenance=_provenance(trial.seed))


def _evaluation(id, trial, draws):
    clean = draws.random(IMAGES) < 0.9
    arrays = {"attacks/clean_correct": clean, "attacks/image_ids": np.arange(IMAGES)}
    metrics = {"images": IMAGES, "clean_accuracy": 100 * clean.mean(), "gradient_cosine": 0.5}
    for label, way in trial.evaluation.pairs:
        robust = clean & (draws.random(IMAGES) < 0.5)
        arrays[f"attacks/{label}/{way}/robust_correct"] = robust
        metrics[f"robust_accuracy_{label}_{way}"] = 100 * robust.mean()
    params = {"trial": id, **trial.evaluation.params}
    return store.Run("evaluation", id, params, metrics=metrics, arrays=arrays, timings={"seconds": 9.0}, provenance=_provenance(trial.seed))


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
