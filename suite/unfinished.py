"""After a workflow that failed: the report on what is there, and what is missing and why. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from suite import store
from suite.plan import Plan


def made(planned: Plan) -> set[Path]:
    """Return the results that are there."""
    return {file for where, _, _ in planned.files() if (file := Path("results/runs") / where).is_file()}


def report(planned: Plan, definition: str, size: str, before: set[Path]) -> None:
    """Collect, render and check what is there of a benchmark, and print how that went to stderr.

    Nothing is done where nothing is there, nor where the whole has been collected: then it has its report, or a bound was missed.
    Of results that were there `before`, Snakemake took away those that it could not make again; the whole is none without them.
    The parts are in partial.h5, never in metrics.h5: Snakemake would take that for done, since an input that is missing does not count.
    """
    there, folder = made(planned), Path("results") / planned.name
    lost = before - there
    if not there or (not lost and _is_of(planned, folder / "metrics.h5")):
        return
    if lost:
        (folder / "metrics.h5").unlink(missing_ok=True)
    (folder / "check.txt").unlink(missing_ok=True)
    only = ["--only", planned.only] if planned.only else []
    try:
        if _run("suite.collect", definition, "--size", size, *only, "--partial"):
            _run("reports.render", str(folder / "partial.h5"), str(folder / "report.html"))
            _run("suite.check", str(folder / "partial.h5"))
    except KeyboardInterrupt:
        print(f"{folder}: no report, on request", file=sys.stderr)


def _is_of(planned: Plan, metrics: Path) -> bool:
    """Say whether a metrics file is there and of this very plan."""
    try:
        with store.opened(metrics) as file:
            return bool(file["plan"].asstr()[()] == json.dumps(planned.to_dict(), sort_keys=True))
    except ValueError:
        return False


def _run(module: str, *args: str) -> bool:
    """Run one of our commands, out of reach of the terminal's Ctrl-C, which is for us; say whether it ended well."""
    command = [sys.executable, "-m", module, *args]
    return subprocess.run(command, stdout=sys.stderr, check=False, start_new_session=True).returncode == 0
