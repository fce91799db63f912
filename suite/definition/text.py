"""Text → what YAML means by it: no key twice, no number that is none."""

from __future__ import annotations

import difflib
import io
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LARGEST = 2**20  # bytes of a definition: a thousand times a usual one
DEEPEST = 100  # lists and mappings in one another; Python has a limit of its own, but not always the same
MOST = 20_000  # words, lists and mappings in it, counted wherever an alias repeats them: a few lines of aliases of aliases are billions
LONGEST = 1000  # characters of a number

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
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"{path}: allowed: a definition of at most {LARGEST >> 20} MiB")
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, [p.stem for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.with_name(near[0] + '.yaml')}?" if near else ""
        if path.stem.endswith("-tiny"):
            hint = f"; {path.stem} is the folder of what {path.stem.removesuffix('-tiny')} makes at size tiny"
        raise ValueError(f"{path}: no such definition{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable text file ({type(error).__name__})") from None


def load(text: str) -> Any:
    """Return what the text says. Raises ValueError with the line of a mistake."""
    if len(text) > LARGEST:
        raise ValueError(f"allowed: a definition of at most {LARGEST >> 20} MiB")
    try:
        loader = _Loader(text)  # a SafeLoader
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST:
            raise ValueError(f"more than {MOST} values, those that aliases repeat included")
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        raise ValueError(f"line {text.count(chr(10), 0, error.position) + 1}: U+{error.character:04X} is no character of a text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ValueError(f"{where}{next((words for said, words in PLAIN.items() if said in problem), problem)}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _size(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """Count a node and all below it as often as they stand there, without writing them out. Raises ValueError for one that holds itself."""
    if depth > DEEPEST:
        raise ValueError(f"line {node.start_mark.line + 1}: nested too deeply")
    if id(node) not in known:
        known[id(node)] = -1
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = itertools.chain.from_iterable(below) if isinstance(node, yaml.MappingNode) else below
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    if known[id(node)] < 0:
        raise ValueError(f"line {node.start_mark.line + 1}: holds itself, by an alias")
    return known[id(node)]


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


def _constructing(kind: str, construct: Callable[[_Loader, yaml.ScalarNode], Any]) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    """Have what PyYAML cannot make of a text (2001-99-99, !!bool maybe) said as any other mistake."""

    def constructed(loader: _Loader, node: yaml.ScalarNode) -> Any:
        if len(str(node.value)) > LONGEST:
            raise yaml.constructor.ConstructorError(None, None, f"a number of {len(node.value)} characters", node.start_mark)
        try:
            return construct(loader, node)
        except (ValueError, OverflowError, AttributeError, KeyError, TypeError, IndexError):
            problem = f"{str(node.value)[:40]!r} is no {kind}; put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    return constructed


for kind, construct in {
    "float": _construct_finite,
    "int": yaml.SafeLoader.construct_yaml_int,
    "timestamp": yaml.SafeLoader.construct_yaml_timestamp,
    "bool": yaml.SafeLoader.construct_yaml_bool,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", _constructing(kind, construct))
