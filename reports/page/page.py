"""Results → the page: one HTML text that needs nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import charts
from reports.charts import analyses as analysis_charts
from reports.numbers import (
    analyses,
    attacked,
    claims,
    compare,
    composition,
    findings,
    gaps,
    improvement,
    masking,
    met,
    names,
    paper,
    ranking,
    rates,
    robustness,
    settings,
    spread,
    tables,
    writing,
)
from reports.page import assets, long

HERE = Path(__file__).parent
GENOTYPES = 60  # that are drawn


def render(results: tables.Results, before: tables.Results | None = None) -> str:
    """Return the whole page, set against other results if there are any. Everything that comes from data is escaped by the template."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    words = ("si", "duration", "fixed", "interval", "p_value", "status", "full", "measured", "slug", "shortened")
    environment.filters |= {word: getattr(writing, word) for word in words}
    environment.filters |= {"metric": lambda name: attacked.metric_in_full(name, results.attacks)}
    environment.filters |= {"packed": long.packed, "pasted": long.pasted}
    comparisons = paper.compare(results)
    tried = rates.tried(results)
    tables_met, others = met.split(comparisons)
    tested, parts = claims.claims(results), robustness.parts(results)
    masked, missing = masking.verdicts(parts), gaps.gaps(results)
    found, more = findings.split(findings.findings(results, tested, masked, comparisons))
    drawn, left_out = _drawn(results)
    scripts = assets.scripts()
    missed = [row for row in results.verdict if not row["kept"]]
    return environment.get_template("report.html.j2").render(
        results=results,
        missed=missed,
        findings=found,
        glossary=findings.words(results, [*found, *more]),
        more_findings=more,
        gaps=missing,
        listed=gaps.listed,
        search_gaps=[gap for group in results.searches for gap in missing.of_search(group)],
        missing=gaps.missing(results),
        attack_words={attack.label: attack.words for attack in attacked.attacks(results)},
        against=before and compare.compare(before, results),
        selected_on_test=any("selected on test" in str(run.metrics.get("test_error_of")) for run in results.runs),
        charts=charts,
        names=names,
        genotypes=drawn,
        genotypes_left_out=left_out,
        analyses=analyses,
        analysis_charts=analysis_charts,
        analysed=analyses.sections(results),
        css=assets.styles(),
        scripts=scripts,
        policy=assets.policy(scripts),
        claims=tested,
        questions=claims.questions(tested),
        family=claims.family(results),
        runs=long.runs(results),
        networks=long.networks(results),
        verdicts=long.verdicts(masked),
        tests=long.tests(results, masked),
        tried=tried,
        grid=rates.grid(tried),
        settings=settings.groups(results),
        spreads=spread.spreads(results),
        rankings=ranking.rankings(results),
        compositions=composition.compositions(results),
        improvements=improvement.improvements(results),
        attacked=parts,
        not_attacked=gaps.attacks_not_run(results, missing),
        masked=masked,
        same_images=robustness.same_images(parts),
        compared=any(claim.named["metric"].startswith(("worst_case", "robust")) for claim in tested),
        way_words=attacked.way_words,
        infinity=math.inf,
        comparisons=comparisons,
        met=tables_met,
        others=others,
        where=met.where,
        caveats=list(dict.fromkeys(c.cited.caveat for c in comparisons if c.cited.caveat)),
        provenance=long.provenance(results),
        devices=_devices(results),
        seconds=sum(float(run.timings.get("seconds", 0)) for run in results.runs),
    )


def _drawn(results: tables.Results) -> tuple[list[tuple[tables.SearchGroup, dict[int, Any]]], int]:
    """Return each search's genotypes by seed, and how many are left out: beyond some, searches show that of their first seed."""
    found = [(group, cells) for group in results.searches if (cells := group.genotypes())]
    total = sum(len(cells) for _, cells in found)
    if total > GENOTYPES:
        found = [(group, dict([next(iter(cells.items()))])) for group, cells in found[:GENOTYPES]]
    return found, total - sum(len(cells) for _, cells in found)


def _devices(results: tables.Results) -> list[str]:
    """Return what jobs ran on, without how many epochs where: `NVIDIA H100 for 84 of 100 epochs, then cpu` is two of them."""
    said = (str(run.provenance.get("device", "")) for run in results.runs)
    return list(dict.fromkeys(part.partition(" for ")[0] for words in said for part in words.split(", then ") if part))
