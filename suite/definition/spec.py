"""YAML → a checked `Benchmark`. A mistake is one line: file, key, what was found, what is allowed. Imports no torch."""

from __future__ import annotations

import itertools
import math
import os
import re
from pathlib import Path
from typing import Any

import data_prep
from bionas import catalog
from suite.definition import explain, sense
from suite.definition.benchmark import Attack, Attacks, Benchmark, Cells, Comparison, Models, Protocol, Search, Tune
from suite.definition.schema import complete, schema
from suite.definition.text import load, read_text

CHECKOUT = Path(__file__).parents[2]
COMBINATIONS = 1000  # of values of one attack's parameters
IMAGES = 1000  # that are attacked where no entry says
LONG = re.compile(r"\S{200,}")  # what a user wrote, quoted in an error


def read(path: str | Path) -> Benchmark:
    """Read and check a definition. Raises ValueError with one line for any mistake in it, in the catalog, or in a plugin."""
    catalog.check()
    path = Path(path)
    text = read_text(path)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def paths(words: str, checkout: Path = CHECKOUT) -> tuple[str, ...]:
    """Return the files that the user names, several with commas: a name in the checkout's benchmarks/, or a path that ends in .yaml."""
    return tuple(word if word.endswith(".yaml") else os.path.relpath(checkout / f"benchmarks/{word}.yaml") for word in words.split(","))


def named(words: str) -> list[Path]:
    """Return the definitions that the user's words stand for. Raises ValueError as `read` does."""
    return [file for path in paths(words) for file in listed(path)]


def listed(path: str | Path) -> list[Path]:
    """Return the definitions that a file stands for: those that it lists, or itself. Raises ValueError as `read` does."""
    path = Path(path)
    text = read_text(path)
    try:
        raw = load(text)
        if not isinstance(raw, dict) or "definitions" not in raw:
            return [path]
        for key in raw.keys() - {"name", "about", "definitions"}:
            raise ValueError(f"key {key!r} beside 'definitions'; allowed: name, about and definitions")
        names = raw["definitions"]
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("definitions: allowed: a list of names of files beside this one")
        near = sorted(other.stem for other in path.parent.glob("*.yaml") if other != path)
        return [path.with_name(f"{catalog.choose('definitions', name, near)}.yaml") for name in names]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str) -> Benchmark:
    """Check the text of a definition. Raises ValueError as `read` does, without the file's name."""
    try:
        return _parsed(text)
    except ValueError as error:
        raise ValueError(LONG.sub(lambda word: f"{word[0][:80]}…", str(error))) from None


def _parsed(text: str) -> Benchmark:
    raw = load(text)
    if isinstance(raw, dict) and "definitions" in raw:
        raise ValueError(f"lists other definitions; name one of them here: {raw['definitions']}")
    _loosen(raw)
    from jsonschema import Draft202012Validator, validators  # up to a second and a half that jobs, which read defaults alone, do not pay

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, found: isinstance(found, int) and not isinstance(found, bool))
    validator = validators.extend(Draft202012Validator, type_checker=checker)  # as written: JSON Schema takes 3.0 for an integer
    errors = sorted(validator(schema()).iter_errors(raw), key=explain.importance)
    if errors:
        raise ValueError(explain.line(errors[0]))
    raw = complete(raw, schema())
    for part, key in [(raw, "datasets"), *((entry, "train_on") for entry in raw.get("cells", []) if "train_on" in entry)]:
        part[key] = [str(data_prep.Variant(**dataset)) for dataset in part[key]]
    benchmark = Benchmark(
        **{key: _frozen(raw[key]) for key in ("name", "about", "datasets", "seeds", "device", "threads", "analyses", "expect")},
        protocols=tuple(Protocol(**_frozen(entry)) for entry in raw["protocols"]),
        models=Models(**_tuned(_frozen(raw["models"]))) if "models" in raw else None,
        attacks=_attacks(raw["attacks"], _datasets(raw)) if "attacks" in raw else None,
        searches=tuple(Search(**_frozen(entry)) for entry in raw.get("search", [])),
        cells=tuple(Cells(**_tuned(_frozen(entry))) for entry in raw.get("cells", [])),
        comparisons=tuple(Comparison(**_frozen(entry)) for entry in raw["comparisons"]),
        text=text,
    )
    sense.check(benchmark)
    return benchmark


def _loosen(raw: Any) -> None:
    """Take what is meant: YAML reads the gradient's name `true` as a boolean, one mapping of `search`, `cells` or `attacks` is a list
    of one, and the bare name of a data set, a protocol or an attack is a mapping of nothing else."""
    if not isinstance(raw, dict):
        return
    for section in ("search", "cells", "attacks"):
        if isinstance(raw.get(section), dict):
            raw[section] = [raw[section]]

    def entries(section: str) -> list[dict[str, Any]]:
        return [entry for entry in raw[section] if isinstance(entry, dict)] if isinstance(raw.get(section), list) else []

    named = [(raw, "datasets"), (raw, "protocols")]
    named += [(entry, "train_on") for entry in entries("cells")] + [(entry, "names") for entry in entries("attacks")]
    for part, key in named:
        if isinstance(part.get(key), list):
            part[key] = [{"name": word} if isinstance(word, str) else word for word in part[key]]
    for entry in entries("attacks"):
        if isinstance(entry.get("gradients"), list):
            entry["gradients"] = ["true" if name is True else name for name in entry["gradients"]]


def _datasets(raw: dict[str, Any]) -> list[str]:
    return [*raw["datasets"], *(name for entry in raw.get("cells", []) for name in entry.get("train_on", []))]


def _attacks(entries: list[dict[str, Any]], datasets: list[str]) -> Attacks:
    """Return every attack of every entry, one for each combination of values that it lists, in the catalog's order."""
    said = {f"attacks.{i}.images": entry["images"] for i, entry in enumerate(entries) if "images" in entry}
    first = next(iter(said), "")
    for where, images in said.items():
        if images != said[first]:
            raise ValueError(f"{where}: found {images}; allowed: {said[first]}, as {first} says, since attacks share their images")
        least = min(datasets, key=lambda name: data_prep.Variant.parse(name).size.test)
        if images > (test := data_prep.Variant.parse(least).size.test):
            raise ValueError(f"{where}: found {images}; allowed: at most {test}, which is how many test images {least} has")
    found: dict[str, Attack] = {}
    for i, entry in enumerate(entries):
        for j, written in enumerate(entry["names"]):
            where = f"attacks.{i}.names.{j}"
            name, preset = written["name"], entry["preset"]
            lists = {key: value if isinstance(value, list) else [value] for key, value in written.items() if key != "name"}
            if (product := math.prod(map(len, lists.values()))) > COMBINATIONS:
                raise ValueError(f"{where}: stands for {product} attacks, one for each combination; allowed: at most {COMBINATIONS}")
            for key, values in lists.items():
                if not values:
                    raise ValueError(f"{where}.{key}: is empty; allowed: at least 1")
            for one in itertools.product(*lists.values()):
                changed = dict(zip(lists, one, strict=True))
                try:
                    parameters = catalog.parameters(name, preset, **changed)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None
                label = catalog.label(name, preset, changed)
                if label in found:
                    raise ValueError(f"{where}: {label!r} stands twice; allowed: each attack with its parameters once")
                found[label] = Attack(
                    label,
                    name,
                    parameters,
                    gradients=tuple(sorted(entry["gradients"])),
                    transfer_from=tuple(sorted(entry["transfer_from"])),
                    released=entry["released"],
                    networks=_frozen(entry.get("networks")),
                    seeds=_frozen(entry.get("seeds")),
                )
    order = list(catalog.ATTACKS)
    return Attacks(said[first] if said else IMAGES, tuple(sorted(found.values(), key=lambda attack: order.index(attack.name))))


def _tuned(entry: dict[str, Any]) -> dict[str, Any]:
    """The grid in order, whatever the definition's."""
    tune = entry.get("tune")
    return {**entry, "tune": Tune(**{**tune, "lr": tuple(sorted(tune["lr"]))})} if tune else entry


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
