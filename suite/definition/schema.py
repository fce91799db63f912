"""The format of a definition (schema.yaml), its protocols (protocols.yaml), and their defaults."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

import data_prep
from bionas import catalog, plugins

HERE = Path(__file__).parent


@cache
def schema() -> dict[str, Any]:
    """Return the format with the catalog's names put in, and the settings of search methods that plugins add."""
    names = {
        "datasets": list(data_prep.DATASETS),
        "protocols": list(protocols()),
        "models": list(catalog.MODELS),
        "rules": list(catalog.RULES),
        "model_rules": [*catalog.RULES, *catalog.NETWORK_RULES],
        "attacks": list(catalog.ATTACKS),
        "gradients": list(catalog.GRADIENTS),
        "presets": list(catalog.PRESETS),
        "analyses": list(catalog.ANALYSES),
        "methods": list(catalog.METHODS),
        "genotypes": list(catalog.GENOTYPES),
        "assignments": [*catalog.ASSIGNMENTS, *catalog.RULES],
    }
    raw = yaml.safe_load((HERE / "schema.yaml").read_text())
    sections = raw["properties"]
    settings = sections["search"]["items"]["properties"]["settings"]["properties"]
    for method, searcher in catalog.SEARCHERS.items():
        for name, node in searcher.schema.items():
            if name in settings:
                raise ValueError(plugins.ADDED["searchers", method].said(f"setting {name!r} is there already; allowed: another name"))
            default = float(node["default"]) if node.get("type") == "number" else node["default"]
            settings[name] = {**node, "default": default, "description": f"{method} - {node['description']}"}

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
    """Return {protocol: {section: {setting: value}}}; a section's `by_method` says what differs by the search method."""
    return yaml.safe_load((HERE / "protocols.yaml").read_text())


def protocol_settings(protocol: str, section: str, method: str | None = None) -> dict[str, Any]:
    """Return a section's settings under a protocol, what it says of one search method alone included."""
    row = dict(protocols()[protocol].get(section, {}))
    by_method = row.pop("by_method", {})
    return default_settings(section) | row | by_method.get(method, {})


def default_settings(section: str) -> dict[str, Any]:
    """Return the format's default of every setting of a section."""
    node = schema()["properties"][section]
    properties = node.get("items", node)["properties"]["settings"]["properties"]
    return {name: node["default"] for name, node in properties.items()}


def complete(value: Any, node: dict[str, Any], fill: bool = True) -> Any:
    """Fill in defaults, except of settings, and give numbers one spelling: a rate of 1 is 1.0."""
    if isinstance(value, dict) and "properties" in node:
        properties = node["properties"]
        defaults = {key: child["default"] for key, child in properties.items() if "default" in child and fill}
        return defaults | {key: complete(item, properties.get(key, {}), fill=key != "settings") for key, item in value.items()}
    if isinstance(value, dict) and isinstance(node.get("additionalProperties"), dict):
        return {key: complete(item, node["additionalProperties"], fill=False) for key, item in value.items()}
    if isinstance(value, list):
        return [complete(item, node.get("items", {})) for item in value]
    try:
        return float(value) if node.get("type") == "number" else value
    except OverflowError:
        raise ValueError(f"found a number of {len(str(value))} digits; allowed: what a float holds") from None
