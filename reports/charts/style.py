"""How series look: colours that the page's theme may turn, dashes and shapes for whom colours say nothing, and what all charts share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reports.numbers.names import RULES, colour, name, unique
from reports.numbers.tables import Block, Variant

INK, MUTED, LINE, BACKGROUND = "var(--ink, #1f2933)", "var(--muted, #66717e)", "var(--line, #e4e7eb)", "var(--bg, #fff)"
CONTEXT = "var(--context, #ccd2d9)"  # the other series, in grey
DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (6, 3), (1.5, 2.5), (8, 3, 2, 3), (3, 3), (10, 3), (8, 3, 2, 3, 2, 3))
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
CAME = tuple(dict.fromkeys(("fa", "usf", "brsf", "frsf", "dfa", "bp", *RULES)))  # so that no dash and no shape moves when a rule is added
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": LINE,
        "labelColor": INK,
        "labelFontSize": 10,
        "labelPadding": 4,
        "titleColor": MUTED,
        "titleFontSize": 10,
        "titleFontWeight": "normal",
    },
    "axisX": {"tickCount": 5, "labelFlush": True},
    "axisY": {"tickCount": 5},
    "mark": {"color": INK},
    "text": {"color": INK, "fontSize": 11},
}
ONE: dict[str, Any] = {"values": [{}]}  # the data of what is drawn once: it would be drawn for every row
HERE: dict[str, Any] = {
    "params": [{"name": "panel", "value": ""}],
    "transform": [{"filter": "datum.panel === panel"}],
}  # a panel's own rows


def shade(rules: str) -> str:
    """Return the colour of a rule or an assignment, as the theme shows it: charts.css gives each a lighter form in the dark."""
    return themed(colour(rules))


def themed(code: str) -> str:
    return f"var(--x{code.removeprefix('#')}, {code})"


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour, with one dash and one shape."""

    name: str
    colour: str
    dash: tuple[float, ...] = DASHES[0]
    shape: str = SHAPES[0]


def rule_dash(rule: str) -> tuple[float, ...]:
    return DASHES[CAME.index(rule) % len(DASHES)] if rule in CAME else DASHES[0]


def rule_shape(rules: str, kind: int = 0) -> str:
    """Return a rule's shape; mixed assignments are diamonds, of further networks other shapes."""
    rest = tuple(shape for shape in SHAPES if shape != "diamond")
    return rest[CAME.index(rules) % len(rest)] if rules in CAME else ("diamond", *rest)[kind % len(SHAPES)]


def looks(block: Block) -> list[tuple[Variant, Series]]:
    """Return how each variant of a table looks: rules by colour and shape, networks and protocols by dash; no name twice."""
    kinds = list(dict.fromkeys((variant.name, variant.protocols) for variant in block.variants))
    order = {kind: i for i, kind in enumerate(kinds)}
    found = []
    for variant, label in zip(block.variants, unique(name(variant, block) for variant in block.variants), strict=True):
        kind = order[variant.name, variant.protocols]
        found.append((variant, Series(label, shade(variant.rules), DASHES[kind % len(DASHES)], rule_shape(variant.rules, kind))))
    return found


def coloured(series: Iterable[Series]) -> dict[str, Any]:
    """Return the encoding of colours by series."""
    drawn = list(series)
    scale = {"domain": [one.name for one in drawn], "range": [one.colour for one in drawn]}
    return {"field": "series", "type": "nominal", "legend": None, "scale": scale}


def shaped(series: Iterable[Series]) -> dict[str, Any]:
    """Return the encoding of shapes by series."""
    drawn = list(series)
    scale = {"domain": [one.name for one in drawn], "range": [one.shape for one in drawn]}
    return {"field": "series", "type": "nominal", "legend": None, "scale": scale}


def quantity(field: str, title: str | None = None, **scale: Any) -> dict[str, Any]:
    """Return the encoding of a number along an axis."""
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False, "nice": True, **scale}}


def tips(*fields: tuple[str, str] | tuple[str, str, str]) -> list[dict[str, Any]]:
    """Return what hovering shows: (column, its title) of words, (column, title, format) of numbers."""
    return [
        {"field": field, "title": title, "type": "quantitative", "format": rest[0]}
        if rest
        else {"field": field, "title": title, "type": "nominal"}
        for field, title, *rest in fields
    ]
