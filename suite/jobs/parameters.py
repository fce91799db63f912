"""A job's parameters: read, and really its own. Imports no torch, so that a wrong parameter is said before seconds of import."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bionas import catalog, plugins
from suite.definition import schema
from suite.definition.runs import run_id, section_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from bionas.dataset import Dataset

T = TypeVar("T", bound="DataclassInstance")
COMMON_KEYS = ("id", "dataset", "seed", "settings", "device", "threads", "numerics")
KEYS = {
    "search": (*COMMON_KEYS, "name", "method", "rule_set"),
    "trial": (*COMMON_KEYS, "network", "parent", "rules"),
    "evaluation": ("attacks", "images", "numerics"),
}
OPTIONAL = {
    "search": ("ranking", "plugins"),
    "trial": ("of_seed", "tuning", "track", "plugins"),
    "evaluation": ("analyses", "released", "sources", "plugins"),
}  # few runs have these
PLANNED_ONLY = ("protocols", "overrides", "evaluation")


def read(text: str, stage: str) -> dict[str, Any]:
    """Read a job's parameters. Raises ValueError if they are not JSON, not those of such a job, or if their id is not theirs."""
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--params: not JSON ({error})") from None
    if isinstance(params, dict):  # an entry of the plan says more than its job needs
        params = {key: value for key, value in params.items() if key not in PLANNED_ONLY}
    found = sorted(params.keys() - OPTIONAL[stage]) if isinstance(params, dict) else type(params).__name__
    if found != sorted(KEYS[stage]):
        raise ValueError(f"--params: found {found}; allowed: a mapping with {', '.join(KEYS[stage])}")
    if not isinstance(needs := params.get("plugins", {}), dict):
        raise ValueError(f"--params: plugins: found {needs!r}; allowed: a mapping of packages to versions")
    plugins.demand(needs)
    if stage == "evaluation":
        _check_evaluation(params)
    else:
        _check_id(params, stage)
    for name in (*params.get("analyses", ()), *params.get("track", ())):
        catalog.choose("--params: analysis", name, catalog.ANALYSES)
    return params


def _check_evaluation(params: dict[str, Any]) -> None:
    try:
        for label, attack in params["attacks"].items():
            catalog.parameters(attack["attack"], "standard", **attack["parameters"])
            unknown = {way for way in attack["gradients"] if way not in (*catalog.GRADIENTS, "none")} - {
                f"from-{r}" for r in params.get("sources", {})
            }
            if unknown:
                raise ValueError(f"{label}: gradients {', '.join(sorted(unknown))} unknown")
        for label in params.get("released", ()):
            catalog.choose("released", label, params["attacks"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"--params: not those of an evaluation ({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise ValueError(f"--params: {error}; plan again") from None


def _check_id(params: dict[str, Any], stage: str) -> None:
    try:
        id = run_id(stage, {key: value for key, value in params.items() if key != "id"})
    except (AttributeError, TypeError) as error:
        raise ValueError(f"--params: not those of a {stage} ({error})") from None
    unknown = params["settings"].keys() - schema.default_settings(section_of(stage, params)).keys()
    if unknown:
        raise ValueError(f"--params: settings {', '.join(sorted(unknown))} unknown; plan again")
    if params["id"] != id:
        raise ValueError(f"--params: these parameters are run {id}, not {params['id']}; plan again")


def check_data(content: Dataset, params: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a data set's file was made by another plugin than the one that this run counts on, or in another version."""
    wanted = plugins.words("datasets", params["dataset"].partition("-")[0])
    if content.plugin != wanted:
        found = f"was made by {content.plugin or 'no plugin'}; {params['id']} counts on {wanted or 'none'}"
        raise ValueError(f"{path}: {found}; remove it, and it is made again")


def chosen(kind: type[T], settings: dict[str, Any]) -> T:
    """Make a settings dataclass of the settings that are its own. Raises ValueError if one is missing."""
    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    missing = [name for name, required in fields.items() if required and name not in settings]
    if missing:
        raise ValueError(f"--params: settings {', '.join(missing)} missing; plan again")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items() if name in fields})
