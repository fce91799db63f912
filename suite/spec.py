"""YAML → a checked `Benchmark`. A mistake is one line: file, key, what was found, what is allowed. Imports no torch."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import data_prep
from bionas import catalog
from suite import explain

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Models:
    """Section `models`; `settings` holds what the definition says itself, without defaults."""

    names: tuple[str, ...]
    rules: tuple[str, ...]
    settings: Mapping[str, Any]
    by_rule: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Search:
    """One entry of section `search`; `settings` as in `Models`."""

    methods: tuple[str, ...]
    rule_sets: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """Return method-set of every search."""
        return [f"{method}-{name}" for method in self.methods for name in self.rule_sets]


@dataclass(frozen=True)
class Cells:
    """One entry of section `cells`; `settings` and `by_method` as in `Models`. Nothing said is None."""

    genotypes: tuple[str, ...]
    rules: tuple[str, ...]
    settings: Mapping[str, Any]
    by_method: Mapping[str, Mapping[str, Any]]
    searches: tuple[str, ...] | None = None
    train_on: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attacks:
    """Section `attacks`."""

    preset: str
    names: tuple[str, ...]
    gradients: tuple[str, ...]
    images: int


@dataclass(frozen=True)
class Benchmark:
    """A checked definition, defaults filled in; only settings stay as written, because a protocol's row comes between."""

    name: str
    about: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    protocols: tuple[str, ...]
    device: str
    threads: int
    models: Models | None
    searches: tuple[Search, ...]
    cells: tuple[Cells, ...]
    attacks: Attacks | None
    expect: Mapping[str, Mapping[str, Mapping[str, float]]]
    text: str = field(repr=False)
    tiny: bool = False


SECTIONS = {"models": Models, "attacks": Attacks}


def read(path: str | Path) -> Benchmark:
    """Read and check a definition. Raises ValueError with one line for any mistake in it."""
    path = Path(path)
    text = _text(path)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, [p.stem for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.with_name(near[0] + '.yaml')}?" if near else ""
        raise ValueError(f"{path}: no such definition{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable text file ({type(error).__name__})") from None


def listed(path: str | Path) -> list[Path]:
    """Return the definitions that a file stands for: those that it lists, or itself. Raises ValueError as `read` does."""
    path = Path(path)
    text = _text(path)
    try:
        raw = _load(text)
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


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse(text: str) -> Benchmark:
    """Check the text of a definition. Raises ValueError as `read` does, without the file's name."""
    raw = _load(text)
    if isinstance(raw, dict) and "definitions" in raw:
        raise ValueError(f"lists other definitions; name one of them here: {raw['definitions']}")
    _loosen(raw)
    from jsonschema import Draft202012Validator  # up to a second and a half that jobs, which read defaults alone, do not pay

    errors = sorted(Draft202012Validator(schema()).iter_errors(raw), key=explain.importance)
    if errors:
        raise ValueError(explain.line(errors[0]))
    raw = _complete(raw, schema())
    for part, key in [(raw, "datasets"), *((entry, "train_on") for entry in raw.get("cells", []) if "train_on" in entry)]:
        part[key] = [str(data_prep.Variant(**dataset)) for dataset in part[key]]
    benchmark = Benchmark(
        **{key: _frozen(raw[key]) for key in ("name", "about", "datasets", "seeds", "protocols", "device", "threads", "expect")},
        **{key: kind(**_frozen(raw[key])) if key in raw else None for key, kind in SECTIONS.items()},
        searches=tuple(Search(**_frozen(entry)) for entry in raw.get("search", [])),
        cells=tuple(Cells(**_frozen(entry)) for entry in raw.get("cells", [])),
        text=text,
    )
    _check_sense(benchmark)
    return benchmark


@cache
def schema() -> dict[str, Any]:
    """Return the format with the catalog's names put in."""
    names = {
        "datasets": list(data_prep.DATASETS),
        "protocols": list(protocols()),
        "models": list(catalog.MODELS),
        "rules": list(catalog.RULES),
        "model_rules": [*catalog.RULES, *catalog.NETWORK_RULES],
        "attacks": list(catalog.ATTACKS),
        "gradients": list(catalog.GRADIENTS),
        "presets": list(catalog.PRESETS),
        "methods": list(catalog.METHODS),
        "genotypes": list(catalog.GENOTYPES),
        "assignments": ["searched", "shuffled", *catalog.RULES],
    }
    raw = yaml.safe_load((HERE / "schema.yaml").read_text())
    sections = raw["properties"]

    def put_in(node: Any) -> Any:
        if isinstance(node, dict):
            if section := node.get("x-settings"):
                node = sections[section].get("items", sections[section])["properties"]["settings"]
            node = {key: put_in(value) for key, value in node.items()}
            return {**node, "enum": names[node["x-names"]]} if "x-names" in node else node
        return [put_in(value) for value in node] if isinstance(node, list) else node

    return put_in(raw)


@cache
def protocols() -> dict[str, dict[str, dict[str, Any]]]:
    """Return {protocol: {section: {setting: value}}}."""
    return yaml.safe_load((HERE / "protocols.yaml").read_text())


def default_settings(section: str) -> dict[str, Any]:
    """Return the format's default of every setting of a section."""
    node = schema()["properties"][section]
    properties = node.get("items", node)["properties"]["settings"]["properties"]
    return {name: node["default"] for name, node in properties.items()}


class _Loader(yaml.SafeLoader):
    """yaml.SafeLoader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is no text; put it in quotes", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _construct_finite(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = yaml.SafeLoader.construct_yaml_float(loader, node)
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(None, None, f"{node.value} is no finite number", node.start_mark)
    return value


_Loader.add_constructor("tag:yaml.org,2002:float", _construct_finite)


def _loosen(raw: Any) -> None:
    """Take what is meant: YAML reads the gradient's name `true` as a boolean, one mapping of `search` or `cells` is a list of one, and
    a data set's bare name is a mapping of nothing else."""
    if not isinstance(raw, dict):
        return
    for section in ("search", "cells"):
        if isinstance(raw.get(section), dict):
            raw[section] = [raw[section]]
    entries = [entry for entry in raw["cells"] if isinstance(entry, dict)] if isinstance(raw.get("cells"), list) else []
    for part, key in [(raw, "datasets"), *((entry, "train_on") for entry in entries)]:
        if isinstance(part.get(key), list):
            part[key] = [{"name": word} if isinstance(word, str) else word for word in part[key]]
    gradients = raw.get("attacks")
    if isinstance(gradients, dict) and isinstance(gradients.get("gradients"), list):
        gradients["gradients"] = ["true" if name is True else name for name in gradients["gradients"]]


def _complete(value: Any, node: dict[str, Any], fill: bool = True) -> Any:
    """Fill in defaults, except of settings, and give numbers one spelling: 30.0 epochs are 30, and a rate of 1 is 1.0."""
    if isinstance(value, dict) and "properties" in node:
        properties = node["properties"]
        defaults = {key: child["default"] for key, child in properties.items() if "default" in child and fill}
        return defaults | {key: _complete(item, properties[key], fill=key != "settings") for key, item in value.items()}
    if isinstance(value, dict) and isinstance(node.get("additionalProperties"), dict):
        return {key: _complete(item, node["additionalProperties"], fill=False) for key, item in value.items()}
    if isinstance(value, list):
        return [_complete(item, node["items"]) for item in value]
    try:
        return {"integer": int, "number": float}.get(node.get("type"), lambda same: same)(value)
    except OverflowError:
        raise ValueError(f"found a number of {len(str(value))} digits; allowed: what a float holds") from None


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _check_sense(benchmark: Benchmark) -> None:
    """Refuse what the format alone cannot see."""
    if benchmark.name == "runs" or benchmark.name.endswith("-tiny"):
        raise ValueError(f"name: {benchmark.name!r} is reserved")
    if not (benchmark.models or benchmark.searches or benchmark.cells):
        raise ValueError("nothing to run; allowed: one or more of the keys models, search and cells")
    searches = [name for search in benchmark.searches for name in search.names]
    for name in searches:
        if searches.count(name) > 1:
            raise ValueError(f"search: {name!r} stands twice")
    for i, cells in enumerate(benchmark.cells):
        for name in cells.searches or ():
            catalog.choose(f"cells.{i}.searches", name, searches)
        if not cells.genotypes and not (searches if cells.searches is None else cells.searches):
            raise ValueError(f"cells.{i}: no genotype to build; name published ones, or a search")
    for protocol in benchmark.protocols:
        for section, written in _written_settings(benchmark):
            key = section.partition(".")[0]
            merged = default_settings(key) | protocols()[protocol].get(key, {}) | written
            if merged.get("selection") == "best_val" and not merged["holdout"]:
                raise ValueError(
                    f"{section}.settings.selection: 'best_val' needs a held-out share; set holdout above 0, or selection: last"
                )
            if merged["nesterov"] and not merged["momentum"]:
                raise ValueError(f"{section}.settings.nesterov: needs a momentum above 0")
            if merged.get("backend") == "biotorch":
                if (merged["scale"], merged["init"]) != ("init_std", "xavier"):
                    raise ValueError(f"{section}.settings.backend: biotorch's layers know scale 'init_std' and init 'xavier' alone")
                for name in ("precision", "compile"):  # they crash, or are redrawn inside the graph
                    if merged[name] != (off := catalog.SPEED[name][0]):
                        raise ValueError(f"{section}.settings.{name}: {merged[name]!r} is not for biotorch's layers; allowed: {off}")
                own = section.removeprefix("models.by_rule.")
                for rule in [own] if own != section else benchmark.models.rules:
                    if rule not in catalog.BIOTORCH:
                        raise ValueError(f"{section}.settings.backend: biotorch has no rule {rule!r}; allowed for it: native")
            if merged.get("compile", "none") != "none":
                _check_compiled(section, merged, benchmark)
        for i, search in enumerate(benchmark.searches):
            merged = default_settings("search") | protocols()[protocol].get("search", {}) | search.settings
            if merged["warmup"] >= merged["epochs"] and any(method.startswith("eg") for method in search.methods):
                raise ValueError(f"search.{i}.settings.warmup: {merged['warmup']} epochs leave none of {merged['epochs']} to explore in")
    for pattern, bounds in benchmark.expect.items():
        for metric, bound in bounds.items():
            if bound.get("at_least", -math.inf) > bound.get("at_most", math.inf):
                raise ValueError(f"expect.{pattern}.{metric}: at_least lies above at_most; no number can keep both")


def _check_compiled(section: str, merged: Mapping[str, Any], benchmark: Benchmark) -> None:
    """Refuse what a graph of one training step cannot hold."""
    where = f"{section}.settings.compile"
    if merged["compile"] == "cudagraphs" and benchmark.device != "cuda":
        raise ValueError(f"{where}: cudagraphs needs device: cuda; found {benchmark.device}")
    if merged.get("drop_path"):
        raise ValueError(f"{where}: a network that drops paths is another one in every epoch; set drop_path: 0")
    if merged["brsf_redraw"] == "forward":
        raise ValueError(f"{where}: brsf_redraw 'forward' draws in every step; set brsf_redraw: update")
    if section.startswith("models"):
        for rule in set(benchmark.models.rules) & catalog.NETWORK_RULES.keys():
            raise ValueError(f"{where}: {rule!r} listens at the network's output, outside the graph; allowed with it: none")


def _written_settings(benchmark: Benchmark) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if models := benchmark.models:
        yield "models", models.settings
        for rule, settings in models.by_rule.items():
            yield f"models.by_rule.{rule}", models.settings | settings
    for i, search in enumerate(benchmark.searches):
        yield f"search.{i}", search.settings
    for i, cells in enumerate(benchmark.cells):
        yield f"cells.{i}", cells.settings
        for method, settings in cells.by_method.items():
            yield f"cells.{i}.by_method.{method}", cells.settings | settings
