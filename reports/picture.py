"""`python -m reports.picture REPORT OUT.png`: a screen of a report, light, 1280×800, for the README. It needs [dev] and Chromium."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

LARGEST = 300 * 1024


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.picture", description="Take a picture of a screen of a report.")
    parser.add_argument("report", type=Path, help="results/<benchmark>/report.html")
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--at", default="", metavar="PLACE", help="from this heading on, such as accuracy (default: the first screen)")
    args = parser.parse_args(argv)
    if not args.report.is_file():
        raise ValueError(f"{args.report}: no such file")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(f"{args.report.resolve().as_uri()}#{args.at}", wait_until="load")
        picture = page.screenshot(animations="disabled")
        browser.close()
    if len(picture) > LARGEST:
        raise ValueError(f"{args.out}: would have {len(picture) >> 10} KiB; allowed: {LARGEST >> 10}")
    args.out.write_bytes(picture)
    print(f"{args.out}: {len(picture) >> 10} KiB")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, Error) as error:
        sys.exit(f"reports.picture: {str(error).splitlines()[0]}")
