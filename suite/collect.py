"""Runs → results/<benchmark>/metrics.h5: every run of the plan under its id, the plan itself, and how the bounds came out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import h5py

from bionas.seals import sealed_hdf5
from suite import store
from suite.definition import spec
from suite.gate.bounds import judge
from suite.missing import reasons
from suite.plan import Plan, load, select
from suite.plan.outdated import commands, outdated, resting

PARTIAL = "partial.h5"  # a name of its own: who finds metrics.h5 finds all of it


def collect(
    planned: Plan, runs: Path, out: Path, partial: bool = False, logs: Path = Path("logs"), definition: str = ""
) -> tuple[int, int]:
    """Copy the plan's results into `out`; return how many, and how many are missing or damaged.

    Raises ValueError if any is, unless it is to be `partial`: then the file says which, and why.
    """
    copied: dict[str, store.Run] = {}
    absent: dict[tuple[str, str], str] = {}
    with sealed_hdf5(out) as file:
        file.attrs.update(format=store.FORMAT, benchmark=planned.name)
        file["plan"] = json.dumps(planned.to_dict(), sort_keys=True)
        file["definition"] = planned.benchmark.text
        for where, path, stage in planned.results():
            name = path if stage == "search" else f"{path}/{stage}"
            try:
                copied[name] = _copy(runs / where, file, name, path.partition("/")[2], stage)
            except ValueError as error:
                absent[path, stage] = str(error) if (runs / where).exists() else ""
        missing = reasons(planned, absent, runs, logs)
        if missing and not partial:
            raise ValueError(_refusal(missing, len(copied)))
        if missing:
            file["missing"] = json.dumps(missing, sort_keys=True)
        found = outdated(planned, runs)
        anew, confirm = commands([definition or planned.benchmark.name], "tiny" if planned.benchmark.tiny else "full", planned.only)
        other_code = {"made": [run.name for run in found], "rests": resting(planned, found), "anew": anew, "confirm": confirm}
        file["provenance/other_code"] = json.dumps(other_code)  # outside the digest, as is all provenance
        compared = {name: run for name, run in copied.items() if run.id not in planned.tuning}
        file["verdict"] = json.dumps(judge(planned.benchmark.expect, compared, planned.runs), sort_keys=True)
    return len(copied), len(missing)


def _copy(run_file: Path, file: h5py.File, name: str, id: str, stage: str) -> store.Run:
    """Copy one result; nothing of it stays if it is damaged or another's, which is a ValueError."""
    try:
        run = store.copy(run_file, file, name)
        if (run.id, run.stage) != (id, stage):
            raise ValueError(f"{run_file}: holds {run.stage} of {run.id}; expected {stage} of {id}")
    except ValueError:
        if name in file:
            del file[name]
        raise
    return run


def _refusal(missing: list[dict[str, str]], num_copied: int) -> str:
    first = "; ".join(f"{row['run']} {row['stage']}: {row['reason']}" for row in missing[:3])
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"{len(missing)} of {len(missing) + num_copied} results are missing (--partial does without): {first}{more}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.collect", description="Collect a benchmark's runs into one metrics file.")
    parser.add_argument("file", help="the definition: a name in benchmarks/ or a path that ends in .yaml")
    parser.add_argument("--size", default="full", help="full or tiny (default: full)")
    parser.add_argument("--only", help='a part of it, such as "network=resnet20 rules=bp,usf seed=0"; as for suite.plan')
    parser.add_argument("--partial", action="store_true", help="collect what is there, and say in the file what is missing, and why")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="where runs lie (default: results/runs)")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="where their logs lie (default: logs)")
    parser.add_argument("--out", type=Path, help="file to write (default: results/<benchmark>/metrics.h5, or partial.h5)")
    args = parser.parse_args(argv)
    (file,) = spec.paths(args.file)
    planned = load(file, args.size)
    if args.only is not None:
        (planned,) = select([planned], args.only)
    out = args.out or Path("results") / planned.name / (PARTIAL if args.partial else "metrics.h5")
    num_copied, num_missing = collect(planned, args.runs, out, args.partial, args.logs, file)
    if not args.partial and out.name != PARTIAL:
        out.with_name(PARTIAL).unlink(missing_ok=True)  # now there is the whole
    print(f"{out}: {num_copied} runs of {planned.name}" + (f", {num_missing} missing" if num_missing else ""))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.collect: {error}")
