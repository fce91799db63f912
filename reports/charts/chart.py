"""Data and a specification → a chart, in two forms: static SVG for the page as it stands, and what charts.js makes an interactive view of.

Both are of one Vega-Lite specification, compiled once for all panels that share it; what differs between panels are values of its
parameters. The data stand in the page once, as the CSV behind the chart's link; the script reads them from there.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import vl_convert
from markupsafe import Markup

from reports.charts import svg
from reports.charts.style import CONFIG, MUTED, Series

PANELS = 24  # a figure; what is left out is said
NOTHING = Markup("<figcaption>Nothing to draw yet.</figcaption>")
HOVER = "hover"  # the name of layers that serve the pointer alone: no static form
BEHIND = "behind"  # the name of layers that are the same in every panel: their static form stands in the page once

Row = dict[str, Any]  # column: text, number or None


@dataclass(frozen=True)
class Panel:
    """One small picture: a heading, what it shows in words, a specification without data, and what its parameters are here.

    They are columns: it shows the rows that have these values.
    """

    title: str
    words: str
    spec: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    series: str = ""  # it goes when this one is switched off


def draw(
    title: str,
    rows: Sequence[Row],
    panels: Sequence[Panel],
    legend: Sequence[Series] = (),
    kinds: Sequence[Series] = (),
    note: str = "",
    heading: str = "",
) -> Markup:
    """Return a figure of panels. Every row has a `series` and a `kind`, by which the legend's buttons switch it off.

    `kinds` are legend entries without a colour of their own. Of more than PANELS panels the first are drawn.
    """
    name = identifier(title)
    drawn = list(panels[:PANELS])
    if len(panels) > PANELS:
        note = f"The first {PANELS} of {len(panels)} panels. {note}".strip()
    values = [{column: plain(value) for column, value in row.items()} for row in rows]
    keys = [json.dumps(panel.spec, sort_keys=True) for panel in drawn]
    specs = list(dict.fromkeys(keys))
    compiled = [_Compiled.of(json.loads(spec), keys.count(spec)) for spec in specs]
    behind = [svg.backdrop(_static(one.behind, values, {}), f"{name}-back{i}") for i, one in enumerate(compiled) if one.behind]
    numbers = sorted({column for row in values for column, value in row.items() if not isinstance(value, str | None)})
    items, listed = [], []
    for i, panel in enumerate(drawn):
        which = specs.index(keys[i])
        still = _static(compiled[which].still, [row for row in values if panel.values.items() <= row.items()], panel.values)
        label = f"{title}{f', {panel.title}' if panel.title else ''}: {panel.words}"
        head = Markup('<p class="panel-title">{}</p>').format(panel.title) if panel.title else Markup("")
        attributes = Markup(' data-series="{}"').format(panel.series) if panel.series else ""
        items.append(
            Markup('<div class="panel" style="width: {}px"{}>{}<div class="static">{}</div></div>').format(
                panel.spec["width"],
                attributes,
                head,
                svg.picture(still, label, f"{name}-{i}", f"{name}-back{which}" if compiled[which].behind else ""),
            )
        )
        listed.append({"spec": which, "values": panel.values, "label": label})
    data = {"specs": [one.whole for one in compiled], "panels": listed, "numbers": numbers}
    above = Markup('<p class="chart-title">{}</p>').format(heading) if heading else ""
    return Markup(
        '<div class="chart" id="{}">{}{}<div class="panels">{}</div><script type="application/json" class="spec">{}</script>{}</div>'
    ).format(name, above, _legend(legend, kinds), Markup("").join([*behind, *items]), script(data), _foot(title, values, note))


def identifier(title: str) -> str:
    """Return an id that no other title has."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    return f"chart-{slug}-{hashlib.sha256(title.encode()).hexdigest()[:6]}"


def plain(value: Any) -> str | float | int | None:
    """Return what JSON and CSV can hold: no NaN, no infinity, no types of numpy's."""
    if value is None or isinstance(value, str):
        return value or None  # CSV does not tell an empty text from none
    number = value.item() if hasattr(value, "item") else value
    return number if math.isfinite(number) else None


def script(data: Any) -> Markup:
    """Return JSON as a <script> may hold it, whatever is in its texts."""
    return Markup(
        json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV: a column for each key of any of them, nothing where there is no number."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with io.StringIO(newline="") as out:
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: "" if value is None else value for column, value in row.items()} for row in rows)
        return out.getvalue()


def link(title: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the link behind which a figure's data lie."""
    file = identifier(title).removeprefix("chart-").rpartition("-")[0] or "data"
    coded = base64.b64encode(table(rows).encode()).decode()
    return Markup('<a class="data" download="{}.csv" href="data:text/csv;base64,{}" aria-label="data of {} (CSV)">data (CSV)</a>').format(
        file, coded, title
    )


def _foot(title: str, rows: Sequence[Row], note: str) -> Markup:
    return Markup('<p class="chart-foot">{}{}</p>').format(f"{note} " if note else "", link(title, rows))


@dataclass(frozen=True)
class _Compiled:
    """A specification in Vega: all of it, what is drawn without a pointer, and what lies behind several panels, if they share that."""

    whole: dict[str, Any]
    still: dict[str, Any]
    behind: dict[str, Any] | None

    @classmethod
    def of(cls, spec: Mapping[str, Any], panels: int) -> _Compiled:
        off = {"filter": "indexof(hidden, datum.series) < 0 && indexof(hidden, datum.kind) < 0"}
        whole = {
            "data": {"name": "rows"},
            "config": CONFIG,
            "autosize": {"type": "fit", "contains": "padding"},
            "padding": 2,
            **spec,
            "params": [{"name": "hidden", "value": []}, *spec.get("params", [])],
            "transform": [off, *spec.get("transform", [])],
        }
        still = [{key: value for key, value in layer.items() if key != "params"} for layer in spec["layer"] if layer.get("name") != HOVER]
        front, back = ([layer for layer in still if (layer.get("name") == BEHIND) == behind] for behind in (False, True))
        if panels == 1 or not back:
            return cls(_vega(whole), _vega({**whole, "layer": still}), None)
        return cls(_vega(whole), _vega({**whole, "layer": front}), _vega({**whole, "layer": back}))


def _vega(spec: dict[str, Any]) -> dict[str, Any]:
    compiled: dict[str, Any] = vl_convert.vegalite_to_vega(spec)
    compiled.pop("$schema", None)
    _hush(compiled["marks"])
    return compiled


def _hush(marks: Sequence[dict[str, Any]]) -> None:
    """Keep marks without words of their own, such as lines to read off by, from those who listen: they would be images without a text."""
    for mark in marks:
        if "marks" in mark:
            _hush(mark["marks"])
        elif "description" not in mark.get("encode", {}).get("update", {}):
            mark["aria"] = False


def _static(compiled: dict[str, Any], rows: Sequence[Row], values: Mapping[str, Any]) -> str:
    """Return the SVG of what is compiled, with the parameters at these values."""
    signals = [{**signal, "value": values[signal["name"]]} if signal["name"] in values else signal for signal in compiled["signals"]]
    data = [{**source, "values": rows} if source["name"] == "rows" else source for source in compiled["data"]]
    drawn: str = vl_convert.vega_to_svg({**compiled, "signals": signals, "data": data})
    return drawn


MARKS = {
    "circle": '<circle cx="12" cy="6" r="4"/>',
    "square": '<path d="M8,2h8v8h-8Z"/>',
    "triangle-up": '<path d="M12,1.5l4.5,8h-9Z"/>',
    "triangle-down": '<path d="M12,10.5l4.5,-8h-9Z"/>',
    "triangle-right": '<path d="M16.5,6l-8,4.5v-9Z"/>',
    "triangle-left": '<path d="M7.5,6l8,4.5v-9Z"/>',
    "diamond": '<path d="M12,1l4,5l-4,5l-4,-5Z"/>',
    "tick": '<path d="M10.5,0h3v12h-3Z"/>',
    "cross": '<path d="M10.5,2h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5Z"/>',
}


def _legend(series: Sequence[Series], kinds: Iterable[Series]) -> Markup:
    """Return the legend; charts.js makes buttons of its entries."""
    entries = [
        Markup('<li data-off="{}"><svg aria-hidden="true" viewBox="0 0 24 12"><g fill="{}" stroke="{}">{}{}</g></svg>{}</li>').format(
            one.name,
            "none" if one.shape.startswith("open-") else one.colour,
            one.colour,
            Markup('<path d="M0,6H24" fill="none" stroke-width="2" stroke-dasharray="{}"/>').format(" ".join(map(str, one.dash)))
            if one.dash
            else "",
            Markup(MARKS.get(one.shape.removeprefix("open-"), "")),
            one.name,
        )
        for one in (*series, *kinds)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries)) if entries else Markup("")


def kind(name: str, dash: tuple[float, ...] = (), shape: str = "") -> Series:
    """Return a legend's entry for what colours do not tell apart."""
    return Series(name, MUTED, dash, shape)
