"""The format as editors read it: JSON Schema, draft 7, with the names of the catalog and what `spec` takes for what is meant.

`python -m suite.definition.editors` writes it to benchmarks/definition.schema.json, which the first line of every benchmark names: editors
with a YAML language server then complete keys and names, explain them, and mark what is wrong. What settings exclude each other the
format does not say; `suite.plan` does.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

from bionas import catalog
from bionas.files import replacing
from suite.definition.schema import HERE, schema

FILE = HERE.parents[1] / "benchmarks" / "definition.schema.json"
LINE = f"# yaml-language-server: $schema={FILE.name}"  # the first line of a definition in the same folder
ANCHORS = {r"\A": "^", r"\Z": "$"}  # Python's words for them, which JavaScript does not know
LISTS = ("search", "cells", "attacks")  # sections of which one mapping is a list of one


def exported() -> dict[str, Any]:
    """Return the format as a schema for editors."""
    root = _plain(copy.deepcopy(schema()))
    sections = root["properties"]
    for section in LISTS:
        entry = sections[section].pop("items")
        several = {"type": "array", "minItems": sections[section].pop("minItems"), "items": entry}
        sections[section] = {"description": sections[section]["description"], "anyOf": [entry, several]}
    entries = {section: sections[section]["anyOf"][0]["properties"] for section in LISTS}
    for part, key in ((sections, "datasets"), (sections, "protocols"), (entries["cells"], "train_on")):
        items = part[key]["items"]
        part[key]["items"] = {"anyOf": [{"enum": items["properties"]["name"]["enum"]}, items]}
    entries["attacks"]["names"]["items"] = {"anyOf": [{"enum": list(catalog.ATTACKS)}, *map(_attack, catalog.ATTACKS)]}
    entries["attacks"]["gradients"]["items"]["enum"].append(True)  # what YAML makes of the name true
    del entries["attacks"]["gradients"]["items"]["type"]
    shared = {section: sections[section]["anyOf"][0] for section in LISTS}
    shared |= {"models.settings": sections["models"]["properties"]["settings"], "cells.settings": entries["cells"]["settings"]}
    others = {
        "description": "Other definitions beside this one, by name: this one is nothing but their list.",
        "type": "array",
        "minItems": 1,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Written by python -m suite.definition.editors, from suite/definition/schema.yaml and the catalog.",
        "title": "A definition of BioNAS",
        "type": "object",
        "additionalProperties": False,
        "properties": _referring({**sections, "definitions": {**others, "items": {"type": "string"}}}, shared),
        "if": {"required": ["definitions"]},
        "then": {"propertyNames": {"enum": ["name", "about", "definitions"]}},
        "else": {"required": root["required"]},
        "definitions": {name: {key: _referring(value, shared) for key, value in node.items()} for name, node in shared.items()},
    }


def _plain(node: Any) -> Any:
    """Take away what is ours alone, write patterns as JavaScript does, and give keys that have names of the catalog a place each."""
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: _plain(value) for key, value in node.items() if not (isinstance(key, str) and key.startswith("x-"))}
    if isinstance(node.get("pattern"), str):
        for ours, theirs in ANCHORS.items():
            node["pattern"] = node["pattern"].replace(ours, theirs)
    if "enum" in node.get("propertyNames", ()):
        names, each = node.pop("propertyNames")["enum"], node.pop("additionalProperties")
        node |= {"properties": dict.fromkeys(names, each), "additionalProperties": False}
    return node


def _attack(name: str) -> dict[str, Any]:
    """Return what a mapping of an attack's name and parameters may be; each parameter has a value, or a list of them."""
    spec = catalog.ATTACKS[name]
    known = dict.fromkeys([*(spec.paper or {}), *spec.standard, *spec.more, *(["targeted"] if spec.targets else [])])
    given: dict[str, Any] = {"name": {"const": name}}
    for key in known:
        one = _kind({**catalog.KINDS, **spec.kinds}[key])
        given[key] = {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}
    return {"type": "object", "required": ["name"], "additionalProperties": False, "properties": given}


def _kind(kind: tuple[str, ...] | type) -> dict[str, Any]:
    if isinstance(kind, tuple):
        return {"enum": list(kind)}
    if kind is bool:
        return {"type": "boolean"}
    return {"type": "integer", "minimum": 1} if kind is int else {"type": "number", "minimum": 0}


def _referring(node: Any, shared: dict[str, Any]) -> Any:
    """Put references where something stands that is written once."""
    if isinstance(node, list):
        return [_referring(value, shared) for value in node]
    if not isinstance(node, dict):
        return node
    for name, meant in shared.items():
        if node == meant:
            return {"$ref": f"#/definitions/{name}"}
    return {key: _referring(value, shared) for key, value in node.items()}


def text() -> str:
    """Return the file's content."""
    return json.dumps(exported(), indent=1, ensure_ascii=False) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.definition.editors", description="Write the format of a definition as JSON Schema, for editors."
    )
    parser.add_argument("out", type=Path, nargs="?", default=FILE, help="file to write (default: benchmarks/definition.schema.json)")
    out = parser.parse_args(argv).out
    with replacing(out) as partial:
        partial.write_text(text(), encoding="utf-8")
    print(f"{out}: name it in a definition's first line: # yaml-language-server: $schema={out.name}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.definition.editors: {error}")
