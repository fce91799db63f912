"""Test errors: every seed, the mean with its interval, and the difference to what a variant stands against, paired by seed."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from markupsafe import Markup

from reports.charts.chart import NOTHING, Panel, Row, draw
from reports.charts.style import HERE, INK, MUTED, ONE, Series, coloured, looks, quantity, shaped, tips
from reports.numbers.statistics import Difference
from reports.numbers.tables import Block, Variant

ROWS = 60  # variants that a figure shows
OFF = 10  # times the typical distance from the middle: such rows are off the scale
WIDTH, ROW = 380, 30


def errors(block: Block) -> Markup:
    """Draw the errors beside each other, and the differences to BP or to the same cell as searched."""
    found = looks(block)[:ROWS]
    if not found:
        return NOTHING
    rows: list[Row] = []
    against = "the same cell as searched" if block.network == "cells" else "BP"
    for variant, look in found:
        rows += _errors(variant, look)
        rows += _differences(block, variant, look)
    series = [look for _, look in found]
    means = [row["value"] for row in rows if row["panel"] == "error" and row["kind"] == "mean" and row["value"] is not None]
    between = f"means between {min(means):.2f} and {max(means):.2f} %" if means else "no results yet"
    panels = [
        Panel(
            "Test error, %",
            f"{len(found)} rows, {between}",
            _spec(series, "test error, %", None, _domain(rows, "error")),
            {"panel": "error"},
        )
    ]
    apart = [row["value"] for row in rows if row["panel"] == "difference" and row["kind"] == "mean"]
    compared = [look for look in series if any(row["panel"] == "difference" and row["series"] == look.name for row in rows)]
    if apart:
        words = f"between {min(apart):+.2f} and {max(apart):+.2f} points"
        spec = _spec(compared, "difference, points (left of 0: errs less)", 0, _domain(rows, "difference"))
        panels.append(Panel(f"Difference to {against}, paired by seed", words, spec, {"panel": "difference"}))
    note = "Small marks are seeds, large ones means"
    note += ", lines 95 % intervals." if any(row.get("low") is not None for row in rows) else "; intervals take three seeds."
    if len(block.variants) > len(found):
        note = f"The first {len(found)} of {len(block.variants)} rows; all are in the table. {note}"
    return draw(f"Test error by rule, {block.dataset}, {block.network}", rows, panels, note=note)


def _domain(rows: list[Row], panel: str) -> list[float] | None:
    """Return what the axis shows: all, but for rows that are so far off that the others would be one mark; their labels say so."""
    spans: dict[str, list[float]] = {}
    for row in (row for row in rows if row["panel"] == panel):
        found = [float(row[key]) for key in ("value", "low", "high") if row.get(key) is not None]
        spans.setdefault(str(row["series"]), []).extend(value for value in found if math.isfinite(value))
    spans = {name: values for name, values in spans.items() if values}
    if not spans:
        return None
    centre = median((min(values) + max(values)) / 2 for values in spans.values())
    reach = {name: max(abs(value - centre) for value in values) for name, values in spans.items()}
    typical = median(reach.values())
    off = {name for name in spans if len(spans) > 3 and typical > 0 and reach[name] > OFF * typical}
    for row in rows:
        if row["panel"] == panel and row["series"] in off and row["kind"] == "mean":
            row["words"] = f"{row['words']}: {row['value']:.1f}, off the scale"
    kept = [value for name, values in spans.items() if name not in off for value in values]
    kept += [0.0] if panel == "difference" else []
    return [min(kept), max(kept)]


def _errors(variant: Variant, look: Series) -> list[Row]:
    base: Row = {"panel": "error", "series": look.name}
    seeds: list[Row] = [base | {"kind": "seed", "seed": seed, "value": value} for seed, value in variant.by_seed("test_error").items()]
    summary = variant.metric("test_error")
    low, high = summary.interval or variant.interval("test_error") or (None, None)
    words = look.name if summary.n else f"{look.name}: no result"
    mean: Row = base | {"kind": "mean", "value": summary.mean, "low": low, "high": high, "seeds": summary.n, "words": words}
    return [mean, *seeds]


def _differences(block: Block, variant: Variant, look: Series) -> list[Row]:
    base: Row = {"panel": "difference", "series": look.name}
    baseline = block.baseline(variant)
    if baseline is None or baseline is variant:
        return []
    ours, theirs = variant.by_seed("test_error"), baseline.by_seed("test_error")
    difference = Difference.paired(ours, theirs)
    if not difference.n:
        return [base | {"kind": "name", "words": f"{look.name}: no seed in common"}]
    low, high = difference.interval() or (None, None)
    mean: Row = base | {"kind": "mean", "value": difference.mean, "low": low, "high": high, "seeds": difference.n, "words": look.name}
    by_seed = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}
    rows = [mean, *(base | {"kind": "seed", "seed": seed, "value": value} for seed, value in by_seed.items())]
    return [row | {"said": _said(float(row["value"]))} for row in rows]


def _said(points: float) -> str:
    return f"errs {abs(points):.2f} points {'less' if points < 0 else 'more'}" if points else "errs as much"


def _spec(series: list[Series], title: str, zero: float | None, domain: list[float] | None) -> dict[str, Any]:
    names = [one.name for one in series]
    up = {"field": "series", "type": "nominal", "axis": None, "scale": {"domain": names, "paddingOuter": 0.3}, "title": None}
    along, colour, shape = (
        quantity("value", title, **({"domain": domain, "padding": 8} if domain else {})),
        coloured(series),
        shaped(series),
    )
    mean, seed = [{"filter": "datum.kind === 'mean'"}], [{"filter": "datum.kind === 'seed'"}]
    shown = tips(("series", "network"), ("value", title, ".2f") if zero is None else ("said", "difference"))
    whole = shown + tips(("low", "from", ".2f"), ("high", "to", ".2f"), ("seeds", "seeds", "d"))
    ends = {"x": {**along, "field": "low"}, "x2": {"field": "high"}, "y": up, "color": colour}
    layers: list[dict[str, Any]] = [
        {
            "transform": [{"filter": "isValid(datum.words)"}],
            "mark": {"type": "text", "align": "left", "dy": -11, "limit": WIDTH - 16, "color": INK},
            "encoding": {"x": {"value": 0}, "y": up, "text": {"field": "words"}},
        },
        {
            "transform": [*mean, {"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "clip": True, "strokeWidth": 2},
            "encoding": ends,
        },
        {
            "transform": seed,
            "mark": {"type": "point", "clip": True, "size": 18, "opacity": 0.7, "strokeWidth": 1.2},
            "encoding": {"x": along, "y": up, "color": colour, "tooltip": [*shown, *tips(("seed", "seed"))]},
        },
        {
            "transform": [*mean, {"filter": "isValid(datum.value)"}],
            "mark": {"type": "point", "clip": True, "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": along, "y": up, "color": colour, "shape": shape, "tooltip": whole},
        },
    ]
    if zero is not None:
        layers.insert(0, {"data": ONE, "mark": {"type": "rule", "stroke": MUTED}, "encoding": {"x": {"datum": zero}}})
    return {
        "width": WIDTH,
        "height": ROW * len(series) + 40,
        **HERE,
        "layer": layers,
    }
