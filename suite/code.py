"""Which code makes a run: a fingerprint of the files of ours that its stage imports. Imports no torch.

The files are found by reading, not by running: every import of the stage's entry module, and of what that imports, inside functions,
too, and what the run names in the catalog. Comments, docstrings and formatting do not count. It says that something was edited, not
that a number moved: `python -m suite.confirm` tells. Of plugins, those that a run uses are in it. Other packages are not; a run's
provenance has their versions.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bionas import catalog, plugins

ROOT = Path(__file__).parents[1]
OURS = ("bionas", "data_prep", "reports", "suite")
ENTRIES = {"search": "suite.jobs.search", "train": "suite.jobs.train", "evaluation": "suite.jobs.evaluate"}
DEMAND = "BIONAS_CODE"  # set by the workflow for jobs
DEMANDS = ("any", "equal")


def demanded() -> bool:
    """Say whether the workflow wants results of this code alone."""
    return os.environ.get(DEMAND) == "equal"


def of(stage: str, params: Mapping[str, Any], root: Path = ROOT) -> str:
    """Return the fingerprint of the code that makes a run; `params` are the search's or the trial's, an evaluation's trial's, too."""
    return fingerprint(roots(stage, params), root)


def roots(stage: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modules by which a run's code is reached: its entry, and what it loads by a name in the catalog."""
    needs = params.get("plugins", {})

    def mine(kind: str, names: Iterable[str]) -> list[str]:
        """Leave out what plugins add that the run does not use."""
        return [name for name in names if plugins.package(kind, name) in ("", *needs)]

    targets = [ENTRIES[stage], *(catalog.RULES[name] for name in mine("rules", catalog.RULES)), *catalog.NETWORK_RULES.values()]
    if stage == "search":
        targets.append(catalog.searcher(params["method"]).module)
    elif params["network"] in catalog.MODELS:
        targets.append(catalog.MODELS[params["network"]])
    if stage == "evaluation":
        targets += [*(catalog.ATTACKS[name].target for name in mine("attacks", catalog.ATTACKS)), *catalog.ANALYSES.values()]
    targets += [catalog.ANALYSES[name] for name in params.get("track", ())]
    targets += plugins.entries(needs, {"search": "searchers", "evaluation": "attacks"}.get(stage, ""))
    return tuple(sorted({_module(target) for target in targets}))


def attacked(trial: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `of` and `roots` take of an evaluation: its trial's parameters, with the plugins of both."""
    return {**trial, "plugins": {**trial.get("plugins", {}), **evaluation.get("plugins", {})}}


def fingerprint(roots: Iterable[str], root: Path = ROOT) -> str:
    """Return 16 hex digits for the files of ours that these modules import."""
    total = hashlib.sha256()
    for name, content in sorted(files(roots, root).items()):
        total.update(f"{name} {content}\n".encode())
    return total.hexdigest()[:16]


def files(roots: Iterable[str], root: Path = ROOT) -> dict[str, str]:
    """Return {module: hash of its file} of these modules and of all that they import, as far as it is ours."""
    found: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        folder = root if top in OURS else _folder(top)
        if name in found or folder is None:
            continue
        where = folder / name.replace(".", "/")
        path = next((p for p in (where.with_suffix(".py"), where / "__init__.py") if p.is_file()), None)
        if path:  # else it is something in a module: `from module import something`
            status = path.stat()
            found[name], imports = _read(name, path, status.st_mtime_ns, status.st_size)
            waiting += [name.rpartition(".")[0], *imports]
    return found


def joined(*fingerprints: str) -> str:
    """Return the fingerprint of a run to which several codes have added."""
    return "+".join(dict.fromkeys(part for fingerprint in fingerprints for part in fingerprint.split("+")))


@cache
def _folder(top: str) -> Path | None:
    """Return where a plugin's package or module lies; nothing for those of others."""
    spec = importlib.util.find_spec(top) if top in plugins.tops() else None
    if spec is None:
        return None
    inside = next(iter(spec.submodule_search_locations or ()), None)
    return Path(inside or spec.origin or "").parent


@cache
def _read(name: str, path: Path, _modified: int, _size: int) -> tuple[str, tuple[str, ...]]:
    """Return a file's hash and the modules that it may import."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{path}: line {error.lineno}: {error.msg}") from None
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    written: list[str] = []
    imports: set[str] = set()
    _write(tree, written, package, imports)
    return hashlib.sha256("".join(written).encode()).hexdigest(), tuple(sorted(imports))


def _is_idle(node: Any) -> bool:
    """Docstrings, and what only type checkers read."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Yield what a statement or a call imports; a name that is no module does no harm."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            source = ".".join([*above, *filter(None, [module])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in names)
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(target)), *_]):
            if called in ("import_module", "load"):
                yield _module(target)


def _write(node: Any, written: list[str], package: str, imports: set[str]) -> None:
    """Write a tree as `ast.dump` does, but the same under every Python: it leaves out what is empty, and idle. Note its imports on the way.

    One pass, by hand: a job reads some hundred files before it begins.
    """
    if isinstance(node, list):
        sign = "["
        for child in node:
            written.append(sign)
            _write(child, written, package, imports)
            sign = ","
        written.append("]")
    elif isinstance(node, ast.AST):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            imports.update(_imports(node, package))
        sign = f"{type(node).__name__}("
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                value = [child for child in value if not _is_idle(child)] or None
            if value is not None:
                written.append(f"{sign}{name}=")
                _write(value, written, package, imports)
                sign = ","
        written.append(")" if sign == "," else f"{sign})")
    else:
        written.append(repr(node))


def _module(target: str) -> str:
    """module:attribute → module."""
    return target.partition(":")[0]
