"""Why a result is not there, in one line: from what it needs, who works on it, and its job's log. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from itertools import pairwise
from pathlib import Path

from suite import store
from suite.plan import Plan

NOT_YET = "not run yet"
# What a command of ours, Python, a container or the kernel says last.
ERROR = re.compile(r"^((suite|data_prep|reports)[\w.]*: |[\w.]*(Error|Exception)\b|FATAL|Fatal |Killed|Segmentation fault)")
ENDED = re.compile(r"^\S*bash: line \d+: +\d+ (Killed|Segmentation fault|Bus error|Aborted|Illegal instruction)")  # of a job, by its shell
WORKING = re.compile(r"^(device|all devices|epoch|attack) |: going on after |; wrote ")  # said by a job that an earlier error is none of
STRAY = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\x20-\x7e\xa0-\uffff]")  # colours, and whatever else does not print
LONGEST = 200
LONGEST_OF_OURS = 500  # what is wrong with a file, and the command that makes it again


def reasons(plan: Plan, absent: Mapping[tuple[str, str], str], runs: Path, logs: Path) -> list[dict[str, str]]:
    """Return a row {run, stage, reason} for every result in `absent`: {(run's path, stage): what is wrong with its file, if there is one}.

    What went wrong comes first, then what could not run because of that, then what has not run yet.
    """
    rows = []
    for where, path, stage in plan.results():
        if (path, stage) not in absent:
            continue
        reason, rank = _line(absent[path, stage], LONGEST_OF_OURS), 0
        if not reason and (waits_for := _waits_for(plan, path, stage, absent)):
            reason, rank = f"its {waits_for} is missing", 1
        reason = reason or _reason(runs / where, logs / where, logs / "dataset", plan.run(path).dataset)
        rows.append((2 if reason == NOT_YET else rank, {"run": path, "stage": stage, "reason": reason}))
    return [row for _, row in sorted(rows, key=lambda ranked: ranked[0])]


def last_line(log: Path) -> str:
    """Return the last that a log says; nothing if there is none."""
    return _ending(log)[0]


def _waits_for(plan: Plan, path: str, stage: str, absent: Container[tuple[str, str]]) -> str:
    """Return the word for what a missing result is made from, if that is missing, too."""
    if stage == "evaluation":
        source = next((other for other in plan.sources(path) if (other, "train") in absent), "")
        return "training" if (path, "train") in absent else source and f"source {source}"
    lost = (other for other in plan.needs(path) if (other, "search") in absent or (other, "train") in absent)
    return next(lost, "").partition("/")[0]


def _reason(file: Path, log: Path, dataset_logs: Path, dataset: str) -> str:
    if who := store.holder(file.parent):
        return f"running: {who}"
    last, failed = _ending(log.with_suffix(".log"))
    if failed:
        return f"failed: {last}"
    if last:
        return f"removed: its log says {last}" if "; wrote " in last else f"not finished: its log ends with {last}"
    if not Path(f"data/{dataset}.h5").exists():
        last, failed = _ending(dataset_logs / f"{dataset}.log")
    return f"its data set could not be made: {last}" if failed else NOT_YET


def _ending(log: Path) -> tuple[str, bool]:
    """Return a log's telling line, and whether it is an error: one after which nobody worked, or else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return "", False
    lines = [line for part in text.splitlines() if (line := _line(part))]
    for before, line in reversed(list(pairwise(["", *lines]))):
        if by := ENDED.match(line):
            how = f"{by[1]}: by the kernel, since memory ran out, or by somebody" if by[1] == "Killed" else by[1]
            return f"{before}; {how}" if ERROR.match(before) else how, True
        if ERROR.match(line):
            return line, True
        if WORKING.search(line):
            break
    return (lines[-1], False) if lines else ("", False)


def _line(text: str, longest: int = LONGEST) -> str:
    """Return what can be printed of a text, in one line that is not too long."""
    line = STRAY.sub(" ", text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"
