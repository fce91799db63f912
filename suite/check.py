"""The verdict: `expect:` bounds, and a comparison with an earlier metrics file → a table and an exit status."""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bionas.files import replacing
from suite import store


def judge(
    expect: Mapping[str, Mapping[str, Mapping[str, float]]], runs: Mapping[str, store.Run], planned: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Hold every run against every bound that its path matches, and every `planned` path, be it there or not; return one row a comparison.

    A run that diverged keeps no bound, and neither does a number that is missing.
    """
    trials: dict[str, list[store.Run]] = {path: [] for path in planned}
    for path, run in runs.items():
        trials.setdefault(path if run.stage == "search" else path.rpartition("/")[0], []).append(run)
    rows = []
    for pattern, metrics in expect.items():
        for path, stages in sorted(trials.items()):
            if not fnmatch.fnmatchcase(path, pattern):
                continue
            sound = all(stage.status == "ok" for stage in stages)
            for metric, bounds in metrics.items():
                found = next((stage.metrics[metric] for stage in stages if metric in stage.metrics), None)
                for bound, limit in bounds.items():
                    kept = sound and found is not None and (found <= limit if bound == "at_most" else found >= limit)
                    rows.append({"run": path, "metric": metric, "bound": bound, "limit": limit, "found": found, "kept": kept})
    return rows


def compare(now: Mapping[str, store.Run], before: Mapping[str, store.Run], metric: str, tolerance: float) -> list[dict[str, Any]]:
    """Hold each run's metric against the same run's in an earlier file; `kept` if it grew by no more than `tolerance`.

    A run that is no longer there is missed. Raises ValueError if the files share no run that has the metric.
    """
    old = {path: run.metrics[metric] for path, run in before.items() if metric in run.metrics}
    if not any(path in now for path in old):
        raise ValueError(f"the two files share no run with a {metric}")
    rows = []
    for path, value in sorted(old.items()):
        found = now[path].metrics.get(metric) if path in now else None
        kept = found is not None and found <= value + tolerance
        rows.append({"run": path, "metric": metric, "bound": "at_most", "limit": value + tolerance, "found": found, "kept": kept})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return plain fixed-width lines, failures last so that they are seen."""
    sign = {"at_most": "≤", "at_least": "≥"}
    width = max((len(row["run"]) for row in rows), default=0)
    return "\n".join(
        f"{'kept  ' if row['kept'] else 'MISSED'}  {row['run']:{width}s}  {row['metric']} "
        f"{'missing' if row['found'] is None else format(row['found'], '.4g')} {sign[row['bound']]} {row['limit']:.4g}"
        for row in sorted(rows, key=lambda row: not row["kept"])
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.check", description="Print how a benchmark's bounds came out; exit with 1 if one was missed."
    )
    parser.add_argument("metrics", type=Path, help="results/<benchmark>/metrics.h5")
    parser.add_argument("--reference", type=Path, help="an earlier metrics file: each shared run must be no worse")
    parser.add_argument("--metric", default="test_error", help="what to compare with --reference, lower is better (default: test_error)")
    parser.add_argument("--tolerance", type=float, default=0.0, help="by how much it may be worse (default: 0)")
    parser.add_argument("--out", type=Path, help="also write the table to this file, if nothing was missed or missing")
    args = parser.parse_args(argv)
    if not 0 <= args.tolerance < math.inf:
        raise ValueError(f"--tolerance: found {args.tolerance}; allowed: 0 or more")
    with store.opened(args.metrics) as file:
        if "verdict" not in file:
            raise ValueError(f"{args.metrics}: not a metrics file; make one with python -m suite.collect")
        rows = json.loads(file["verdict"].asstr()[()])
        missing = json.loads(file["missing"].asstr()[()]) if "missing" in file else []
        if args.reference:
            with store.opened(args.reference) as before:
                rows += compare(store.runs(file), store.runs(before), args.metric, args.tolerance)
    missed = sum(not row["kept"] for row in rows)
    verdict = f"{args.metrics}: {len(rows) - missed} of {len(rows)} bounds kept" if rows else f"{args.metrics}: no bounds to keep"
    if missing:
        verdict += f"; {len(missing)} results missing"
    absent = "\n".join(f"MISSING  {row['run']}  {row['stage']}: {row['reason']}" for row in reversed(missing))  # what went wrong last
    text = "\n".join(filter(None, [table(rows), absent, verdict]))
    print(text)
    if missed or missing:
        sys.exit(1)
    if args.out:
        with replacing(args.out) as partial:
            partial.write_text(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.check: {error}")
