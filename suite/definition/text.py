"""Text → what YAML means by it: no key twice, no number that is none."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any

import yaml

# What PyYAML says of the usual slips, and what is meant.
PLAIN = {
    "expected <block end>": "does not line up with the lines before it; keys of one mapping, and items of one list, start in one column",
    "mapping values are not allowed": "a second ':' in one line, or a line that is indented further than the key that it follows",
    "could not find expected ':'": "no ': ' after the key, a colon and a space",
    "found character '\\t'": "a tab; allowed: spaces",
    "expected ',' or": "a bracket that is not closed, or a comma that is missing",
    "found unexpected end of stream": "a quote that is not closed",
}


def read_text(path: Path) -> str:
    """Return a definition's text. Raises ValueError for a file that is not there, with a guess, or not readable."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, [p.stem for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.with_name(near[0] + '.yaml')}?" if near else ""
        raise ValueError(f"{path}: no such definition{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable text file ({type(error).__name__})") from None


def load(text: str) -> Any:
    """Return what the text says. Raises ValueError with the line of a mistake."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ValueError(f"{where}{next((words for said, words in PLAIN.items() if said in problem), problem)}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """yaml.SafeLoader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *others, whose keys give way to those written here
                continue
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
