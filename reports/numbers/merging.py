"""Several metrics files of one definition as one: its seeds on several machines, or a benchmark of which each machine ran a part.

Definitions have to agree but for their seeds, device and threads, and so have the settings that they came to. Plans, runs, verdicts and
what is missing are joined; what is missing in one file and there in another is not missing. One seed of one network counts once: where
two files have it, their numbers have to be the same. The order of the files makes no difference.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from suite import store

FREE = ("device", "threads")  # of a definition, beside its seeds, wherever those stand
LISTS = {"searches": "search", "tuning": "trial", "trials": "trial"}  # of a plan, and where their runs lie
WHAT = ("dataset", "name", "network", "parent", "rules", "protocols")  # what a run is, beside its settings and its seed
AS = ("method", "rule_set", "settings", "overrides", "tuning")  # how it was made
LONGEST = 60


@dataclass(frozen=True)
class Source:
    """One file of those that a page is made from."""

    name: str
    seeds: tuple[int, ...]
    runs: int
    machines: tuple[str, ...]
    commits: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What a metrics file holds, or several of them; runs and their digests by their place in the file."""

    plan: Mapping[str, Any]
    definition: str
    verdict: Sequence[Mapping[str, Any]]
    missing: Sequence[Mapping[str, str]]
    other_code: Mapping[str, Any]
    runs: Mapping[str, store.Run]
    digests: Mapping[str, str]
    sources: tuple[Source, ...]
    again: tuple[store.Run, ...] = field(default=())  # the same numbers once more, of another file

    @property
    def name(self) -> str:
        return " and ".join(source.name for source in self.sources)


def read(paths: Sequence[Path], processes: int = 1) -> Part:
    """Read metrics files and join them. Raises ValueError, with the path, if one is none, and for files that are not to be joined."""
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise ValueError(f"{path}: stands twice; allowed: each file once")
        seen[path.resolve()] = path
    parts = {path: _load(path, processes) for path in paths}
    return _join([parts[path] for path in sorted(paths, key=lambda path: (parts[path].sources[0].seeds, _content(path)))])


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path, processes: int) -> Part:
    with store.opened(path) as file:
        if "plan" not in file:
            raise ValueError(f"{path}: not a metrics file; make one with python -m suite.collect")
        plan = json.loads(file["plan"].asstr()[()])
        definition, verdict = file["definition"].asstr()[()], json.loads(file["verdict"].asstr()[()])
        missing = json.loads(file["missing"].asstr()[()]) if "missing" in file else []
        other_code = json.loads(file["provenance/other_code"].asstr()[()]) if "provenance/other_code" in file else {}
    found = store.digested(path, processes)
    runs = {place: run for place, (run, _) in found.items()}
    digests = {place: digest for place, (_, digest) in found.items()}
    if any(isinstance(trial["evaluation"]["attacks"], list) for trial in plan["trials"] if trial["evaluation"]):
        raise ValueError(f"{path}: its attacks are written as an earlier version did; run the workflow again")
    ran = {run.id for run in runs.values()}
    seeds = tuple(sorted({_unit(entry) for kind in ("searches", "trials") for entry in plan[kind] if entry["id"] in ran}))
    commits = tuple(dict.fromkeys(str(run.provenance.get("commit", "unknown"))[:10] for run in runs.values()))
    source = Source(str(path), seeds, len(runs), tuple(dict.fromkeys(machine(run) for run in runs.values())), commits)
    return Part(plan, definition, verdict, missing, other_code, runs, digests, (source,))


def machine(run: store.Run) -> str:
    """Say where a run was made: its device, the processor and the system, as far as it says."""
    said = (str(run.provenance.get(name, "")) for name in ("device", "processor", "machine"))
    return ", ".join(dict.fromkeys(filter(None, said))) or "a machine that is not recorded"


def _unit(entry: Mapping[str, Any]) -> int:
    return int(entry.get("of_seed", entry["seed"]))


def _join(parts: Sequence[Part]) -> Part:
    """Join parts in an order of theirs, not of the arguments; one alone comes out as it would of its pieces."""
    for one, other in itertools.combinations(parts, 2):
        _agree(one, other)
    kept = {kind: _entries(parts, kind) for kind in ("searches", "trials")}
    kept["tuning"] = list({entry["id"]: entry for part in parts for entry in part.plan.get("tuning", [])}.values())
    places = {f"{where}/{entry['id']}" for kind, where in LISTS.items() for entry in kept[kind]}
    runs: dict[str, store.Run] = {}
    home: dict[str, Part] = {}
    again = []
    for part in parts:
        for place, run in part.runs.items():
            if place in runs:
                _same(place, home[place], part)
                again.append(run)
            else:
                runs[place], home[place] = run, part
    return Part(
        plan=_plan(parts, kept),
        definition=_text(parts),
        verdict=_verdict(parts, places, runs),
        missing=_missing(parts, places, runs),
        other_code=_other_code(parts),
        runs=runs,
        digests={place: part.digests[place] for place, part in home.items()},
        sources=tuple(source for part in parts for source in part.sources),
        again=tuple(again),
    )


# ------------------------------------------------------------------------------------------------------------- what must agree


def _agree(one: Part, other: Part) -> None:
    """Raise ValueError, with one line, unless the two are of one definition and of one state of its code."""
    both = f"{one.name} and {other.name}"
    allowed = "allowed: files of one definition, which may differ in its seeds, device and threads"
    names = [part.plan["benchmark"] for part in (one, other)]
    if names[0] != names[1]:
        raise ValueError(f"{both} are no one benchmark: {names[0]!r} and {names[1]!r}; {allowed}")
    if found := list(differing(_asked(one.definition), _asked(other.definition))):
        raise ValueError(f"{both} differ in their definitions: {_listed(found)}; {allowed}")
    numerics = [sorted({entry.get("numerics", 0) for kind in LISTS for entry in part.plan.get(kind, [])}) for part in (one, other)]
    if numerics[0] != numerics[1] and all(numerics):
        said = " and ".join(", ".join(map(str, each)) for each in numerics)
        raise ValueError(f"{both} are of other numerics, {said}: between them numbers moved; --against compares them")
    made = [_made(part) for part in (one, other)]
    for what in made[0].keys() & made[1].keys():
        ours, theirs = made[0][what], made[1][what]
        if ours.keys() != theirs.keys():
            left, right = (next((a[key] for key in a if key not in b), {}) for a, b in ((ours, theirs), (theirs, ours)))
            found = list(differing(left, right))
            if {name for name, _, _ in found} == {"tuning"}:
                remedy = "allowed: the same runs, as with only=… of one definition"
                raise ValueError(f"{both}: other runs chose the learning rate of {_said(what)}; {remedy}")
            raise ValueError(f"{both} differ in how they made {_said(what)}: {_listed(found)}; {allowed}")


def _asked(definition: str) -> Any:
    """Return what a definition asks for, without its seeds and where it runs."""
    try:
        raw = yaml.safe_load(definition)
    except yaml.YAMLError:
        return definition
    return {key: value for key, value in _seedless(raw).items() if key not in FREE} if isinstance(raw, dict) else raw


def _seedless(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _seedless(each) for key, each in value.items() if key != "seeds"}
    return [_seedless(each) for each in value] if isinstance(value, list) else value


def differing(one: Any, other: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (where, value, other value) of every place in which two values differ, by keys with dots; None stands for nothing there."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            yield from differing(one.get(key), other.get(key), f"{where}.{key}" if where else str(key))
    elif one != other and not (one != one and other != other):  # two NaN are none
        yield where, one, other


def _listed(found: Sequence[tuple[str, Any, Any]]) -> str:
    shown = "; ".join(f"{where or 'text'} is {_short(one)} and {_short(other)}" for where, one, other in found[:3])
    return f"{shown}; and {len(found) - 3} more" if len(found) > 3 else shown


def _short(value: Any) -> str:
    text = "not there" if value is None else " ".join(json.dumps(value, ensure_ascii=False, default=str).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _what(entry: Mapping[str, Any]) -> str:
    """What a run is, without its seed: a search's id names that, its folder does not."""
    parts = {name: entry.get(name) for name in WHAT}
    parts["parent"] = parts["parent"] and parts["parent"].rpartition("/")[0]
    return json.dumps(parts, sort_keys=True)


def _how(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in AS if name in entry}


def _said(what: str) -> str:
    parts = json.loads(what)
    return "/".join(filter(None, (parts["dataset"], parts["name"] or parts["network"], parts["rules"])))


def _made(part: Part) -> dict[str, dict[str, dict[str, Any]]]:
    """Return how every network and search of a plan was made; one may stand for several settings."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in ("searches", "trials"):
        for entry in part.plan[kind]:
            how = _how(entry)
            found.setdefault(_what(entry), {})[json.dumps(how, sort_keys=True)] = how
    return found


# ------------------------------------------------------------------------------------------------------------------ the joining


def _entries(parts: Sequence[Part], kind: str) -> list[Mapping[str, Any]]:
    """Return a plan's entries: those that differ in their seed alone together, by seed; and each seed once, on whatever device.

    Of two entries that differ in device or threads the one stays that ran. Raises ValueError if both did.
    """
    groups: dict[str, dict[tuple[int, int, str], tuple[Mapping[str, Any], Part]]] = {}
    for part in parts:
        for entry in part.plan[kind]:
            group = groups.setdefault(json.dumps([_what(entry), _how(entry)], sort_keys=True), {})
            slot = _unit(entry), entry["seed"], ""
            before, home = group.setdefault(slot, (entry, part))
            if home is part and before["id"] != entry["id"]:  # two in one file are two
                group[(*slot[:2], entry["id"])] = entry, part
            if home is part or not _ran(part, kind, entry):
                continue
            if not _ran(home, kind, before):
                group[slot] = entry, part
            elif before["id"] != entry["id"]:
                on = " and ".join(f"{which} has it on {_place(one)}" for which, one in ((home.name, before), (part.name, entry)))
                raise ValueError(f"{_said(_what(entry))} seed {entry['seed']}: {on}; one seed counts once; {_compare(home, part)}")
    return [entry for group in groups.values() for _, (entry, _) in sorted(group.items())]


def _ran(part: Part, kind: str, entry: Mapping[str, Any]) -> bool:
    path = f"{LISTS[kind]}/{entry['id']}"
    return any(place in part.runs for place in (path, f"{path}/train", f"{path}/evaluation"))


def _place(entry: Mapping[str, Any]) -> str:
    threads = entry.get("threads", 1)
    return f"device {entry.get('device', 'unknown')} with {threads} thread{'s' if threads != 1 else ''}"


def _compare(one: Part, other: Part) -> str:
    return f"to compare two machines or commits: python -m reports.render {other.name} OUT --against {one.name}"


def _same(place: str, one: Part, other: Part) -> None:
    """Raise ValueError unless two parts have the same numbers of a run."""
    if one.digests[place] != other.digests[place]:
        on = [machine(part.runs[place]) for part in (one, other)]
        where = f", made on {on[0]} and on {on[1]}" if on[0] != on[1] else ""
        raise ValueError(f"{place}: {one.name} and {other.name} have other numbers of it{where}; {_compare(one, other)}")


def _unique(rows: Iterable[Any]) -> list[Any]:
    return list({json.dumps(row, sort_keys=True): row for row in rows}.values())


def _plan(parts: Sequence[Part], kept: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    plans = [part.plan for part in parts]
    comparisons: dict[str, dict[str, Any]] = {}
    for named in (named for plan in plans for named in plan.get("comparisons", [])):
        key = json.dumps({name: value for name, value in named.items() if name != "seeds"}, sort_keys=True)
        before = comparisons.setdefault(key, {**named, "seeds": []})
        before["seeds"] = sorted({*before["seeds"], *named["seeds"]})
    joined = {**plans[0], **kept, "comparisons": list(comparisons.values())}
    joined["datasets"] = list(dict.fromkeys(name for plan in plans for name in plan["datasets"]))
    joined["skipped"] = _unique(row for plan in plans for row in plan["skipped"])
    joined["expect"] = {pattern: bounds for plan in plans for pattern, bounds in plan.get("expect", {}).items()}
    only = dict.fromkeys(plan["only"] for plan in plans if plan.get("only"))
    return joined | ({"only": " or ".join(only)} if only else {})


def _text(parts: Sequence[Part]) -> str:
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(part.definition, []).append(part.name)
    if len(found) == 1:
        return parts[0].definition
    return "\n".join(f"# ---- {' '.join(' and '.join(names).split())}\n{text}" for text, names in found.items())


def _verdict(parts: Sequence[Part], places: set[str], runs: Mapping[str, store.Run]) -> list[dict[str, Any]]:
    """Return one row a bound and run, of the file that found a number if one did; by what they bound, then by run."""
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in (dict(row) for part in parts for row in part.verdict):
        if len(parts) > 1 and row["run"] not in places:
            continue  # a seed that another device ran
        group = groups.setdefault((row["run"].rpartition("/")[0], row["metric"], row["bound"], row["limit"]), {})
        before = group.setdefault(row["run"], row)
        if before["found"] is None:
            group[row["run"]] = row
    rows = [row for group in groups.values() for _, row in sorted(group.items())]
    if len(parts) > 1:
        for row in rows:
            stages = (runs.get(place) for place in (row["run"], f"{row['run']}/train", f"{row['run']}/evaluation"))
            row["kept"] = row["kept"] and all(run.status == "ok" for run in stages if run)
    return rows


def _missing(parts: Sequence[Part], places: set[str], runs: Mapping[str, store.Run]) -> list[dict[str, str]]:
    """Return what no file has, with every file's reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in (row for part in parts for row in part.missing):
        there = (row["run"] if row["stage"] == "search" else f"{row['run']}/{row['stage']}") in runs
        if not there and (len(parts) == 1 or row["run"] in places):
            reasons.setdefault((row["run"], row["stage"]), []).append(row["reason"])
    return [{"run": run, "stage": stage, "reason": "; elsewhere: ".join(dict.fromkeys(why))} for (run, stage), why in reasons.items()]


def _other_code(parts: Sequence[Part]) -> dict[str, Any]:
    found: dict[str, Any] = {how: frozenset().union(*(part.other_code.get(how, ()) for part in parts)) for how in ("made", "rests")}
    for words in ("anew", "confirm"):
        said = [part.other_code[words] for part in parts if words in part.other_code]
        told = [part.other_code[words] for part in parts if words in part.other_code and part.other_code.get("made")]
        if said:
            found[words] = "; ".join(dict.fromkeys(told or said))
    return found
