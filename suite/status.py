"""`python -m suite.status NAME`: what of a benchmark is done, running, failed and still to do. Reads, and changes nothing. No torch."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from suite import store
from suite.definition import spec
from suite.missing import NOT_YET, last_line, reasons
from suite.plan import Plan, load, select
from suite.plan.outdated import RUNS
from suite.shell import called

STATES = ("done", "running", "failed", "to do")
SHOWN = 20  # lines of one state


def status(planned: Plan, runs: Path, logs: Path) -> Iterator[str]:
    """Yield the lines: how many results are in which state, a line for each group of runs, then who works on what, and what failed."""
    there = {(path, stage): _ended(runs / where) for where, path, stage in planned.results()}
    rows = {
        (row["run"], row["stage"]): row["reason"]
        for row in reasons(planned, {key: "" for key, end in there.items() if not end}, runs, logs)
    }
    states = {key: _state(end, rows.get(key, "")) for key, end in there.items()}
    counts = Counter(states.values())
    yield f"{planned.name}: {', '.join(f'{counts[state]} {state}' for state in STATES if counts[state])}, of {len(states)} results"
    groups: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for (path, stage), state in states.items():
        run = planned.run(path)
        kind = "tuning" if path.partition("/")[2] in planned.tuning else stage
        groups.setdefault((run.dataset, run.name), {}).setdefault(kind, Counter())[state] += 1
    widths = [max(len(group[i]) for group in groups) for i in range(2)]
    for (dataset, name), stages in groups.items():
        yield f"  {dataset:{widths[0]}s}  {name:{widths[1]}s}  {'; '.join(_say(kind, found) for kind, found in stages.items())}"
    files = {(path, stage): logs / where for where, path, stage in planned.results()}
    for state in ("running", "failed"):
        for key in [key for key, its in states.items() if its == state][:SHOWN]:
            log = files[key].with_suffix(".log")
            said = f"; {last_line(log)}" if state == "running" else ""
            yield f"{rows.get(key) or there[key]}{said}\n  {key[0]} {key[1]}\n  {log}"
    ended = Counter(end for end in there.values() if end and end != "ok")
    yield from (f"{number} done, but {end}" for end, number in ended.items())
    waiting = [reason for key, reason in rows.items() if states[key] == "to do" and reason != NOT_YET and not reason.endswith("is missing")]
    yield from dict.fromkeys(waiting[:SHOWN])


def _say(kind: str, found: Counter[str]) -> str:
    others = "".join(f", {found[state]} {state}" for state in STATES[1:] if found[state])
    return f"{kind} {found['done']} of {found.total()}{others}"


def _ended(file: Path) -> str:
    """Return a finished run's status; nothing if there is no such run."""
    try:
        return store.read(file).status if file.is_file() else ""
    except ValueError as error:
        return f"damaged: {error}"


def _older(report: Path, planned: Plan, runs: Path) -> str:
    """Say that a report is of before, where a result came after it."""
    files = [runs / where for where, _, _ in planned.files()]
    newest = max((file.stat().st_mtime for file in files if file.is_file()), default=0)
    return ", of before: results have come since" if newest > report.stat().st_mtime else ""


def _state(ended: str, reason: str) -> str:
    if ended:
        return "failed" if ended.startswith("damaged") else "done"
    return {"running": "running", "failed": "failed", "its data set could not be made": "failed"}.get(reason.partition(":")[0], "to do")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.status", description="Say what of a benchmark is done, running, failed and to do."
    )
    parser.add_argument("benchmark", nargs="?", default="demo", help="a name in benchmarks/ or a path, several with commas (default: demo)")
    parser.add_argument("--size", default="full", help="full or tiny (default: full)")
    parser.add_argument("--only", help='a part of it, such as "network=resnet20 rules=bp,usf seed=0"; as for suite.plan')
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"where runs lie (default: {RUNS})")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="where their logs lie (default: logs)")
    args = parser.parse_args(argv)
    size = "" if args.size == "full" else f" --size {args.size}"
    part = "" if args.only is None else f" --only {shlex.quote(args.only)}"
    plans = [load(str(file), args.size) for file in spec.named(args.benchmark)]
    for planned in select(plans, args.only) if args.only is not None else plans:
        for line in status(planned, args.runs, args.logs):
            print(line)
        reports = [path for name in ("report.html", "check.txt") if (path := Path("results") / planned.name / name).is_file()]
        name = args.benchmark if len(plans) == 1 else planned.benchmark.name
        now = f"{called('python')} -m suite.collect {name}{size}{part} --partial"
        print(f"report: {reports[0]}{_older(reports[0], planned, args.runs)}" if reports else f"no report yet; at any time: {now}")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may have seen enough
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.status: {error}")
