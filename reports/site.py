"""`python -m reports.site OUT METRICS…`: the reports of several metrics files, and a page that lists them; to be published as they lie."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bionas.files import replacing
from reports.numbers import claims, findings, masking, paper, robustness, tables
from reports.numbers.sentences import Finding
from reports.page import assets
from reports.page.page import render

PUBLISHED = Path("benchmarks/published")


def index(found: Sequence[tuple[str, tables.Results]]) -> str:
    """Return the page that lists reports: (file name, results), each with what it found first."""
    listed = [(file, results, _first(results)) for file, results in found]
    environment = Environment(loader=FileSystemLoader(assets.HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("index.html.j2").render(found=listed, css=assets.styles(), policy=assets.policy([]))


def _first(results: tables.Results) -> Finding | None:
    masked = masking.verdicts(robustness.parts(results))
    shown, _ = findings.split(findings.findings(results, claims.claims(results), masked, paper.compare(results)))
    return next(iter(shown), None)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.site", description="Render several metrics files, and a page that lists them.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "metrics", type=Path, nargs="*", help=f"results/<benchmark>/metrics.h5, or published ones (default: all in {PUBLISHED}/)"
    )
    args = parser.parse_args(argv)
    files = args.metrics or sorted(PUBLISHED.glob("*.h5.xz"))
    if not files:
        raise ValueError(f"{PUBLISHED}: no metrics files here; name some")
    args.out.mkdir(parents=True, exist_ok=True)
    found: list[tuple[str, tables.Results]] = []
    for file in files:
        results = tables.read(file)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", results.benchmark):  # it becomes a file's name
            raise ValueError(f"{file}: is of benchmark {results.benchmark!r}; allowed: lower-case letters, digits and hyphens")
        name = f"{results.benchmark}.html"
        if name in [other for other, _ in found]:
            raise ValueError(f"{file}: another file is of benchmark {results.benchmark!r}, too")
        _write(args.out / name, render(results))
        found.append((name, results))
        print(f"{args.out / name}: from {file}", flush=True)
    _write(args.out / "index.html", index(found))
    print(f"{args.out / 'index.html'}: lists {len(found)} reports")


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.site: {error}")
