"""Lines in small multiples: a panel a series, its mean with a band, the other panels' lines behind it in grey."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from reports.charts.chart import BEHIND, HOVER, NOTHING, PANELS, Panel, Row, draw, kind
from reports.charts.style import CONTEXT, DASHES, MUTED, ONE, Series, coloured, quantity, tips

WIDTH, HEIGHT = 222, 150
POINTS = 80  # a line; longer ones keep every so many-th, and both ends
FAR = 1e3  # times the upper quartile, up and down, are what a logarithmic axis shows
SIZED = 12  # lines of so few points show them
COUNTED = 5  # so many whole numbers each have a tick; of more, those that Vega chooses
SHORT = "datum.value >= 1e5 || datum.value < 1e-3 ? format(datum.value, '.0e') : format(datum.value, '~g')"
WHOLE: dict[str, Any] = {"tickMinStep": 1, "labelExpr": "datum.value % 1 ? '' : format(datum.value, 'd')"}
ZOOM = {"name": "zoom", "select": {"type": "interval", "zoom": "wheel![event.altKey]"}, "bind": "scales"}


Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Axis:
    """What stands along an axis."""

    name: str  # the column of the data
    title: str
    scale: str = "linear"  # log, sqrt
    whole: bool = False  # whole numbers
    domain: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line in a panel: `mean` at `x`, within `low` and `high`, of so many seeds."""

    panel: str
    series: Series
    x: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers
    seeds: int
    kind: str = "mean"  # dashes tell these apart


def over_seeds(panel: str, series: Series, columns: Iterable[Numbers], first: int = 1, kind: str = "mean") -> Line | None:
    """Return the mean over seeds and their range; a run that ended early counts as long as it ran. None of no numbers at all."""
    stacked = [np.asarray(column, dtype=float) for column in columns]
    length = max(map(len, stacked), default=0)
    padded = np.ma.masked_invalid([np.pad(column, (0, length - len(column)), constant_values=np.nan) for column in stacked])
    if not length or not padded.count():
        return None
    mean, low, high = (np.ma.filled(each.astype(float), np.nan) for each in (padded.mean(0), padded.min(0), padded.max(0)))
    return Line(panel, series, range(first, first + length), mean, low, high, len(stacked), kind)


def multiples(
    title: str, found: Sequence[Line], x: Axis, y: Axis, mark: float | None = None, note: str = "", grey: bool = True, heading: str = ""
) -> Markup:
    """Draw a panel for every `panel` of the lines; `mark`: a level that is dotted; `grey`: the others' lines behind each."""
    if not found:
        return NOTHING
    panels = list(dict.fromkeys(line.panel for line in found))
    if len(panels) > PANELS:
        note = f"The first {PANELS} of {len(panels)} panels. {note}".strip()
        panels = panels[:PANELS]
        found = [line for line in found if line.panel in panels]
    series = list({line.series.name: line.series for line in found}.values())
    kinds = list(dict.fromkeys(line.kind for line in found))
    dashes = dict(zip(kinds, DASHES * len(kinds), strict=False))
    rows, step = _rows(found, x, y)
    if step > 1:
        note = f"One point in {step} of each line is drawn. {note}".strip()
    reach = [row[column] for row in rows for column in ("low", "high", "value")]
    over = _domain(y, [*reach, *([] if mark is None else [mark])])
    behind = grey and len(panels) > 1
    spec = _spec(series, kinds, dashes, x, y, rows, over, behind, mark)
    note = f"Grey: the lines of the other panels. {note}".strip() if behind else note
    top = over[1]
    if any(row["value"] is not None and np.isfinite(row["value"]) and row["value"] > 1.001 * top for row in rows):
        note = f"What goes beyond an edge is cut off there; the data have it. {note}".strip()
    by_panel = {panel: [line for line in found if line.panel == panel] for panel in panels}
    drawn = []
    for panel in panels:
        only = {line.series.name for line in by_panel[panel]}
        drawn.append(
            Panel(panel, _words(by_panel[panel], y), spec, {"panel": panel}, only.pop() if len(only) == 1 and len(series) > 1 else "")
        )
    entries = [kind(one, dashes[one]) for one in kinds] if len(kinds) > 1 else []
    shown = [Series(one.name, one.colour, DASHES[0], "") for one in series] if len(series) > 1 else []
    return draw(title, rows, drawn, shown, entries, note, heading or _sentence(y.title))


def _rows(found: Sequence[Line], x: Axis, y: Axis) -> tuple[list[Row], int]:
    longest = max(len(line.x) for line in found)
    step = math.ceil(longest / POINTS)
    rows: list[Row] = []
    for line in found:
        last = len(line.x) - 1
        for i in (i for i in range(len(line.x)) if i % step == 0 or i == last):
            bad = y.scale == "log" and not line.mean[i] > 0
            low = line.low[i] if y.scale != "log" or line.low[i] > 0 else line.mean[i]
            row: Row = {"panel": line.panel, "series": line.series.name, "kind": line.kind, x.name: line.x[i]}
            rows.append(
                row
                | {
                    "value": None if bad else line.mean[i],
                    "low": None if bad else low,
                    "high": None if bad else line.high[i],
                    "seeds": line.seeds,
                }
            )
    return rows, step


def _domain(axis: Axis, values: Iterable[Any]) -> tuple[float, float]:
    if axis.domain:
        return axis.domain
    finite = [float(value) for value in values if value is not None and math.isfinite(value) and (axis.scale != "log" or value > 0)]
    if not finite:
        return (0.1, 1) if axis.scale == "log" else (0, 1)
    low, high = min(finite), max(finite)
    if axis.scale == "log":  # what explodes must not make lines flat that do not; it leaves the panel
        middle = float(np.quantile(finite, 0.75))
        low, high = max(low, middle / FAR), min(high, middle * FAR)
    if low == high:
        low, high = (low / 2, high * 2) if axis.scale == "log" else (low - 0.5, high + 0.5)
    return low, high


def _spec(
    series: Sequence[Series],
    kinds: Sequence[str],
    dashes: Mapping[str, Any],
    x: Axis,
    y: Axis,
    rows: Sequence[Row],
    over: tuple[float, float],
    grey: bool,
    mark: float | None,
) -> dict[str, Any]:
    here = [{"filter": "datum.panel === panel"}]
    along = quantity(x.name, x.title, type=x.scale, domain=list(_domain(x, (row[x.name] for row in rows))), nice=False)
    along["axis"] = _wholes(*along["scale"]["domain"]) if x.whole else {}
    ends = {"nice": False, "padding": 4} if y.scale == "log" else {}  # to the next power of ten, lines of one decade would lie flat
    up = quantity("value", None, type=y.scale, domain=list(over), **ends)
    up["axis"] = {"labelExpr": SHORT, "values": ruled(*over)} if y.scale == "log" else {}
    dash = {
        "field": "kind",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(kinds), "range": [list(dashes[one]) for one in kinds]},
    }
    detail = [{"field": "series"}, {"field": "kind"}, {"field": "panel"}]
    colour = coloured(series)
    layers: list[dict[str, Any]] = []
    if grey:
        thin = {"type": "line", "clip": True, "strokeWidth": 0.8, "stroke": CONTEXT}
        main = [{"filter": {"field": "kind", "equal": kinds[0]}}]
        layers.append({"name": BEHIND, "transform": main, "mark": thin, "encoding": {"x": along, "y": up, "detail": detail}})
    if mark is not None:
        rule = {"type": "rule", "stroke": MUTED, "strokeDash": [2, 3]}
        layers.append({"data": ONE, "mark": rule, "encoding": {"y": {"datum": mark}}})
    if any(row["low"] != row["high"] for row in rows):
        band = {"x": along, "y": {**up, "field": "low"}, "y2": {"field": "high"}, "color": colour, "detail": detail}
        layers.append({"transform": here, "mark": {"type": "area", "clip": True, "opacity": 0.18}, "encoding": band})
    encoding = {"x": along, "y": up, "color": colour, "detail": detail} | ({"strokeDash": dash} if len(kinds) > 1 else {})
    layers.append({"transform": here, "params": [ZOOM], "mark": {"type": "line", "clip": True, "strokeWidth": 1.8}, "encoding": encoding})
    if len({row[x.name] for row in rows}) <= SIZED:
        dots = {"x": along, "y": up, "color": colour}
        layers.append(
            {"transform": here, "mark": {"type": "point", "clip": True, "filled": True, "size": 16, "opacity": 1}, "encoding": dots}
        )
    shown = tips(("series", "series"), *([("kind", "of")] if len(kinds) > 1 else []), (x.name, x.title, "~g"), ("value", y.title, ".4~g"))
    shown += tips(("low", "lowest seed", ".4~g"), ("high", "highest seed", ".4~g"), ("seeds", "seeds", "d"))
    pointed = {"x": along, "y": up, "tooltip": shown}
    layers.append(
        {
            "name": HOVER,
            "transform": here,
            "mark": {"type": "point", "clip": True, "size": 120, "opacity": 0, "filled": True},
            "encoding": pointed,
        }
    )
    return {"width": WIDTH, "height": HEIGHT, "params": [{"name": "panel", "value": ""}], "layer": layers}


def _wholes(low: float, high: float) -> dict[str, Any]:
    """Return the axis of whole numbers: Vega puts ticks between the last few of them, and zooming in does anywhere."""
    among = range(math.ceil(low), math.floor(high) + 1)
    return {**WHOLE, "values": list(among)} if len(among) <= COUNTED else WHOLE


def ruled(low: float, high: float) -> list[float]:
    """Return the powers of a logarithmic axis that ends where its data do, or round numbers where fewer than two of them lie within."""
    found = powers(low, high)
    if sum(low <= value <= high for value in found) > 1 or not high > low:
        return found
    size = 10.0 ** math.floor(math.log10(high - low))
    steps = (size * step for step in (1, 0.5, 0.2, 0.1))
    return next(
        [float(f"{i * step:.12g}") for i in among] for step in steps if len(among := range(math.ceil(low / step), int(high / step) + 1)) > 2
    )


def powers(low: float, high: float) -> list[float]:
    """Return what a logarithmic axis is ruled by: powers of ten, every so many-th of many; 1, 2 and 5 times them within two decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    every = math.ceil((last - first) / 6) or 1
    return [float(f"{step}e{power}") for power in range(first, last + 1, every) for step in steps]


def _words(drawn: Sequence[Line], y: Axis) -> str:
    finite = [float(value) for line in drawn for value in line.mean if np.isfinite(value)]
    if not finite:
        return "no numbers"
    ends = [float(value) for value in drawn[0].mean if np.isfinite(value)] or finite
    return f"{y.title} between {min(finite):.4g} and {max(finite):.4g}, at the end {ends[-1]:.4g}"


def _sentence(title: str) -> str:
    """Begin with a capital letter, but for α, whose capital is another sign."""
    return title[:1].upper() + title[1:] if title[:1].isascii() else title
