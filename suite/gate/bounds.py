"""The bounds that a definition sets (`expect:`), held against its runs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from suite import store
from suite.gate.line import Line

SIGNS = {"at_most": "≤", "at_least": "≥"}


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


def lines(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Say what `judge` found."""
    return [
        Line(row["kept"], row["run"], f"{row['metric']} {_number(row['found'])} {SIGNS[row['bound']]} {row['limit']:.4g}") for row in rows
    ]


def _number(found: float | None) -> str:
    return "missing" if found is None else format(found, ".4g")
