"""A breach of the definition's format → one line for the user. Imports no torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from bionas import catalog

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

SYNONYMS = {"gpu": "cuda"}

TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "boolean": "true or false",
}


def importance(error: ValidationError) -> tuple[int, list[str]]:
    """Unknown names first: a search method that is not here has settings that are not, either. Then unknown keys: a misspelt one also
    makes a required one missing."""
    return (
        0 if "x-names" in error.schema else 1 if error.validator == "additionalProperties" else 2,
        [str(part) for part in error.absolute_path],
    )


def line(error: ValidationError) -> str:
    """Return where the mistake is, what was found, and what is allowed."""
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}: " if where else ""
    found, limit = error.instance, error.validator_value
    match error.validator:
        case "additionalProperties":
            allowed = list(error.schema["properties"])
            unknown = next(key for key in found if key not in allowed)
            near = difflib.get_close_matches(unknown, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{prefix}unknown key {unknown!r}; allowed: {', '.join(allowed)}{hint}"
        case "required":
            missing = next(key for key in limit if key not in found)
            what = re.split("[.;]", error.schema["properties"][missing]["description"])[0]
            return f"{prefix}key {missing!r} is missing: {what[0].lower()}{what[1:]}"
        case "enum":
            if SYNONYMS.get(found if isinstance(found, str) else "") in limit:
                return f"{prefix}{found!r} is unknown; allowed: {', '.join(map(str, limit))}; did you mean {SYNONYMS[found]!r}?"
            try:
                catalog.choose(where, found, [str(name) for name in limit])
            except ValueError as unknown:
                return str(unknown)
            return f"{prefix}found {_show(found)}; allowed: {', '.join(map(str, limit))}"
        case "type":
            hint = _list_hint(found, error.schema["items"]) if limit == "array" else _number_hint(found, limit)
            return f"{prefix}found {_show(found)}; allowed: {TYPES[limit]}{hint}"
        case "uniqueItems":
            twice = next(item for i, item in enumerate(found) if item in found[:i])
            return f"{prefix}{twice!r} stands twice"
        case "minItems" | "minProperties" | "minLength":
            return f"{prefix}{f'has {len(found)}' if found else 'is empty'}; allowed: at least {limit}"
        case "pattern":
            return f"{prefix}found {_show(found)}; allowed: lower-case letters, digits and hyphens"
        case _:
            words = {
                "minimum": "at least",
                "maximum": "at most",
                "maxLength": "letters, at most",
                "exclusiveMinimum": "more than",
                "exclusiveMaximum": "less than",
            }
            return f"{prefix}found {_show(found)}; allowed: {words.get(error.validator, error.validator)} {limit}"


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 100 else f"the text {value[:100]!r}… of {len(value)} letters"
    if isinstance(value, bool):
        return str(value).lower()
    return f"a {'list' if isinstance(value, list) else 'mapping'}" if isinstance(value, list | dict) else str(value)


def _list_hint(found: Any, items: Mapping[str, Any]) -> str:
    """Say how a list of one is written."""
    right = {"integer": int, "number": int | float}.get(items.get("type", ""), str)
    fits = isinstance(found, right) and not isinstance(found, bool) and re.fullmatch(r"[\w./-]{1,40}", str(found))
    return f"; write [{found}]" if fits else ""


def _number_hint(found: Any, wanted: str) -> str:
    """Say how the number is written that was meant: without quotes, without a point; YAML 1.1 reads 3e-4 as text, it wants both."""
    if wanted not in ("integer", "number") or not isinstance(found, str | float):
        return ""
    try:
        value = float(found)
    except ValueError:
        return ""
    spelling = f"{value:.10f}".rstrip("0").rstrip(".") if value == 0 or abs(value) >= 1e-10 else repr(value)
    if isinstance(found, float):
        return f"; write {spelling}" if value.is_integer() else ""
    quoted = not isinstance(yaml.safe_load(found), str)
    return f"; write {spelling}, without quotes" if quoted else f"; YAML reads {found} as text here, write {spelling}"
