"""Figures of the analyses: distributions, variances beside errors, gradients and errors by depth, alignment by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from reports.charts.common import DASHES, MUTED, STYLE, _svg
from reports.numbers.analyses import Arrays, Row, stored
from reports.numbers.names import RULES, colour, name, spell
from reports.numbers.tables import Block, Variant

SHOWN = 0.999  # of the weights that lie within the figure
PANELS = 4  # distributions by layer in a row


def distributions(block: Block) -> Markup:
    """Density of weights over all layers and seeds: by variant, and of mixed networks by their layers' rule (Figures 5, 6)."""
    found = [(variant, list(stored(variant, "weights").values())) for variant in _with(block, "weights")]
    mixed = [(variant, networks) for variant, networks in found if any(len(_learning_rules(arrays)) > 1 for arrays in networks)][:2]
    with _figure(len(found), 1 + len(mixed)) as (figure, panels):
        edges = found[0][1][0]["edges"]
        reach = _reach(edges, np.sum([arrays["histogram"].sum(0) for _, networks in found for arrays in networks], axis=0))
        for variant, networks in found:
            counts = np.sum([arrays["histogram"].sum(0) for arrays in networks], axis=0)
            _density(panels[0], edges, reach, counts, colour(variant.rules), name(variant, block), _dashes(block, variant))
        panels[0].set_title("all weights of a network")
        for axes, (variant, networks) in zip(panels[1:], mixed, strict=True):
            for rule in RULES:
                counts = np.sum([arrays["histogram"][arrays["rules"] == rule].sum(0) for arrays in networks], axis=0)
                if np.any(counts):
                    _density(axes, edges, reach, counts, colour(rule), spell(rule), "-")
            axes.set_title(f"{name(variant, block)}, by rule")
            axes.legend(fontsize=8)
        for axes in panels:
            axes.set_yscale("log")
            axes.set_xlabel("weight")
        panels[0].set_ylabel("density")
        _legend(figure, panels[0], block)
        return _svg(figure, f"Distribution of weights, {block.dataset}, {block.network}")


def layers(block: Block) -> Markup:
    """Of the first seed's networks: where the middle half and the middle nine tenths of each layer's weights lie."""
    found = [(variant, next(iter(stored(variant, "weights").values()))) for variant in _with(block, "weights")]
    height = -(-len(found) // PANELS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 1.75 * height + 0.4), layout="constrained")
        panels = figure.subplots(height, min(PANELS, len(found)), sharey=True, squeeze=False).ravel()
        for i, (axes, (variant, arrays)) in enumerate(zip(panels, found, strict=False)):
            place = np.arange(1, len(arrays["names"]) + 1)
            quantile = {q: _quantiles(arrays, q) for q in (0.05, 0.25, 0.75, 0.95)}
            rules = arrays["rules"]
            shade = colour(variant.rules)
            axes.fill_between(place, quantile[0.05], quantile[0.95], color=shade, alpha=0.2, lw=0, step="mid")
            axes.fill_between(place, quantile[0.25], quantile[0.75], color=shade, alpha=0.45, lw=0, step="mid")
            if len(_learning_rules(arrays)) > 1:  # a strip below says which layer follows which rule
                shades = [colour(rule) for rule in rules]
                axes.scatter(place, np.full(len(place), 0.04), c=shades, s=5, marker="s", zorder=3, transform=axes.get_xaxis_transform())
            axes.set_title(name(variant, block), fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            if i >= len(found) - PANELS:  # nothing below
                axes.set_xlabel("layer, first to last")
            if i % PANELS == 0:
                axes.set_ylabel("weight")
        for axes in panels[len(found) :]:
            axes.set_visible(False)
        present = {rule for _, arrays in found if len(_learning_rules(arrays)) > 1 for rule in arrays["rules"]}
        if present:
            keys = [Patch(color=colour(rule), label=spell(rule)) for rule in RULES if rule in present]
            figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)
        return _svg(figure, f"Weights by layer, {block.dataset}, {block.network}")


def variances(block: Block, rows: Sequence[Row]) -> Markup:
    """Test error against the variance of weights (Figure 7) and against that of gradients (§4.1): a dot a variant, bars ± sd over seeds."""
    titles = {"weight_variance": "variance of weights", "variance_rule": "variance of a weight's gradient over batches"}
    shown = [key for key in titles if any(getattr(row, key).n for row in rows)]
    with _figure(len(rows), len(shown), sharey=True) as (figure, panels):
        for axes, key in zip(panels, shown, strict=True):
            for row in rows:
                variance, error = getattr(row, key), row.variant.metric("test_error")
                if variance.n and error.n and variance.mean > 0:
                    label, shade = name(row.variant, block), colour(row.variant.rules)
                    kind = "D" if row.variant.rules in ("searched", "shuffled") else "o"
                    low = min(variance.sd, 0.9 * variance.mean) if variance.n > 1 else 0  # a bar to 0 has no end on a logarithmic scale
                    across = [[low], [variance.sd if variance.n > 1 else 0]]
                    up = error.sd if error.n > 1 else 0
                    hollow = "white" if _dashes(block, row.variant) != "-" else shade
                    axes.errorbar(variance.mean, error.mean, up, across, fmt="none", color=shade, lw=1)
                    axes.plot(variance.mean, error.mean, kind, color=shade, mfc=hollow, ms=6, label=label)
            if key == "variance_rule":
                axes.set_xscale("log")
            axes.set_xlabel(titles[key])
        panels[0].set_ylabel("test error, %")
        panels[0].set_ylim(0, 1.05 * panels[0].get_ylim()[1])  # whole marks
        _legend(figure, panels[0], block)
        return _svg(figure, f"Variance beside accuracy, {block.dataset}, {block.network}")


def gradients(block: Block) -> Markup:
    """By depth: variance of the weight gradient over batches, distance and cosine of its mean to the true gradient's."""
    keys = {"variance_rule": "variance over batches", "bias": "distance to the true gradient", "cosine": "cosine with the true gradient"}
    return _by_depth(block, keys, "Gradient variance and bias by depth", linear=("bias", "cosine"))


def errors(block: Block) -> Markup:
    """By depth: norm of the error δ that a layer is handed (A.3.1)."""
    keys = {"delta_rule": "‖δ‖ by the rules", "delta_true": "‖δ‖ by the true gradient, same weights"}
    return _by_depth(block, keys, "Norm of δ by depth", sharey=True)


def alignment(block: Block) -> Markup:
    """By epoch, 0 being before the first: means over the layers that follow a rule, and over seeds, whose range is the band."""
    keys = {"angle": "angle of B with W, °", "ratio": "‖B‖ / ‖W‖", "gradient_angle": "angle of rule's and true gradient, °"}
    variants = [variant for variant in _with(block, "alignment") if variant.rules != "bp"]
    with _figure(len(variants), len(keys)) as (figure, panels):
        for axes, (key, title) in zip(panels, keys.items(), strict=True):
            for variant in variants:
                seeds = [_mean_of_learning(arrays, key) for arrays in stored(variant, "alignment").values()]
                length = max(map(len, seeds))
                stacked = np.ma.masked_invalid([np.pad(seed, (0, length - len(seed)), constant_values=np.nan) for seed in seeds])
                if stacked.count():
                    epochs, shade = np.arange(length), colour(variant.rules)
                    axes.plot(epochs, stacked.mean(0), color=shade, lw=1.6, ls=_dashes(block, variant), label=name(variant, block))
                    axes.fill_between(epochs, stacked.min(0), stacked.max(0), color=shade, alpha=0.15, lw=0)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if key != "ratio":
                axes.axhline(90, color=MUTED, lw=0.8, ls=":")
            axes.set_ylim(bottom=0)
        _legend(figure, panels[-1], block)
        return _svg(figure, f"Alignment by epoch, {block.dataset}, {block.network}")


def _by_depth(block: Block, keys: dict[str, str], title: str, sharey: bool = False, linear: Sequence[str] = ()) -> Markup:
    variants = _with(block, "gradients")
    with _figure(len(variants), len(keys), sharey=sharey) as (figure, panels):
        for axes, (key, heading) in zip(panels, keys.items(), strict=True):
            if key not in linear:
                axes.set_yscale("log")
            for variant in variants:
                if key in ("bias", "cosine") and variant.rules == "bp":
                    continue  # 0 and 1, by definition
                mean = np.ma.mean if key in linear else _geometric
                lines = [_along(arrays, key, mean) for arrays in stored(variant, "gradients").values()]
                length = max(map(len, lines))
                lines = [line for line in lines if len(line) == length]  # of other numbers of layers no mean can be made
                line = mean(np.ma.masked_invalid(lines), axis=0)
                dashes, label = _dashes(block, variant), name(variant, block)
                axes.plot(np.arange(1, length + 1), line, color=colour(variant.rules), lw=1.5, ls=dashes, marker="o", ms=2.5, label=label)
            if key in linear:
                axes.axhline(0, color=MUTED, lw=0.8, ls=":")
                _bound(axes)
            axes.set_title(heading)
            axes.set_xlabel("stem, cells, classifier" if block.network == "cells" else "layer, first to last")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _legend(figure, panels[0], block)
        return _svg(figure, f"{title}, {block.dataset}, {block.network}")


def _along(arrays: Arrays, key: str, mean: Callable[..., np.ndarray]) -> np.ndarray:
    """Return a layer after the other; layers of one cell lie beside each other, and count as one by their mean."""
    used = np.isfinite(arrays["norm_true"])
    place = np.array([_place(layer) for layer in arrays["names"][used]])
    values = np.ma.masked_invalid(arrays[key][used])
    return np.ma.filled(np.ma.stack([mean(values[place == here], axis=0) for here in dict.fromkeys(place)]).astype(float), np.nan)


def _bound(axes: Axes) -> None:
    """Leave out what is so far off that the rest would be a line: a distance of ten says no more than one of five."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 5.0))


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


def _density(axes: Axes, edges: np.ndarray, reach: float, counts: np.ndarray, shade: str, label: str, dashes: LineStyleType) -> None:
    density = counts / max(counts.sum(), 1) / np.diff(edges)
    middles = (edges[1:] + edges[:-1]) / 2
    shown = (density > 0) & (abs(middles) <= reach)
    axes.plot(middles[shown], density[shown], color=shade, lw=1.4, ls=dashes, label=label)


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


def _with(block: Block, analysis: str) -> list[Variant]:
    return [variant for variant in block.variants if stored(variant, analysis)]


def _dashes(block: Block, variant: Variant) -> LineStyleType:
    kinds = list(dict.fromkeys((v.name, v.protocols) for v in block.variants))
    return DASHES[kinds.index((variant.name, variant.protocols)) % len(DASHES)]


@contextmanager
def _figure(variants: int, columns: int, sharey: bool = False) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Yield a figure in the report's style, a row of panels and room for a legend of so many variants, and its panels."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 2.9 + 0.2 * (variants // 4)), layout="constrained")
        yield figure, figure.subplots(1, columns, sharey=sharey, squeeze=False)[0]


def _legend(figure: Figure, axes: Axes, block: Block) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4 if block.network == "cells" else 6), fontsize=9)
