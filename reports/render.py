"""metrics.h5, or several → report.html: one file that needs nothing else, opened from disk or mailed around."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
from pathlib import Path

from bionas.files import replacing
from reports.numbers import tables
from reports.page.page import render

MOST = 4  # processes
METRICS = (".h5", ".xz")  # what metrics files are called, and no page


def _read(paths: list[Path]) -> tables.Results:
    return tables.read(*paths, processes=min(os.cpu_count() or 1, MOST))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.render",
        description="Render a metrics file as one HTML page, or several of one definition (other seeds, other machines) as one.",
    )
    parser.add_argument("metrics", nargs="+", type=Path, help="results/<benchmark>/metrics.h5 or partial.h5, packed by xz or not")
    parser.add_argument("out", type=Path, help="HTML file to write")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        type=Path,
        metavar="METRICS",
        help="results from before, of another commit, or of another machine, to set the others against: a section at the top of the "
        "page; given again, several files as one",
    )
    args = parser.parse_intermixed_args(argv)
    inputs = [*args.metrics, *args.against]
    if args.out.suffix in METRICS or args.out.resolve() in [path.resolve() for path in inputs]:
        raise ValueError(f"{args.out}: would replace metrics by their report; allowed: the page to write, as the last argument")
    results, before = _read(args.metrics), _read(args.against) if args.against else None
    try:
        page = render(results, before)
    except (LookupError, TypeError, AttributeError) as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        what = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}: {error}".partition("\n")[0]
        raise ValueError(
            f"{', '.join(map(str, inputs))}: no report can be made of it ({what}); it is damaged, or we are at fault"
        ) from error
    with replacing(args.out) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{args.out}: {len(page.encode()) / 1024:.0f} KiB, open it in a browser")


if __name__ == "__main__":
    gc.disable()  # a page is made in one go; looking through millions of values again and again finds nothing to free
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.render: {error}")
