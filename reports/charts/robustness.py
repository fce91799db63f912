"""Robust accuracy: the worst case with its verdict, attack by attack and way by way, and against the size of the perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from reports.charts.chart import Panel, Row, draw, kind
from reports.charts.curves import folded
from reports.charts.lines import Axis, Line, multiples
from reports.charts.style import HERE, INK, Series, coloured, looks, quantity, tips

if TYPE_CHECKING:
    from reports.numbers.attacked import Attack
    from reports.numbers.masking import Row as Verdict
    from reports.numbers.robustness import Part, Table

WAYS = {"own": "its own gradient", "true": "the true gradient", "none": "no gradient", "transfer": "another network"}
SHAPES = {"own": "open-circle", "true": "circle", "none": "square", "transfer": "triangle-up"}
CLEAN, WORST, MASKED = "no attack", "worst case", " – masked"
WIDTH, ROW = 300, 26
ROWS = 40  # networks in a panel


def worst(part: Part, verdicts: Sequence[Verdict] = ()) -> Markup:
    """Draw within each budget: no attack, the worst case of each kind of way, the worst of all with its interval; masked ones say so."""
    masked = {id(row.variant): row.masked for row in verdicts}
    series = _series(part)
    rows: list[Row] = []
    panels = []
    for table in part.tables():
        found = _within(table, series, masked)
        shown = [row["value"] for row in found if row["kind"] == WORST]
        rows += found
        words = f"worst cases between {min(shown):.1f} and {max(shown):.1f} %"
        panels.append(Panel(f"Within {table.budget.words}", words, _spec(list(series.values()), rule=True), {"panel": table.budget.words}))
    entries = [kind(CLEAN, (), "open-cross"), *_ways(rows), kind(WORST, (), "tick")]
    title = f"Worst case within each budget, {part.block.dataset}, {part.block.network}"
    note = "A thin line goes from no attack to the worst case"
    note += "; a thick one is its 95 % interval." if any(row.get("low") is not None for row in rows) else "."
    if any(row.get("words", "").endswith(MASKED) for row in rows):
        note += " “Masked”: others than its own gradient break more, see the verdicts."
    if any(table.smaller(kind, row) for table in part.tables() for row in table.rows for kind in row.reach):
        note += " Attacks of a smaller budget alone have no mark; they count in the worst case."
    return draw(title, rows, panels, (), entries, note, "Robust accuracy, %: worst case within each budget") if rows else Markup("")


def _within(table: Table, series: dict[int, Series], masked: dict[int, bool | None]) -> list[Row]:
    rows: list[Row] = []
    for one in table.rows:
        if (look := series.get(id(one.variant))) is None:
            continue
        base: Row = {"panel": table.budget.words, "series": look.name}
        label = f"{look.name}{MASKED}" if masked.get(id(one.variant)) else look.name
        low, high = one.worst.interval or (None, None)
        ends: Row = {"clean": one.clean.over.mean, "low": low, "high": high, "seeds": one.worst.over.n, "words": label}
        rows.append(base | {"kind": WORST, "value": one.worst.over.mean} | ends)
        rows.append(base | {"kind": CLEAN, "value": one.clean.over.mean, "seeds": one.clean.over.n})
        for way in table.kinds:
            if one.by_kind[way].over.n and not table.smaller(way, one):
                rows.append(base | {"kind": WAYS[way], "value": one.by_kind[way].over.mean, "seeds": one.by_kind[way].over.n})
    return rows


def attacked(part: Part) -> Markup:
    """Draw robust accuracy by attack and by the way that it took: mean over seeds; transfers from several networks together."""
    series = _series(part)
    rows: list[Row] = []
    panels = []
    for attack in part.single():
        found = _left(part, attack, series)
        if found:
            rows += found
            values = [row["value"] for row in found]
            words = f"robust accuracy between {min(values):.1f} and {max(values):.1f} %"
            panels.append(Panel(f"{attack.label} ({attack.budget.words})", words, _spec(list(series.values())), {"panel": attack.label}))
    title = f"Robust accuracy by attack and way, {part.block.dataset}, {part.block.network}"
    note = " ".join(f"{attack.label}: {attack.short}." for attack in part.single() if attack.short)
    return draw(title, rows, panels, (), _ways(rows), note, "Robust accuracy by attack and way, %") if rows else Markup("")


def _left(part: Part, attack: Attack, series: dict[int, Series]) -> list[Row]:
    """Return a row for every network and kind of way that the attack took."""
    rows: list[Row] = []
    for variant, networks in part.by_variant:
        if (look := series.get(id(variant))) is None:
            continue
        named = False
        for way in WAYS:
            left = [100 * float(each.mean()) for network in networks if (each := network.under(attack, way)) is not None]
            if left:
                row: Row = {
                    "panel": attack.label,
                    "series": look.name,
                    "kind": WAYS[way],
                    "value": float(np.mean(left)),
                    "networks": len(left),
                }
                rows.append(row | {"budget": attack.budget.words, "words": None if named else look.name})
                named = True
    return rows


def budgets(part: Part) -> Markup:
    """Draw robust accuracy against the size of the perturbation: attacks that ran at several sizes, or seek the nearest error."""
    series = _series(part)
    figures = []
    for curve in (*part.curves(), *part.minimal()):
        lines = []
        for variant, networks in part.by_variant:
            if (look := series.get(id(variant))) is None:
                continue
            for way, (sizes, left) in part.against_size(curve, networks).items():
                way = "true" if way == "own" and networks[0].plain else way
                lines.append(Line(look.name, look, sizes, left, left, left, len(networks), WAYS[way]))
        if lines:
            linf = curve[0].budget.norm == "linf"
            x = Axis("size", "ε in L∞, 1/255 (root scale)" if linf else "distance in L2", "sqrt" if linf else "linear")
            lines.sort(key=lambda line: list(WAYS.values()).index(line.kind) if line.kind != WAYS["true"] else -1)
            order = {look.name: i for i, look in enumerate(series.values())}
            lines.sort(key=lambda line: order[line.panel])
            name = curve[0].name if curve[0].minimal is False else curve[0].label
            title = f"Robust accuracy by size of the perturbation, {name}, {part.block.dataset}, {part.block.network}"
            heading = f"{name}: robust accuracy, %, by size of the perturbation"
            axis = Axis("size", "robust accuracy, %", domain=(0, 100))
            figures.append((heading, multiples(title, lines, x, axis, heading=heading)))
    return folded(figures) if figures else Markup("")


def _series(part: Part) -> dict[int, Series]:
    """Return how the attacked networks look, of which a panel has room for so many."""
    attacked_ones = {id(variant) for variant, networks in part.by_variant if networks}
    found = {id(variant): look for variant, look in looks(part.block) if id(variant) in attacked_ones}
    return dict(list(found.items())[:ROWS])


def _ways(rows: Sequence[Row]) -> list[Series]:
    present = {row["kind"] for row in rows}
    return [kind(words, (), SHAPES[way]) for way, words in WAYS.items() if words in present]


def _spec(series: list[Series], rule: bool = False) -> dict[str, Any]:
    """Return rows of marks, each under its network's name: one shape for each kind of way."""
    up = {
        "field": "series",
        "type": "nominal",
        "axis": None,
        "scale": {"domain": [one.name for one in series], "paddingOuter": 0.3},
        "title": None,
    }
    along = quantity("value", "robust accuracy, %", domain=[0, 100], nice=False, padding=6)
    along["axis"] = {"values": [0, 25, 50, 75, 100]}
    shapes = {CLEAN: "cross", **{WAYS[way]: shape.removeprefix("open-") for way, shape in SHAPES.items()}}
    shape = {"field": "kind", "type": "nominal", "legend": None, "scale": {"domain": list(shapes), "range": list(shapes.values())}}
    shown = tips(("series", "network"), ("kind", "through"), ("value", "robust accuracy, %", ".1f"))
    shown += (
        tips(("low", "from", ".1f"), ("high", "to", ".1f"), ("seeds", "seeds", "d"))
        if rule
        else tips(("networks", "networks", "d"), ("budget", "within"))
    )
    marks = {"x": along, "y": up, "color": coloured(series), "shape": shape, "tooltip": shown}
    closed = f"datum.kind !== '{WAYS['own']}' && datum.kind !== '{CLEAN}' && datum.kind !== '{WORST}'"
    layers: list[dict[str, Any]] = [
        {
            "transform": [{"filter": "isValid(datum.words)"}],
            "mark": {"type": "text", "align": "left", "dy": -10, "limit": WIDTH - 16, "color": INK},
            "encoding": {"x": {"value": 0}, "y": up, "text": {"field": "words"}},
        },
        {
            "transform": [{"filter": f"datum.kind === '{WAYS['own']}' || datum.kind === '{CLEAN}'"}],
            "mark": {"type": "point", "size": 55, "strokeWidth": 1.6, "opacity": 1},
            "encoding": marks,
        },
        {"transform": [{"filter": closed}], "mark": {"type": "point", "filled": True, "size": 40, "opacity": 0.85}, "encoding": marks},
    ]
    if rule:
        here = {"filter": f"datum.kind === '{WORST}'"}
        ends = {"x": {**along, "field": "low"}, "x2": {"field": "high"}, "y": up, "color": coloured(series)}
        loss = {**ends, "x": along, "x2": {"field": "clean"}}
        bar = {key: value for key, value in marks.items() if key != "shape"}
        layers[1:1] = [
            {"transform": [here], "mark": {"type": "rule", "opacity": 0.35}, "encoding": loss},
            {"transform": [here, {"filter": "isValid(datum.low)"}], "mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": ends},
            {"transform": [here], "mark": {"type": "tick", "thickness": 3, "size": 14, "opacity": 1}, "encoding": bar},
        ]
    return {
        "width": WIDTH,
        "height": ROW * len(series) + 40,
        **HERE,
        "layer": layers,
    }
