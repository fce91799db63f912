"""The verdict: `expect:` bounds, and a comparison with an earlier metrics file → a table and an exit status."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from bionas.files import replacing
from suite import store
from suite.gate import accuracy, bounds, line, regression, speed

LIMITS = regression.Limits()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.check",
        description="Print how a benchmark's bounds came out; exit with 1 if one was missed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"How --reference judges (docs/gate.md has each line).\n\n{accuracy.__doc__}\n{speed.__doc__}",
    )
    parser.add_argument("metrics", type=Path, help="results/<benchmark>/metrics.h5")
    parser.add_argument("--reference", type=Path, help="an earlier metrics file: each network in it must be no worse, and no slower")
    parser.add_argument(
        "--metric",
        default="test_error",
        help="what to compare with --reference; of an accuracy more is better, else less (default: test_error)",
    )
    parser.add_argument(
        "--tolerance", type=float, default=LIMITS.tolerance, help="points above which an interval that says worse fails (default: 0)"
    )
    parser.add_argument(
        "--worst",
        type=float,
        default=LIMITS.worst,
        help=f"points by which a mean that grew fails whatever its interval (default: {LIMITS.worst:g})",
    )
    parser.add_argument(
        "--slower",
        type=float,
        default=LIMITS.slower,
        help=f"factor by which an epoch's time, as a multiple of BP's in the same file, may grow (default: {LIMITS.slower:g})",
    )
    parser.add_argument(
        "--annotations", action="store_true", help="print misses as GitHub's annotations, too (as it does where GITHUB_ACTIONS is true)"
    )
    parser.add_argument("--summary", type=Path, help="append a summary in Markdown to this file (default: where GITHUB_STEP_SUMMARY says)")
    parser.add_argument("--out", type=Path, help="also write the table to this file, if nothing was missed or missing")
    args = parser.parse_args(argv)
    for name, least in (("tolerance", 0), ("worst", 0), ("slower", 1)):
        if not least <= getattr(args, name) < math.inf:
            raise ValueError(f"--{name}: found {getattr(args, name)}; allowed: {least} or more")
    with store.opened(args.metrics) as file:
        if "verdict" not in file:
            raise ValueError(f"{args.metrics}: not a metrics file; make one with python -m suite.collect")
        lines = bounds.lines(json.loads(file["verdict"].asstr()[()]))
        missing = json.loads(file["missing"].asstr()[()]) if "missing" in file else []
        ends = [
            str(group.attrs.get("status")).partition("(")[0] for group in store.groups(file) if group.attrs.get("stage") != "evaluation"
        ]
        if args.reference:
            limits = regression.Limits(args.tolerance, args.worst, args.slower)
            with store.opened(args.reference) as before:
                lines += regression.compare(store.runs(file), store.runs(before), args.metric, limits)
    judged = [found for found in lines if not found.note]
    missed = sum(not found.kept for found in judged)
    what = "bounds" if not args.reference else "bounds and comparisons"
    verdict = f"{args.metrics}: {len(judged) - missed} of {len(judged)} {what} kept" if judged else f"{args.metrics}: no {what} to keep"
    verdict += "".join(f"; {number} of {len(ends)} searches and trainings {end}" for end, number in Counter(ends).items() if end != "ok")
    if missing:
        verdict += f"; {len(missing)} results missing"
    absent = "\n".join(f"MISSING  {row['run']}  {row['stage']}: {row['reason']}" for row in reversed(missing))  # what went wrong last
    text = "\n".join(filter(None, [line.table(lines), absent, verdict]))
    print(text)
    told = [*lines, *(line.Line(False, f"{row['run']} {row['stage']}", row["reason"]) for row in missing)]
    if args.annotations or os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(line.github(told)))
    _append(args.summary, line.markdown(f"{'Fails' if missed or missing else 'Passes'}: {verdict}", told))
    if missed or missing:
        sys.exit(1)
    if args.out:
        with replacing(args.out) as partial:
            partial.write_text(text + "\n")


def _append(asked: Path | None, text: str) -> None:
    """Append the summary to the file that was asked for, else to GitHub's: in a container that may be out of reach, and fails nothing."""
    wanted = asked or os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if wanted:
            with Path(wanted).open("a", encoding="utf-8") as page:
                page.write(text)
    except OSError as error:
        if asked:
            raise
        print(f"suite.check: no summary: {error}", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may have seen enough
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.check: {error}")
