"""metrics.h5 → report.html: one file that needs nothing else, opened from disk or mailed around."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bionas.files import replacing
from reports import (
    against,
    analyses,
    analysis_charts,
    attacked,
    charts,
    claims,
    composition,
    improvement,
    masking,
    met,
    ranking,
    rates,
    robustness,
    spread,
    tables,
)
from reports.statistics import proportion

HERE = Path(__file__).parent


def render(results: tables.Results) -> str:
    """Return the whole page. Everything that comes from data is escaped by the template."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"si": si, "duration": duration, "setting": setting, "fixed": fixed}
    environment.filters |= {"interval": interval, "p_value": p_value, "metric": attacked.metric_words}
    comparisons = against.compare(results)
    tried = rates.tried(results)
    tables_met, others = met.split(comparisons)
    tested, parts = claims.claims(results), robustness.parts(results)
    missed = [row for row in results.verdict if not row["kept"]]
    return environment.get_template("template.html.j2").render(
        results=results,
        missed=missed,
        selected_on_test=any("selected on test" in str(run.metrics.get("test_error_of")) for run in results.runs),
        charts=charts,
        analyses=analyses,
        analysis_charts=analysis_charts,
        analysed=analyses.sections(results),
        css=(HERE / "style.css").read_text(),
        claims=tested,
        family=claims.family(results),
        networks=_networks(results),
        tried=tried,
        grid=rates.grid(tried),
        spreads=spread.spreads(results),
        rankings=ranking.rankings(results),
        compositions=composition.compositions(results),
        improvements=improvement.improvements(results),
        attacked=parts,
        masked=masking.verdicts(parts),
        same_images=robustness.same_images(parts),
        compared=any(claim.named["metric"].startswith(("worst_case", "robust")) for claim in tested),
        way_words=attacked.way_words,
        infinity=math.inf,
        comparisons=comparisons,
        met=tables_met,
        others=others,
        where=met.where,
        caveats=list(dict.fromkeys(c.cited.caveat for c in comparisons if c.cited.caveat)),
        provenance=_shared_provenance(results),
        seconds=sum(float(run.timings.get("seconds", 0)) for run in results.runs),
    )


def si(number: float) -> str:
    """1234567 → 1.23 M."""
    if number != number:
        return "–"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def fixed(number: float, digits: int) -> str:
    """1.2345 → 1.23, by digits; a dash for none."""
    return "–" if number != number else f"{number:.{digits}f}"


def duration(seconds: float) -> str:
    """4000 → 1 h 7 min."""
    if seconds != seconds:
        return "–"
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.1f} s"


def interval(ends: tuple[float, float] | None, digits: str = ".1f") -> str:
    """(1.23, 4.56) → [1.2, 4.6]; nothing for none."""
    return f"[{ends[0]:{digits}}, {ends[1]:{digits}}]" if ends else ""


def p_value(p: float) -> str:
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def setting(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _networks(results: tables.Results) -> list[tuple[str, float, tuple[float, float]]]:
    """Every network's id, test error, and what the test images alone leave open about it."""
    trains = [run for block in results.blocks for variant in block.variants for run in variant.trains.values() if run.status == "ok"]
    found = [(run, tables.images_of(run, "test_error")) for run in trains if "test_error" in run.metrics]
    return [(run.id, run.metrics["test_error"], proportion(run.metrics["test_error"], images)) for run, images in found if images]


def _shared_provenance(results: tables.Results) -> dict[str, list[str]]:
    """Every value that a provenance field takes over all runs, but for those that belong to one run."""
    found: dict[str, list[str]] = {}
    for run in results.runs:
        for name, value in run.provenance.items():
            if name not in ("argv", "finished", "seed") and str(value) not in found.setdefault(name, []):
                found[name].append(str(value))
    return found


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
