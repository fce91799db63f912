"""Figures of the analyses: distributions, variances beside errors, gradients and errors by depth, alignment by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from reports.charts.chart import NOTHING, Panel, draw
from reports.charts.chart import Row as Drawn
from reports.charts.curves import folded
from reports.charts.lines import SHORT, WHOLE, Axis, Line, multiples, over_seeds, ruled
from reports.charts.style import HERE, Series, coloured, looks, quantity, rule_shape, shade, shaped, tips
from reports.numbers.analyses import Arrays, Row, stored
from reports.numbers.names import ordered, spell
from reports.numbers.tables import Block, Variant

SHOWN = 0.999  # of the weights that lie within the figure
FAR = 5.0  # a distance of ten says no more than one of five


def distributions(block: Block) -> Markup:
    """Density of weights over all layers and seeds: by variant, and of mixed networks by their layers' rule (Figures 5, 6)."""
    found = [(look, list(stored(variant, "weights").values())) for variant, look in _with(block, "weights")]
    edges = found[0][1][0]["edges"]
    reach = _reach(edges, np.sum([arrays["histogram"].sum(0) for _, networks in found for arrays in networks], axis=0))
    whole = [_density(look.name, look, edges, reach, [arrays["histogram"].sum(0) for arrays in networks]) for look, networks in found]
    mixed = [(look, networks) for look, networks in found if any(len(_learning_rules(arrays)) > 1 for arrays in networks)]
    by_rule = [
        _density(look.name, Series(spell(rule), shade(rule)), edges, reach, [a["histogram"][a["rules"] == rule].sum(0) for a in networks])
        for look, networks in mixed
        for rule in ordered(str(rule) for _, networks in mixed for arrays in networks for rule in arrays["rules"])
    ]
    x, y = Axis("weight", "weight"), Axis("weight", "density", "log")
    title = f"Distribution of weights, {block.dataset}, {block.network}"
    figures = [("", multiples(title, _some(whole), x, y, heading="Density of all weights of a network"))]
    if mixed:
        parts = multiples(f"{title}, by rule", _some(by_rule), x, y, grey=False, heading="Density of weights, by their layer's rule")
        figures.append(("mixed networks, by their layers' rule", parts))
    return folded(figures)


def layers(block: Block) -> Markup:
    """Of the first seed's networks: where the middle half and the middle nine tenths of each layer's weights lie."""
    rows: list[Drawn] = []
    panels = []
    found = [(look, next(iter(stored(variant, "weights").values()))) for variant, look in _with(block, "weights")]
    for look, arrays in found:
        quantile = {q: _quantiles(arrays, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        for i, (layer, rule) in enumerate(zip(arrays["names"], arrays["rules"], strict=True)):
            row: Drawn = {"panel": look.name, "series": look.name, "kind": spell(rule), "layer": i + 1, "name": str(layer)}
            rows.append(row | {f"q{round(100 * q)}": float(quantile[q][i]) for q in quantile})
        panels.append((look.name, f"{len(arrays['names'])} layers"))
    rules = ordered(str(rule) for _, arrays in found for rule in arrays["rules"])
    kinds = [Series(spell(rule), shade(rule), (), rule_shape(rule)) for rule in rules]
    spec = _spread(kinds)
    drawn = [Panel(name, words, spec, {"panel": name}, name) for name, words in panels]
    title = f"Weights by layer, {block.dataset}, {block.network}"
    return draw(title, rows, drawn, (), kinds, heading="Weights by layer: middle half (thick), middle nine tenths (thin), median")


def variances(block: Block, rows: Sequence[Row]) -> Markup:
    """Test error against the variance of weights (Figure 7) and against that of gradients (§4.1): a mark a variant, lines ± sd."""
    titles = {"weight_variance": "variance of weights", "variance_rule": "variance of a weight's gradient over batches"}
    found = {id(variant): look for variant, look in looks(block)}
    drawn: list[Drawn] = []
    panels, shown = [], [found[id(row.variant)] for row in rows]
    for key, title in titles.items():
        here: list[Drawn] = []
        for row in rows:
            variance, error = getattr(row, key), row.variant.metric("test_error")
            if variance.n and error.n and variance.mean > 0:
                spread = variance.sd if variance.n > 1 else 0.0
                up = error.sd if error.n > 1 else 0.0
                values = {"variance": variance.mean, "value": error.mean, "seeds": min(variance.n, error.n), "sd": up, "spread": spread}
                ends = {"left": max(variance.mean - spread, 0.1 * variance.mean), "right": variance.mean + spread}  # a bar to 0 has no end
                ends |= {"low": error.mean - up, "high": error.mean + up}
                here.append({"panel": title, "series": found[id(row.variant)].name, "kind": "mean"} | values | ends)
        if here:
            drawn += here
            panels.append(Panel(title.capitalize(), f"test error against {title}", _scatter(shown, title, *_ends(here)), {"panel": title}))
    series = [Series(look.name, look.colour, (), f"open-{look.shape}") for look in shown]
    title = f"Variance beside accuracy, {block.dataset}, {block.network}"
    return draw(title, drawn, panels, series, heading="Test error, %, against variance") if panels else NOTHING


def gradients(block: Block) -> Markup:
    """By depth: variance of the weight gradient over batches, distance and cosine of its mean to the true gradient's."""
    figures = []
    for key, title in {
        "variance_rule": "variance of the gradient over batches",
        "bias": "distance to the true gradient",
        "cosine": "cosine with the true gradient",
    }.items():
        linear = key != "variance_rule"
        lines = [
            line
            for variant, look in _with(block, "gradients")
            if (not linear or variant.rules != "bp") and (line := _depth(variant, look, key, linear))  # BP's are 0 and 1 by definition
        ]
        if lines:
            where = f"Gradient variance and bias by depth, {block.dataset}, {block.network}: {title}"
            top = max(float(np.nanmax(line.mean)) for line in lines)
            low = min(0.0, *(float(np.nanmin(line.mean)) for line in lines))
            domain = (low, min(max(top, low + 0.1), FAR)) if linear else None
            axis = Axis("layer", title, "linear" if linear else "log", domain=domain)
            figures.append((title, multiples(where, lines, _along_depth(block), axis, mark=0 if linear else None)))
    return folded(figures)


def errors(block: Block) -> Markup:
    """By depth: norm of the error δ that a layer is handed (A.3.1), by the rules and by the true gradient of the same weights."""
    keys = {"delta_rule": "by the rules", "delta_true": "by the true gradient, same weights"}
    lines = [_depth(variant, look, key, False, words) for variant, look in _with(block, "gradients") for key, words in keys.items()]
    title = f"Norm of δ by depth, {block.dataset}, {block.network}"
    return multiples(title, _some(lines), _along_depth(block), Axis("layer", "‖δ‖", "log"), heading="‖δ‖ by depth")


def alignment(block: Block) -> Markup:
    """By epoch, 0 being before the first: means over the layers that follow a rule, and over seeds, whose range is the band."""
    figures = []
    variants = [(variant, look) for variant, look in _with(block, "alignment") if variant.rules != "bp"]
    for key, title in {
        "angle": "angle of B with W, °",
        "gradient_angle": "angle of rule's and true gradient, °",
        "ratio": "‖B‖ / ‖W‖",
    }.items():
        columns = [
            (look, [_mean_of_learning(arrays, key) for arrays in stored(variant, "alignment").values()]) for variant, look in variants
        ]
        lines = _some(over_seeds(look.name, look, each, first=0) for look, each in columns)
        if lines:
            where = f"Alignment by epoch, {block.dataset}, {block.network}: {title}"
            axis = Axis("epoch", title)
            figures.append((title, multiples(where, lines, Axis("epoch", "epoch", whole=True), axis, mark=None if key == "ratio" else 90)))
    return folded(figures)


def _ends(rows: Sequence[Drawn]) -> tuple[float, float]:
    found = [float(row[end]) for row in rows for end in ("left", "right")]
    return min(found), max(found)


def _some(lines: Iterator[Line | None] | Sequence[Line | None]) -> list[Line]:
    return [line for line in lines if line]


def _along_depth(block: Block) -> Axis:
    return Axis("layer", "stem, cells, classifier" if block.network == "cells" else "layer, first to last", whole=True)


def _depth(variant: Variant, look: Series, key: str, linear: bool, kind: str = "mean") -> Line | None:
    """Return the mean over seeds, a place after the other; of other numbers of layers no mean can be made."""
    mean = np.ma.mean if linear else _geometric
    columns = [_along(arrays, key, mean) for arrays in stored(variant, "gradients").values()]
    length = max(map(len, columns))
    stacked = np.ma.masked_invalid([column for column in columns if len(column) == length])
    values = np.ma.filled(mean(stacked, axis=0).astype(float), np.nan)
    if not np.isfinite(values).any():
        return None
    return Line(look.name, look, range(1, length + 1), values, values, values, len(stacked), kind)


def _density(panel: str, look: Series, edges: np.ndarray, reach: float, histograms: Sequence[np.ndarray]) -> Line | None:
    counts = np.sum(histograms, axis=0)
    density = counts / max(counts.sum(), 1) / np.diff(edges)
    middles = (edges[1:] + edges[:-1]) / 2
    shown = (density > 0) & (abs(middles) <= reach)
    values = density[shown]
    return Line(panel, look, middles[shown], values, values, values, len(histograms)) if shown.any() else None


def _spread(kinds: Sequence[Series]) -> dict[str, Any]:
    names, colours = [one.name for one in kinds], [one.colour for one in kinds]
    colour: dict[str, Any] = {"field": "kind", "type": "nominal", "legend": None, "scale": {"domain": names, "range": colours}}
    shape = {**colour, "scale": {"domain": names, "range": [one.shape for one in kinds]}}
    x, up = quantity("layer", "layer, first to last", nice=False, padding=6), quantity("q5", None)
    x["axis"], up["axis"] = WHOLE, {}
    shown = tips(("name", "layer"), ("kind", "rule"), *((f"q{q}", f"{q} %", ".3~g") for q in (5, 25, 50, 75, 95)))
    thin: dict[str, Any] = {"x": x, "y": up, "y2": {"field": "q95"}, "color": colour, "tooltip": shown}
    thick = {**thin, "y": {**up, "field": "q25"}, "y2": {"field": "q75"}}
    dot = {"x": x, "y": {**up, "field": "q50"}, "color": colour, "shape": shape, "tooltip": shown}
    return {
        "width": 222,
        "height": 150,
        **HERE,
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.7}, "encoding": thin},
            {"mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.7}, "encoding": thick},
            {"mark": {"type": "point", "filled": True, "size": 14, "opacity": 1}, "encoding": dot},
        ],
    }


def _scatter(series: Sequence[Series], title: str, low: float, high: float) -> dict[str, Any]:
    x, up = quantity("variance", title, type="log", nice=False, padding=12), quantity("value", "test error, %", padding=8)
    x["axis"] = {"labelExpr": SHORT, "values": ruled(low, high)}
    shown = tips(
        ("series", "network"),
        ("value", "test error, %", ".2f"),
        ("sd", "± sd", ".2f"),
        ("variance", title, ".3~g"),
        ("spread", "± sd", ".2~g"),
    )
    base = {"x": x, "y": up, "color": coloured(series)}
    across = {**base, "x": {**x, "field": "left"}, "x2": {"field": "right"}}
    upright = {**base, "y": {**up, "field": "low"}, "y2": {"field": "high"}}
    return {
        "width": 300,
        "height": 220,
        **HERE,
        "layer": [
            {"mark": {"type": "rule", "opacity": 0.6}, "encoding": across},
            {"mark": {"type": "rule", "opacity": 0.6}, "encoding": upright},
            {
                "mark": {"type": "point", "size": 70, "strokeWidth": 2, "opacity": 1},
                "encoding": {**base, "shape": shaped(series), "tooltip": [*shown, *tips(("seeds", "seeds", "d"))]},
            },
        ],
    }


def _along(arrays: Arrays, key: str, mean: Callable[..., np.ndarray]) -> np.ndarray:
    """Return a layer after the other; layers of one cell lie beside each other, and count as one by their mean."""
    used = np.isfinite(arrays["norm_true"])
    place = np.array([_place(layer) for layer in arrays["names"][used]])
    values = np.ma.masked_invalid(arrays[key][used])
    return np.ma.filled(np.ma.stack([mean(values[place == here], axis=0) for here in dict.fromkeys(place)]).astype(float), np.nan)


def _place(layer: str) -> str:
    """cells.3.edges.0.1 → cells.3; any other layer is a place of its own."""
    return ".".join(layer.split(".")[:2]) if layer.startswith("cells.") else layer


def _geometric(values: np.ma.MaskedArray, axis: int) -> np.ma.MaskedArray:
    """Geometric mean; of what spans powers of ten. Zeros have none and are left out."""
    return np.ma.exp(np.ma.log(values).mean(axis=axis))


def _mean_of_learning(arrays: Arrays, key: str) -> np.ndarray:
    """Return the mean over the layers that follow another rule than BP, by epoch."""
    among = np.ma.masked_invalid(arrays[key][:, arrays["rules"] != "bp"])
    return np.ma.filled(among.mean(axis=1).astype(float), np.nan)


def _reach(edges: np.ndarray, counts: np.ndarray) -> float:
    """Return how far from 0 a bin lies within which nearly all weights are."""
    middles = np.abs((edges[1:] + edges[:-1]) / 2)
    order = np.argsort(middles)
    enough = np.searchsorted(np.cumsum(counts[order]), SHOWN * counts.sum())
    return float(middles[order][enough])


def _quantiles(arrays: Arrays, q: float) -> np.ndarray:
    """Return each layer's quantile, by its histogram."""
    share = np.cumsum(arrays["histogram"], axis=1) / np.maximum(arrays["histogram"].sum(1, keepdims=True), 1)
    return np.array([np.interp(q, [0, *layer], arrays["edges"]) for layer in share])


def _learning_rules(arrays: Arrays) -> set[str]:
    return set(arrays["rules"]) - {"bp"}


def _with(block: Block, analysis: str) -> list[tuple[Variant, Series]]:
    return [(variant, look) for variant, look in looks(block) if stored(variant, analysis)]
