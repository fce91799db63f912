"""`python -m reports.tests.big TRIALS OUT`: a metrics file of about so many trials, laid out as suite.collect does; numbers out of a hat.

Data sets × networks × rules × seeds: two machines made it, some trainings diverged, and what is not attacked is skipped.
"""

import json
import math
import sys
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

import h5py
import numpy as np

from bionas.space import SearchSpace, random_genotype
from suite import store
from suite.definition import spec
from suite.plan import Plan, plan

DEFINITION = """
name: big
about: many trials
datasets: [{datasets}]
seeds: [{seeds}]
device: cpu
search: {{methods: [{methods}], rule_sets: {{{sets}}}}}
cells: {{rules: [searched, shuffled, fa, usf, brsf, frsf, bp]}}
models: {{names: [resnet20], rules: [bp, fa, usf, brsf, frsf], settings: {{epochs: 20}}}}
attacks: {{names: [fgsm, pgd, square, onepixel], images: {images}}}
comparisons:
  - {{about: "What does a rule cost?", of: resnet20/bp, against: [resnet20/fa, resnet20/usf, resnet20/brsf, resnet20/frsf]}}
  - {{about: "Does mixing help?", of: darts-bio/searched, against: [darts-bio/shuffled, darts-bio/bp]}}
expect: {{"trial/*/resnet20/bp/*": {{test_error: {{at_most: 12}}}}}}
"""
DATASETS = ("cifar10", "cifar100", "fashion_mnist", "digits", "imagenet16_120")
METHODS = ("darts", "random", "eg", "random-work")
RULES = ("fa", "usf", "brsf", "frsf")
SETS = [*chain.from_iterable(combinations(RULES, n) for n in (4, 3, 2, 1)), ("bp",)]
MACHINES = ({"processor": "AMD EPYC", "device": "cpu"}, {"processor": "Intel(R) Xeon(R) Gold 6248", "device": "NVIDIA H100 80GB HBM3"})
DIVERGES = 97  # every so many trainings
EPOCHS = 20


def definition(trials: int, images: int = 50) -> str:
    """Return a definition of about so many trials: the more, the more data sets and seeds, and searches on each."""
    datasets, seeds = (1, 3) if trials < 100 else (1, 5) if trials < 500 else (2, 5) if trials < 2_000 else (5, 5)
    searches = max(1, round((trials / datasets / seeds - 5) / 7))  # five models, seven assignments of a search's genotype
    methods = math.ceil(searches / len(SETS))
    chosen = SETS[: math.ceil(searches / methods)]
    return DEFINITION.format(
        datasets=", ".join(DATASETS[:datasets]),
        seeds=", ".join(map(str, range(seeds))),
        methods=", ".join(METHODS[:methods]),
        sets=", ".join(f"{'set' + str(i) if i else 'bio'}: [{', '.join(rules)}]" for i, rules in enumerate(chosen)),
        images=images,
    )


def write(trials: int, out: Path, images: int = 50) -> int:
    """Write a metrics file; return how many trials it has."""
    text = definition(trials, images)
    planned = plan(spec.parse(text))
    with h5py.File(out, "w") as file:
        file.attrs.update(format=store.FORMAT, benchmark=planned.name)
        file["plan"] = json.dumps(planned.to_dict(), sort_keys=True)
        file["definition"] = text
        file["verdict"] = "[]"
        file["provenance/other_code"] = json.dumps({"made": [], "rests": [], "anew": "", "confirm": ""})
        for path, run in runs(planned, images):
            store.write_group(file.create_group(path), run)
    return len(planned.trials)


def runs(planned: Plan, images: int) -> Iterator[tuple[str, store.Run]]:
    """Yield every run of a plan by its place in the file."""
    draws = np.random.default_rng(0)
    found = {}
    for id, search in planned.searches.items():
        found[id] = random_genotype(SearchSpace(search.rule_set), 4, id).to_json()
        yield f"search/{id}", _search(id, search, found[id], draws)
    for number, (id, trial) in enumerate(planned.trials.items()):
        diverged = number % DIVERGES == DIVERGES - 1
        yield f"trial/{id}/train", _train(id, trial, found.get(trial.parent), "diverged" if diverged else "ok", draws)
        if trial.evaluation:
            yield f"trial/{id}/evaluation", _evaluation(id, trial, images, "skipped(parent diverged)" if diverged else "ok", draws)


def _provenance(stage, run, draws):
    params = {"id": run.id, "seed": run.seed, "rules": getattr(run, "rules", "")}
    found = {"commit": "0" * 40, "dirty": "no", "image": "none", "image_digest": "none", "machine": "Linux x86_64", "instructions": "avx2"}
    found |= MACHINES[run.seed % 2] | {"threads": 1, "seed": run.seed, "python": "3.11.7", "code": "0123456789abcdef"}
    found |= {f"version_{name}": "1.2.3" for name in ("torch", "torchvision", "torchattacks", "numpy", "h5py")}
    found["argv"] = f"python -m suite.run {stage} --params {json.dumps(params)} --out results/runs/trial/{run.id}"
    return found | {"finished": f"2026-01-{1 + int(draws.integers(28)):02d}T00:00:00+00:00"}


def _search(id, search, genotype, draws):
    metrics = {"val_accuracy": 60 + 5 * draws.random(), "genotype": genotype, "candidates": 8, "alpha_span": draws.random()}
    metrics |= {"images_trained": 1_000_000, "images_judged": 100_000, "multiply_adds": 10**12, "train_loss": 0.5, "train_accuracy": 70.0}
    arrays = {f"curves/{name}": np.sort(draws.random(EPOCHS)) for name in ("val_accuracy", "alpha_span", "train_loss", "lr")}
    timings = {"seconds": 60 * (1 + draws.random()), "search_seconds": 50.0, "peak_memory_mib": 900.0}
    return store.Run("search", id, search.params, "ok", metrics, arrays, timings, _provenance("search", search, draws))


def _train(id, trial, genotype, status, draws):
    metrics = {"test_images": 10_000, "train_loss": 0.5, "train_accuracy": 90 + draws.random(), "num_parameters": 270_000}
    metrics |= {"test_error": round(10 + len(trial.rules) + draws.normal(), 2)} if status == "ok" else {}
    metrics |= {f"{what}_{rule}": 0 for what in ("layers", "weights") for rule in (*RULES, "bp")} | {"flops": 40_000_000}
    metrics |= {"layers_bp": 1, "weights_bp": 10, f"layers_{trial.rules}": 20, f"weights_{trial.rules}": 270_000, "train_images": 50_000}
    metrics |= {"test_loss": 0.5, "test_error_of": "last epoch", "weights_sha256": f"{int(draws.integers(2**62)):064x}"}
    metrics |= {"genotype": genotype} if genotype else {}
    names = ("lr", "train_loss", "train_accuracy", "val_accuracy", "val_loss")
    arrays = {f"curves/{name}": 100 * np.sort(draws.random(EPOCHS)) for name in names}
    timings = {"seconds": 60 * (1 + draws.random()), "peak_memory_mib": 500 + draws.random(), "epoch_seconds": draws.random(EPOCHS)}
    return store.Run("train", id, trial.params, status, metrics, arrays, timings, _provenance("train", trial, draws))


def _evaluation(id, trial, images, status, draws):
    params = {"trial": id, **trial.evaluation.params}
    provenance = _provenance("evaluate", trial, draws)
    if status != "ok":
        return store.Run("evaluation", id, params, status, timings={"seconds": 1.0}, provenance=provenance)
    clean = draws.random(images) < 0.9
    arrays = {"attacks/clean_correct": clean, "attacks/image_ids": np.arange(images)}
    metrics = {"images": images, "clean_accuracy": 100 * clean.mean(), "gradient_cosine": draws.random()}
    for label, way in trial.evaluation.pairs:
        robust = clean & (draws.random(images) < 0.5)
        arrays[f"attacks/{label}/{way}/robust_correct"] = robust
        metrics[f"robust_accuracy_{label}_{way}"] = 100 * robust.mean()
    timings = {"seconds": 9.0, "peak_memory_mib": 600.0, **{f"seconds_{label}_{way}": 1.0 for label, way in trial.evaluation.pairs}}
    return store.Run("evaluation", id, params, "ok", metrics, arrays, timings, provenance)


if __name__ == "__main__":
    print(f"{sys.argv[2]}: {write(int(sys.argv[1]), Path(sys.argv[2]))} trials")
