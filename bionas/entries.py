"""What the catalog says of an attack, a search method or a data set, so that nothing of it need be imported to read a definition.

Imports nothing of ours: a plugin's module that makes one may be imported before the catalog, which imports that module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NORMS = ("linf", "l2", "l0")  # l0 counts pixels
BUDGETS = ("budget", "eps", "pixels")  # parameters of which the first one that an attack has says how far it may go
TARGET, MODULE = r"[^\W\d][\w.]*:[^\W\d]\w*", r"[^\W\d][\w.]*"
KINDS_SAID = "a tuple of words, bool, int or float"
TYPES: dict[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "boolean": (bool,)}
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@dataclass(frozen=True)
class Attack:
    """One attack: where it lives, what it is, and its parameters by preset (images in [0, 1])."""

    target: str
    norm: str  # in which its budget is counted: linf, l2, or l0 (pixels)
    source: str  # who proposes it here
    uses_gradient: bool = True
    minimal: bool = False  # looks for the nearest wrong image; judged by its distance against `budget`
    targets: bool = False  # has a targeted form: parameter `targeted`
    paper: dict[str, Any] | None = None  # paper §3.5; None where it has no such attack, and `standard` is taken
    standard: dict[str, Any] = field(default_factory=dict)  # 8/255 throughout, steps that can cross the ball
    more: tuple[str, ...] = ()  # parameters that no preset names
    fixed: dict[str, Any] = field(default_factory=dict)  # what makes it this attack and no other of its target
    classes: int = 2  # that its loss needs
    kinds: Mapping[str, Any] = field(default_factory=dict)  # of parameters that the catalog's KINDS do not have

    def mistakes(self, kinds: Collection[str]) -> Iterator[str]:
        """Yield what a plugin has wrong in it; `kinds`: parameters whose kind is known."""
        yield from _form("target", self.target, TARGET, "module:class")
        if self.norm not in NORMS:
            yield f"norm {self.norm!r}; allowed: {', '.join(NORMS)}"
        if not self.source or not isinstance(self.source, str):
            yield f"source {self.source!r}; allowed: who proposes it, in a few words"
        if not any(name in self.standard for name in BUDGETS):
            yield f"standard has none of {', '.join(BUDGETS)}; allowed: a preset that says how far the attack may go"
        for name, kind in self.kinds.items():
            if not (kind in (bool, int, float) or (isinstance(kind, tuple) and all(isinstance(word, str) for word in kind))):
                yield f"kind {kind!r} of parameter {name!r}; allowed: {KINDS_SAID}"
        for name in {**(self.paper or {}), **self.standard, **dict.fromkeys(self.more)}:
            if name not in kinds and name not in self.kinds:
                yield f"parameter {name!r} has no kind; allowed in kinds: {KINDS_SAID}"


@dataclass(frozen=True)
class Searcher:
    """One search method: its module (`NONE`, `MIXES`, `Settings`, `prepare`, `search`), and the settings that are its alone.

    `schema` describes those that suite/definition/schema.yaml does not, as that does: type or enum, bounds, default, description.
    """

    module: str
    settings: tuple[str, ...]
    mixes: bool = True  # trains the mixture of all candidates, and so its α; False: path by path
    schema: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def mistakes(self, settings: Collection[str]) -> Iterator[str]:
        """Yield what a plugin has wrong in it; `settings`: those of other methods, which schema.yaml describes."""
        yield from _form("module", self.module, MODULE, "a module's name")
        for name in self.settings:
            if name not in settings and name not in self.schema:
                yield f"setting {name!r} is not described; allowed in schema: its type or enum, default and description"
        for name, node in self.schema.items():
            if name not in self.settings or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                yield f"schema of {name!r}; allowed: of its settings, each of a-z, 0-9 and _, a letter first"
            yield from (f"setting {name!r}: {mistake}" for mistake in _node_mistakes(node))


@dataclass(frozen=True)
class DataSet:
    """One data set: the function of the raw folder that returns it, and what it holds, so that a plan can say what it costs."""

    target: str
    train: int
    test: int
    channels: int
    side: int
    classes: int

    def mistakes(self) -> Iterator[str]:
        """Yield what a plugin has wrong in it."""
        yield from _form("target", self.target, TARGET, "module:function")
        for name in ("train", "test", "channels", "side", "classes"):
            if type(number := getattr(self, name)) is not int or number < 1:
                yield f"{name} {number!r}; allowed: a whole number, 1 or more"


def _form(what: str, text: Any, pattern: str, allowed: str) -> Iterator[str]:
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        yield f"{what} {text!r}; allowed: {allowed}"


def _node_mistakes(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in the description of a setting."""
    known = ("type", "enum", *BOUNDS, "default", "description")
    if unknown := [key for key in node if key not in known]:
        yield f"key {unknown[0]!r}; allowed: {', '.join(known)}"
    if not isinstance(node.get("description"), str):
        yield "no description; allowed: a sentence"
    default, words = node.get("default"), node.get("enum")
    if words is not None:
        if default not in words or not all(isinstance(word, str) for word in words):
            yield f"default {default!r} of the words {words!r}; allowed: one of them"
    elif node.get("type") not in TYPES:
        yield f"type {node.get('type')!r}; allowed: {', '.join(TYPES)}, or an enum of words"
    elif not isinstance(default, TYPES[node["type"]]) or (isinstance(default, bool) and node["type"] != "boolean"):
        yield f"default {default!r}; allowed: of type {node['type']}"
    elif not (
        node.get("minimum", default) <= default <= node.get("maximum", default)
        and ("exclusiveMinimum" not in node or node["exclusiveMinimum"] < default)
        and ("exclusiveMaximum" not in node or default < node["exclusiveMaximum"])
    ):
        yield f"default {default!r}; allowed: within its bounds"
