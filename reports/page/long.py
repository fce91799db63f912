"""Tables with a row a run: written out while they are short; beyond that packed, for the script to unpack (runs.js)."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reports.numbers import masking, tables
from reports.numbers.attacked import NONE, TRANSFER, TRUE
from reports.numbers.names import colour, spell
from reports.numbers.statistics import proportion
from reports.numbers.writing import duration, fixed, full, interval, p_value, status
from suite import store

WRITTEN = 200  # rows that a page has without a script
OWN = ("argv", "finished", "seed")  # of provenance: what every run has of its own
MACHINE = ("device", "machine", "processor", "instructions", "threads")
SELF_EVIDENT = ("device", "machine", "processor")
WAYS = {TRUE: "true gradient", NONE: "no gradient", TRANSFER: "transfer"}
VENV = ".venv/bin/"
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Column:
    """A column: what is shown and, of numbers, what it sorts and exports by; the script reads it under the same names."""

    title: str
    texts: Sequence[str]
    numbers: Sequence[float | None] | None = None
    ends: Sequence[tuple[float, float] | None] | None = None  # of the number's interval, or of a column of intervals
    filter: str = ""
    kind: str = ""  # run, rule, command, words, bad (unless it is `ok`), interval


@dataclass(frozen=True)
class Long:
    """A table that has a row a run, or more."""

    id: str
    label: str
    columns: tuple[Column, ...]
    counts: Mapping[str, int] = field(default_factory=dict)  # what its rows are, for who reads without a script

    def __len__(self) -> int:
        return len(self.columns[0].texts)

    @cached_property
    def packed(self) -> str:
        """All of it as JSON, gzip and base64; nothing where it is written out."""
        if len(self) <= WRITTEN:
            return ""
        return _packed(json.dumps([_plain(column) for column in self.columns], ensure_ascii=False, separators=(",", ":")))

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the cells of every row."""
        for i in range(len(self)):
            yield [
                {
                    "text": column.texts[i],
                    "number": column.numbers[i] if column.numbers is not None else None,
                    "ends": column.ends[i] if column.ends is not None else None,
                    "column": column,
                }
                for column in self.columns
            ]


def packed(rows: str) -> str:
    """Pack a table's rows as they are written; nothing if they are few."""
    return _packed(rows) if rows.count("<tr>") > WRITTEN else ""


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _plain(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": column.kind, "texts": column.texts}
    if column.numbers is not None:
        found["order"] = [full(number) for number in column.numbers]
    if column.ends is not None:
        found["low"], found["high"] = ([full(ends and ends[side]) for ends in column.ends] for side in (0, 1))
    if column.kind == "rule":
        found["rules"] = {rule: [spell(rule), colour(rule)] for rule in dict.fromkeys(column.texts)}
    return found


# ------------------------------------------------------------------------------------------------------------------ the tables


@dataclass(frozen=True)
class _Made:
    """A run and what it is of."""

    run: store.Run
    dataset: str
    network: str
    rules: str
    protocols: str
    seed: int | None
    again: int | None = None  # the definition's seed, of a retraining


def _made(results: tables.Results) -> Iterator[_Made]:
    """Yield every run in the order of `Results.runs`."""
    for group in results.searches:
        for seed, run in group.runs.items():
            yield _Made(run, group.dataset, group.name, "", ", ".join(group.protocols), seed)
    entries = {entry["id"]: entry for entry in results.plan.get("tuning", [])}
    for id, run in results.tuning.items():
        e = entries[id]
        yield _Made(run, e.get("dataset", ""), e.get("network", ""), e.get("rules", ""), ", ".join(e.get("protocols", ())), e.get("seed"))
    for block in results.blocks:
        for variant in block.variants:
            what = variant.dataset, variant.name, variant.rules, ", ".join(variant.protocols)
            for runs in (variant.trains, variant.evaluations):
                for seed, run in runs.items():
                    yield _Made(run, *what, seed, variant.of_seed.get(seed))


def runs(results: tables.Results) -> Long:
    """Every run: what it is, how it ended, what it took, and where it comes from as far as that is not the same for all."""
    made = list(_made(results))
    found = [each.run for each in made]
    errors = [run.metrics.get("test_error") if run.stage == "train" and run.status == "ok" else None for run in found]
    images = [tables.images_of(run, "test_error") for run in found]
    ends = [proportion(e, n) if e is not None and e == e and n else None for e, n in zip(errors, images, strict=True)]
    seconds = [float(run.timings["seconds"]) if "seconds" in run.timings else None for run in found]
    memory = [float(run.timings["peak_memory_mib"]) if "peak_memory_mib" in run.timings else None for run in found]
    again = [f"{each.seed} (of {each.again})" if each.again is not None else "" for each in made]
    counts: dict[str, int] = {}
    for run in found:
        what = f"{run.stage} {status(run.status)}"
        counts[what] = counts.get(what, 0) + 1
    columns = [
        Column("run", [run.id for run in found], kind="run"),
        Column("stage", [run.stage for run in found], filter="stage"),
        Column("data", [each.dataset for each in made], filter="dataset"),
        Column("network", [each.network for each in made], filter="network"),
        Column("rules", [each.rules for each in made], filter="rule", kind="rule"),
        Column("protocol", [each.protocols for each in made], filter="protocol") if results.protocols_differ else None,
        Column(
            "seed",
            [words or ("–" if each.seed is None else str(each.seed)) for words, each in zip(again, made, strict=True)],
            [each.seed for each in made],
            filter="seed",
        ),
        Column("status", [status(run.status) + _mark(results, run) for run in found], filter="status", kind="bad"),
        Column(
            "test error, %", [f"{_written(e)} {interval(each, '.2f')}".strip() for e, each in zip(errors, ends, strict=True)], errors, ends
        ),
        Column("time", ["–" if s is None else duration(s) for s in seconds], seconds),
        Column("memory, MiB", [_written(mib, 0) for mib in memory], memory),
        Column("finished, UTC", [_when(run) for run in found]),
        *_differing(found),
        Column("command", [command(str(run.provenance.get("argv", ""))) for run in found], kind="command"),
    ]
    return Long("runs", "Runs", tuple(column for column in columns if column), counts)


def _mark(results: tables.Results, run: store.Run) -> str:
    return "†" if results.by_other_code([run]) else ""


def _written(number: float | None, digits: int = 2) -> str:
    return "–" if number is None else fixed(number, digits)


def _when(run: store.Run) -> str:
    """2026-11-27T00:28:44+00:00 → 2026-11-27 00:28."""
    said = str(run.provenance.get("finished", "–"))
    return said[:16].replace("T", " ") if said.endswith("+00:00") else said


def _differing(found: Sequence[store.Run]) -> Iterator[Column]:
    """Yield what provenance says of each run where it is not the same for all: of its machine, and of its code and libraries."""
    names = dict.fromkeys(name for run in found for name in run.provenance if name not in OWN)
    differ = [name for name in names if len({str(run.provenance.get(name, "")) for run in found}) > 1]
    for title, chosen in (
        ("machine", [name for name in MACHINE if name in differ]),
        ("code", [name for name in differ if name not in MACHINE]),
    ):
        if chosen:
            yield Column(title, [_told(run, chosen) for run in found], filter=title)


def _told(run: store.Run, names: Sequence[str]) -> str:
    said = [(name, str(run.provenance[name])) for name in names if name in run.provenance]
    words = [value if name in SELF_EVIDENT else f"{name.removeprefix('version_').replace('_', ' ')} {value}" for name, value in said]
    return "; ".join(words) or "–"


def networks(results: tables.Results) -> Long:
    """Every network's test error, and what the test images alone leave open about it."""
    trains = [run for block in results.blocks for variant in block.variants for run in variant.trains.values() if run.status == "ok"]
    found = [run for run in trains if run.metrics.get("test_error") is not None and tables.images_of(run, "test_error")]
    errors = [float(run.metrics["test_error"]) for run in found]
    ends = [proportion(e, tables.images_of(run, "test_error")) if e == e else None for e, run in zip(errors, found, strict=True)]
    columns = (
        Column("run", [run.id for run in found], kind="run"),
        Column("test error, %", [_written(error) for error in errors], errors),
        Column(
            "95 % interval", [interval(each, ".2f") or "–" for each in ends], [each and each[0] for each in ends], ends, kind="interval"
        ),
    )
    return Long("accuracy-networks", "Every network", columns)


def verdicts(masked: Sequence[masking.Row]) -> Long:
    """What is said of every attacked network."""
    found = [verdict for row in masked for verdict in row.verdicts]
    left_out = [str(verdict.network.run.metrics.get("left_out", "")) for verdict in found]
    columns = [Column("run", [verdict.network.run.id for verdict in found], kind="run")]
    columns += [Column("verdict", [verdict.words for verdict in found], kind="words")]
    columns += [Column("left out", left_out)] if any(left_out) else []
    return Long("robustness-networks", "Every network's verdict", tuple(columns))


def tests(results: tables.Results, masked: Sequence[masking.Row]) -> Long:
    """Every test of whether a network's own gradient masks how easily it breaks."""
    found = [(row.variant, v.network, p, step) for row in masked for v in row.verdicts for p, step in v.tests]
    pairings, counted = [pairing for _, _, pairing, _ in found], ("own", "others", "only_others", "only_own", "images")
    titles = ("own leaves", "others leave", "only others break", "only its own breaks", "images")
    numbers = [[getattr(pairing, name) for pairing in pairings] for name in counted]
    columns = [
        Column("data", [variant.dataset for variant, *_ in found], filter="dataset"),
        Column("network", [variant.name for variant, *_ in found], filter="network"),
        Column("rules", [variant.rules for variant, *_ in found], filter="rule", kind="rule"),
        Column("protocol", [", ".join(v.protocols) for v, *_ in found], filter="protocol") if results.protocols_differ else None,
        Column(
            "seed",
            [f"{network.seed}{_mark(results, network.run)}" for _, network, *_ in found],
            [network.seed for _, network, *_ in found],
            filter="seed",
        ),
        Column("within", [pairing.budget.words for pairing in pairings]),
        Column("its own gradient against", [WAYS[pairing.kind] for pairing in pairings]),
        *(Column(title, [f"{n:,}" for n in of], of) for title, of in zip(titles, numbers, strict=True)),
        Column("p (Holm)", [p_value(step.p) for *_, step in found], [step.p for *_, step in found]),
    ]
    return Long("robustness-tests", "Every test", tuple(column for column in columns if column))


# ------------------------------------------------------------------------------------------------------------------- provenance


def provenance(results: tables.Results) -> dict[str, list[str]]:
    """Every value that a provenance field takes over all runs, but for those that belong to one run."""
    found: dict[str, dict[str, None]] = {}
    for run in (*results.runs, *results.again):
        for name, value in run.provenance.items():
            if name not in OWN:
                found.setdefault(name, {})[str(value)] = None
    return {name: list(values) for name, values in found.items()}


def command(argv: str) -> str:
    """Write a recorded command as a shell takes it: its words are joined by spaces there, and of them JSON alone has some within."""
    words, at = [], 0
    while at < len(argv):
        end = argv.find(" ", at) if " " in argv[at:] else len(argv)
        if argv[at] in "{[":
            try:
                _, whole = DECODER.raw_decode(argv, at)
                end = whole if argv[whole : whole + 1] in ("", " ") else end
            except ValueError:
                pass  # no JSON: a word like any other
        words.append(argv[at:end])
        at = end + 1
    return pasted(shlex.join(words))


def pasted(command: str) -> str:
    """Return a command as it is pasted in a checkout, whose environment the README puts in .venv."""
    program, *_ = command.partition(" ")
    return f"{VENV}{command}" if program in ("python", "snakemake") else command
