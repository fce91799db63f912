"""`python -m reports.figures REPORT OUT`: each figure of a report as a page of its own, OUT/<section>/<figure>.html, for other reports.

A figure keeps its legend, its caption, its data behind a link and the styles of the page, and is drawn without script.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from bionas.files import replacing
from reports.page import assets

PARTS = re.compile(r"<h2\b([^>]*)>(.*?)</h2>|<h3\b[^>]*>(.*?)</h3>|(<figure\b.*?</figure>)", re.DOTALL)
TITLE = re.compile(r'aria-label="data of (.*?) \(CSV\)"')
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{css}</style>
</head>
<body><main>
<h3>{title}</h3>
{figure}
</main></body>
</html>
"""


def figures(report: str) -> Iterator[tuple[str, str, str]]:
    """Yield (section, name, page) of every figure of a report: its section's id, and its number in the report and title, as file names."""
    css = "\n".join(re.findall(r"<style>(.*?)</style>", report, re.DOTALL))
    section, title, heading, count = "report", "", "", 0
    for anchor, second, third, figure in PARTS.findall(SCRIPT.sub("", report)):
        if figure and "<svg" in figure:  # else it says that there is nothing to draw
            count += 1
            named = TITLE.search(figure)
            head = _text(named[1]) if named else heading or title
            page = PAGE.format(policy=assets.policy([]), title=html.escape(head), css=css, figure=figure)
            yield section, f"{count:02d}-{_slug(head)}", page
        elif second:
            found = re.search(r'\bid="?([\w-]+)', anchor)
            section, title, heading = found[1] if found else _slug(_text(second)), _text(second), ""
        elif third:
            heading = _text(third)


def _text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split())


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "figure"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.figures", description="Write each figure of a report as a page of its own.")
    parser.add_argument("report", type=Path, help="results/<benchmark>/report.html")
    parser.add_argument("out", type=Path, help="folder to write")
    args = parser.parse_args(argv)
    report = args.report.read_text(encoding="utf-8")
    if "<main" not in report:
        raise ValueError(f"{args.report}: not a report; make one with python -m reports.render")
    args.out.mkdir(parents=True, exist_ok=True)
    num = 0
    for section, name, page in figures(report):
        (args.out / section).mkdir(exist_ok=True)
        with replacing(args.out / section / f"{name}.html") as partial:
            partial.write_text(page, encoding="utf-8")
        num += 1
    print(f"{args.out}: {num} figures of {args.report}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.figures: {error}")
