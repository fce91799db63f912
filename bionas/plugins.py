"""What is added from outside this repository: by installed packages that name rules, networks, data sets, attacks, search methods.

A package names each as an entry point, by the name that definitions use:

    group              what the entry point is                                         who imports it
    bionas.rules       a `bionas.rules.table.Rule`                                     jobs
    bionas.models      a function or class (rule, num_classes, in_channels, options)   jobs
    bionas.datasets    a `bionas.entries.DataSet`                                      the driver, too: from a module without torch
    bionas.attacks     a `bionas.entries.Attack`                                       the same
    bionas.searchers   a `bionas.entries.Searcher`                                     the same

They are read once, when the catalog and `data_prep` take them into their own dictionaries. Nothing is raised then: what is wrong is
left out, and `check` says so to whoever reads a definition. A run that uses one has package and version among its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bionas.entries import TARGET

KINDS = {"rules": "rule", "models": "network", "datasets": "data set", "attacks": "attack", "searchers": "search method"}
NAME = r"[a-z][a-z0-9_]*"
METHOD = ("NONE", "MIXES", "Settings", "prepare", "search")  # what a search method's module has


@dataclass(frozen=True)
class Added:
    """One name that a package adds: `entry` is the entry point, `target` where the thing itself lives, for rules and networks the same."""

    package: str
    version: str
    kind: str
    name: str
    entry: str
    target: str
    mixes: bool = True

    def said(self, mistake: str) -> str:
        return f"plugin {self.package} {self.version}: entry point {self.name!r} of bionas.{self.kind}: {mistake}"


ADDED: dict[tuple[str, str], Added] = {}  # by kind and name
WRONG: dict[str, str] = {}  # by package, a line for the first thing that is wrong with it


@cache
def _points() -> Any:  # EntryPoints, which Python 3.11 has a second name for
    return entry_points()


@cache
def installed() -> dict[str, str]:
    """Return {package: version} of all plugins."""
    return {added.package: added.version for kind in KINDS for point in _points().select(group=f"bionas.{kind}") for added in [_of(point)]}


def found(
    kind: str, taken: Collection[str], like: type | None = None, mistakes: Callable[[Any], Iterable[str]] = lambda it: ()
) -> dict[str, Any]:
    """Return what packages add of a kind, by name: the entry point's text, or what it is if it has to be `like` something.

    `taken` are names that are in use. What is wrong is left out, and noted.
    """
    points = sorted(_points().select(group=f"bionas.{kind}"), key=lambda point: (_of(point).package, point.name))
    good: dict[str, Any] = {}
    for point in points:
        added = _of(point)
        others = [_of(other).package for other in points if other.name == point.name and other is not point]
        thing: Any = point.value
        mistake = next(_mistakes(point, kind, taken, others), "")
        if not mistake and like:
            thing, mistake = _loaded(point, like)
            mistake = mistake or next(iter(mistakes(thing)), "")
        if mistake:
            WRONG.setdefault(added.package, added.said(mistake))
            continue
        target: str = getattr(thing, "target", getattr(thing, "module", point.value))
        good[point.name] = thing
        ADDED[kind, point.name] = Added(added.package, added.version, kind, point.name, point.value, target, getattr(thing, "mixes", True))
    return good


def _mistakes(point: EntryPoint, kind: str, taken: Collection[str], others: Iterable[str]) -> Iterator[str]:
    if not re.fullmatch(NAME, point.name):
        yield "its name; allowed: a-z, 0-9 and _, a letter first"
    if point.name in taken:
        yield f"the name is taken here; allowed: another one for this {KINDS[kind]}"
    for other in others:
        yield f"{other} has a {KINDS[kind]} of this name, too; allowed: one of the two installed"
    if not re.fullmatch(TARGET, point.value):
        yield f"found {point.value!r}; allowed: module:attribute"


def _loaded(point: EntryPoint, like: type) -> tuple[Any, str]:
    try:
        thing = point.load()
    except Exception as error:  # a module of somebody else may raise anything
        return None, f"{point.value} cannot be imported ({_brief(error)}); allowed: a {like.__module__}.{like.__name__}"
    fits = isinstance(thing, like)
    return thing, "" if fits else f"{point.value} is of type {type(thing).__name__}; allowed: a {like.__module__}.{like.__name__}"


def _of(point: EntryPoint) -> Added:
    """Return whose an entry point is."""
    assert point.dist  # of whatever is installed
    package = re.sub(r"[-_.]+", "-", str(point.dist.name)).lower()
    return Added(package, point.dist.version or "unknown", point.group.rpartition(".")[2], point.name, point.value, point.value)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


# ---------------------------------------------------------------------------------------------- what is said of them


def check() -> None:
    """Raise ValueError with one line if something of a plugin is wrong."""
    for line in WRONG.values():
        raise ValueError(line)


def demand(needs: Mapping[str, str]) -> None:
    """Raise ValueError with one line unless these plugins are here, in these versions and in order."""
    for package, version in needs.items():
        if (here := installed().get(package)) != version:
            remedy = "install that one; for jobs in a container, add it to docker/plugins.txt and rebuild the image"
            raise ValueError(f"needs plugin {package} {version}; here is {here or 'none'}; {remedy}")
        if package in WRONG:
            raise ValueError(WRONG[package])


def used(*names: tuple[str, str]) -> dict[str, str]:
    """Return {package: version} of the plugins that add some of these names, each with its kind."""
    of = [ADDED[name] for name in names if name in ADDED] if ADDED else []
    return {added.package: added.version for added in sorted(of, key=lambda added: added.package)}


def package(kind: str, name: str) -> str:
    """Return the plugin that adds a name; nothing if it is ours."""
    return ADDED[kind, name].package if (kind, name) in ADDED else ""


def entries(needs: Collection[str], kind: str) -> list[str]:
    """Return the entry points of a kind of these plugins: what declares a thing is part of it."""
    return [added.entry for added in ADDED.values() if added.kind == kind and added.package in needs]


def tops() -> frozenset[str]:
    """Return the packages and modules that entry points of plugins lie in."""
    return frozenset(added.entry.partition(":")[0].partition(".")[0] for added in ADDED.values())


def words(kind: str, name: str) -> str:
    """Return package and version of the plugin that adds a name; nothing if none does."""
    return " ".join(found for pair in used((kind, name)).items() for found in pair)


# ---------------------------------------------------------------------------------------------- what jobs import


def load(target: str) -> Any:
    """Import what `module:attribute` names, or a module. What is wrong with a plugin's is a ValueError of one line."""
    added = next((added for added in ADDED.values() if added.target == target), None)
    module, _, attribute = target.partition(":")
    if added is None:
        return getattr(import_module(module), attribute) if attribute else import_module(module)
    try:
        thing = getattr(import_module(module), attribute) if attribute else import_module(module)
    except Exception as error:  # a module of somebody else may raise anything
        raise ValueError(added.said(f"{target} cannot be imported ({_brief(error)}); allowed: a {KINDS[added.kind]}")) from None
    for mistake in _unfit(added, thing):
        raise ValueError(added.said(f"{target} {mistake}"))
    return thing


def _unfit(added: Added, thing: Any) -> Iterator[str]:
    if added.kind == "rules":
        if not isinstance(thing, import_module("bionas.rules.table").Rule):
            yield f"is of type {type(thing).__name__}; allowed: a bionas.rules.table.Rule"
        elif thing.draw == "direct":
            yield "draws `direct`, as a rule of whole networks does; allowed: one that a layer follows by itself"
    elif added.kind == "searchers":
        if missing := [name for name in METHOD if not hasattr(thing, name)]:
            yield f"has no {', '.join(missing)}; allowed: a module with {', '.join(METHOD)}"
        elif thing.MIXES is not added.mixes:
            yield f"has MIXES = {thing.MIXES}, and its entry mixes={added.mixes}; allowed: the same"
    elif not callable(thing):
        yield f"is of type {type(thing).__name__}; allowed: a function or a class"
