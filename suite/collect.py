"""Runs → results/<benchmark>/metrics.h5: every run of the plan under its id, the plan itself, and how the bounds came out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import h5py

from bionas.files import replacing
from suite import store
from suite.check import judge
from suite.plan import Plan, load
from suite.plan.outdated import commands, outdated, resting


def collect(planned: Plan, runs: Path, out: Path, definition: str = "") -> int:
    """Copy the plan's runs into `out` and return how many. Raises ValueError for a run that is missing or damaged."""
    copied = {}
    with replacing(out) as partial, h5py.File(partial, "w") as file:
        file.attrs.update(format=store.FORMAT, benchmark=planned.name)
        file["plan"] = json.dumps(planned.to_dict(), sort_keys=True)
        file["definition"] = planned.benchmark.text
        for where, id, stage in planned.files():
            name = f"search/{id}" if stage == "search" else f"trial/{id}/{stage}"
            copied[name] = run = store.copy(runs / where, file, name)
            if (run.id, run.stage) != (id, stage):
                raise ValueError(f"{runs / where}: holds {run.stage} of {run.id}; expected {stage} of {id}")
        found = outdated(planned, runs)
        anew, confirm = commands([definition or planned.benchmark.name], "tiny" if planned.benchmark.tiny else "full")
        other_code = {"made": [run.name for run in found], "rests": resting(planned, found), "anew": anew, "confirm": confirm}
        file["provenance/other_code"] = json.dumps(other_code)  # outside the digest, as is all provenance
        file["verdict"] = json.dumps(judge(planned.benchmark.expect, copied), sort_keys=True)
    return len(copied)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.collect", description="Collect a benchmark's runs into one metrics file.")
    parser.add_argument("file", help="the definition")
    parser.add_argument("--size", default="full", help="full or tiny (default: full)")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="where runs lie (default: results/runs)")
    parser.add_argument("--out", type=Path, help="file to write (default: results/<benchmark>/metrics.h5)")
    args = parser.parse_args(argv)
    planned = load(args.file, args.size)
    out = args.out or Path("results") / planned.name / "metrics.h5"
    print(f"{out}: {collect(planned, args.runs, out, args.file)} runs of {planned.name}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.collect: {error}")
