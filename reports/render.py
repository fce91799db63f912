"""metrics.h5 → report.html: one file that needs nothing else, opened from disk or mailed around."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bionas.files import replacing
from reports.numbers import tables
from reports.page.page import render


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.render", description="Render a metrics file as one HTML page.")
    parser.add_argument("metrics", type=Path, help="results/<benchmark>/metrics.h5")
    parser.add_argument("out", type=Path, help="HTML file to write")
    args = parser.parse_args(argv)
    if args.out.exists() and args.out.resolve() == args.metrics.resolve():
        raise ValueError(f"{args.out}: would replace the metrics by their report")
    page = render(tables.read(args.metrics))
    with replacing(args.out) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{args.out}: {len(page.encode()) / 1024:.0f} KiB, open it in a browser")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.render: {error}")
