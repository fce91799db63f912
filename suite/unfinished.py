"""After a workflow that ended early: the report on what is there, and a line on what is missing. Imports no torch."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

from suite import store
from suite.jobfile import RUNS
from suite.missing import reasons
from suite.plan import Plan
from suite.shell import called


def made(planned: Plan) -> set[Path]:
    """Return the results that are there."""
    return {file for where, _, _ in planned.files() if (file := RUNS / where).is_file()}


def report(planned: Plan, definition: str, size: str, before: set[Path]) -> None:
    """Collect and render what is there of a benchmark, and say in a line on stderr what is missing.

    Nothing is done where the whole has been collected: then it has its report, or a bound was missed. Where nothing is there, that is said.
    Of results that were there `before`, Snakemake took away those that it could not make again; the whole is none without them.
    The parts are in partial.h5, never in metrics.h5: Snakemake would take that for done, since an input that is missing does not count.
    """
    there, folder = made(planned), Path("results") / planned.name
    lost = before - there
    if not lost and _is_of(planned, folder / "metrics.h5"):
        return
    if not there and not lost:
        absent = {(path, stage): "" for _, path, stage in planned.results()}
        print(_say(planned, definition, reasons(planned, absent, RUNS, Path("logs")), None), file=sys.stderr)
        return
    if lost:
        (folder / "metrics.h5").unlink(missing_ok=True)
    (folder / "check.txt").unlink(missing_ok=True)
    only = ["--only", planned.only] if planned.only else []
    try:
        if _run("suite.collect", definition, "--size", size, *only, "--partial"):
            shown = _run("reports.render", str(folder / "partial.h5"), str(folder / "report.html"))
            with store.opened(folder / "partial.h5") as file:
                rows = json.loads(file["missing"].asstr()[()])
            print(_say(planned, definition, rows, folder / "report.html" if shown else None), file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{folder}: no report, on request", file=sys.stderr)


def _is_of(planned: Plan, metrics: Path) -> bool:
    """Say whether a metrics file is there and of this very plan."""
    try:
        with store.opened(metrics) as file:
            return bool(file["plan"].asstr()[()] == json.dumps(planned.to_dict(), sort_keys=True))
    except ValueError:
        return False


def _say(planned: Plan, definition: str, rows: list[dict[str, str]], page: Path | None) -> str:
    """Return the line: how much is missing by reason, where the report is, and how to see more."""
    counts = Counter(row["reason"].partition(": ")[0] for row in rows)
    why = ", ".join(f"{reason} ({number})" for reason, number in counts.most_common())
    size = " --size tiny" if planned.benchmark.tiny else ""
    only = f" --only {shlex.quote(planned.only)}" if planned.only else ""
    report = f"report on the rest: {page}; " if page else ""
    more = f"{called('python')} -m suite.status {shlex.quote(definition)}{size}{only}"
    return f"{planned.name}: {len(rows)} of {len(list(planned.files()))} results missing: {why}; {report}{more}"


def _run(module: str, *args: str) -> bool:
    """Run one of our commands, out of reach of the terminal's Ctrl-C, which is for us; say whether it ended well, and its error if not."""
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode:
        print((done.stderr.strip().splitlines() or [f"{module}: failed"])[-1], file=sys.stderr)
    return done.returncode == 0
