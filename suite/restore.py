"""`python -m suite.restore METRICS`: a metrics file → the runs that it was collected from, so that the workflow goes on from them.

Results that took hours outlive the folder that they were made in. Weights are not in a metrics file: what is restored is not made
anew, but a network that was never attacked must be trained again for that.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bionas.seals import sealed_hdf5
from suite import store
from suite.plan.outdated import RUNS


def restore(metrics: Path, runs: Path) -> tuple[int, int]:
    """Write every run of a metrics file to where the workflow looks for it; return how many, and how many were there already.

    Raises ValueError if it is no metrics file, or if a name in it leaves the folder.
    """
    written = kept = 0
    with store.opened(metrics) as file:
        if "plan" not in file:
            raise ValueError(f"{metrics}: not a metrics file; make one with python -m suite.collect")
        for name, where in _places(json.loads(file["plan"].asstr()[()])):
            if name not in file:
                continue  # of a partial one
            out = runs / where
            if not out.resolve().is_relative_to(runs.resolve()):
                raise ValueError(f"{metrics}: {name!r} would be written outside of {runs}")
            if out.exists():
                kept += 1
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            with sealed_hdf5(out) as run:
                for key, value in file[name].attrs.items():
                    run.attrs[key] = value
                for child in file[name]:
                    file.copy(file[name][child], run, child)
            written += 1
    return written, kept


def _places(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (group in the metrics file, file under results/runs/) of every result; first what others are made from."""
    for search in plan["searches"]:
        yield f"search/{search['id']}", f"search/{search['id']}/search.h5"
    for trial in [*plan.get("tuning", []), *plan["trials"]]:
        yield f"trial/{trial['id']}/train", f"trial/{trial['id']}/train.h5"
        if evaluation := trial.get("evaluation"):
            yield f"trial/{trial['id']}/evaluation", f"trial/{trial['id']}/evaluation-{evaluation['id']}.h5"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.restore",
        description="Write the runs of a metrics file to where the workflow looks for them; none is replaced.",
    )
    parser.add_argument("metrics", nargs="+", type=Path, help="such as benchmarks/published/nullsearch.h5.xz")
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"where to (default: {RUNS})")
    args = parser.parse_args(argv)
    for metrics in args.metrics:
        written, kept = restore(metrics, args.runs)
        print(f"{metrics}: {written} runs written to {args.runs}, {kept} were there already")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.restore: {error}")
