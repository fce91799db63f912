"""Searches: validation accuracy and the reach of α by epoch, and how α itself moved, by rule and by edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from reports.charts.chart import NOTHING, Panel, Row, draw
from reports.charts.curves import folded
from reports.charts.genotype import NAMES
from reports.charts.lines import Axis, Line, multiples, over_seeds
from reports.charts.style import HERE, INK, MUTED, Series, coloured, rule_dash, shade, themed, tips
from reports.numbers.names import PALETTE, RULES, spell, unique
from reports.numbers.tables import SearchGroup
from suite import store

EPOCH = Axis("epoch", "epoch", whole=True)
SHADES = (*PALETTE[2:4], PALETTE[1], *PALETTE[4:], PALETTE[0])
COLUMNS = 24  # epochs that a picture of every edge shows
WEIGHTLESS = "no weights"
APART = themed(PALETTE[6])  # where it stands beside BP, as a line: grey, as everywhere else, would be BP's
BANDS = "Bands are the range over seeds."


def searches(groups: Sequence[SearchGroup]) -> Markup:
    """Draw each search against the others; mean over seeds, range as a band.

    Random search may train paths for hundreds of epochs, of which only the end says something: it ends where the others do.
    """
    named = [(group, label) for group, label in _labelled(groups) if group.runs]
    if not named:
        return NOTHING
    mixed = [group for group, _ in named if not group.method.startswith("random")]
    last = max((len(run.arrays["curves/val_accuracy"]) for g in mixed for run in g.runs.values()), default=0)
    figures = []
    for column, title in (("val_accuracy", "supernet validation accuracy, %"), ("alpha_span", "α: heaviest − lightest candidate")):
        lines = []
        for i, (group, label) in enumerate(named):
            columns = [run.arrays[f"curves/{column}"] for run in group.runs.values()]
            if last and (epochs := max(map(len, columns))) > last and group not in mixed:
                columns, label = [values[-last:] for values in columns], f"{label} (after {epochs} epochs)"
            lines.append(over_seeds(label, Series(label, themed(SHADES[i % len(SHADES)])), columns))
        where = f"Searches {groups[0].dataset}: {title}"
        note = BANDS
        if column == "val_accuracy" and len(mixed) < len(named):
            note += " Random search has one accuracy, at its end."
        figures.append((title, multiples(where, [line for line in lines if line], EPOCH, Axis("epoch", title), note=note)))
    return folded([figures[0]]) + figures[1][1]


def alphas(groups: Sequence[SearchGroup]) -> Markup:
    """Draw how far the mixture favours each rule by epoch, in both kinds of cell, mean over edges and seeds; nothing where no α is kept.

    Random search has none that moves, over epochs that may be many more than the others'.
    """
    groups = [group for group in groups if not group.method.startswith("random")]
    lines: list[Line] = []
    for group, label in _labelled(groups):
        runs = [run for run in group.runs.values() if "alphas/candidates" in run.arrays]
        rules = [_rules(run) for run in runs]
        for rule in dict.fromkeys([*RULES, *group.rule_set, WEIGHTLESS]):  # one that the catalog lost, too
            look = Series(WEIGHTLESS, APART) if rule == WEIGHTLESS else Series(spell(rule), shade(rule), rule_dash(rule))
            for kind in NAMES:
                shares = [_weight(run.arrays[f"alphas/{kind}"], mine == rule) for run, mine in zip(runs, rules, strict=True)]
                shares = [share for share in shares if len(share)]
                if line := over_seeds(label, look, shares, kind=NAMES[kind]):
                    lines.append(line)
    if not lines:
        return Markup("")
    title = f"α over time, {groups[0].dataset}: weight of each rule"
    axis = Axis("epoch", "times the weight of an even mixture")
    heading = "α over time: weight of each rule's candidates, in times what an even mixture gives them"
    figure = multiples(title, lines, EPOCH, axis, 1, f"Dotted: an even mixture. {BANDS}", grey=False, heading=heading)
    return folded([("", figure), ("α edge by edge: which candidate weighs most", leaders(groups))])


def leaders(groups: Sequence[SearchGroup]) -> Markup:
    """Draw for every edge and epoch which candidate weighs most, and how much, in each search's first seed."""
    rows: list[Row] = []
    panels = []
    for group, label in _labelled(groups):
        runs = [(seed, run) for seed, run in sorted(group.runs.items()) if "alphas/candidates" in run.arrays]
        for kind in NAMES if runs else ():
            seed, run = runs[0]
            panel = f"{label}, seed {seed}: {NAMES[kind]}"
            found = _leading(run, kind, panel)
            rows += found
            words = f"{len({row['edge'] for row in found})} edges over epochs"
            panels.append((panel, words))
    known = dict.fromkeys([*RULES, *(rule for group in groups for rule in group.rule_set)])
    series = [Series(spell(rule), shade(rule), (), "square") for rule in known] + [Series(WEIGHTLESS, MUTED, (), "square")]
    series = [one for one in series if any(row["series"] == one.name for row in rows)]
    spec = _edges(series, max((int(row["edge"]) for row in rows), default=1))
    drawn = [Panel(panel, words, spec, {"panel": panel}) for panel, words in panels]
    title = f"α edge by edge, {groups[0].dataset}"
    note = "A row an edge, from the first to the last; the word at its end is the rule; the fuller the colour the heavier the candidate."
    return draw(title, rows, drawn, series, note=note)


def _labelled(groups: Sequence[SearchGroup]) -> list[tuple[SearchGroup, str]]:
    several = len({group.dataset for group in groups}) > 1
    return list(zip(groups, unique(f"{g.label} on {g.dataset}" if several else g.label for g in groups), strict=True))


def _rules(run: store.Run) -> np.ndarray:
    """Return each candidate's rule, or that it has no weights."""
    return np.array([str(candidate).partition(":")[2] or WEIGHTLESS for candidate in run.arrays["alphas/candidates"]])


def _weight(mixture: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Return by epoch the weight of some candidates, in times that of an even mixture of those that an edge may take; mean over edges."""
    allowed = (mixture > 0).any(axis=0)
    even = (allowed & mine).sum(1) / np.maximum(allowed.sum(1), 1)
    return (mixture[:, :, mine].sum(2)[:, even > 0] / even[even > 0]).mean(1) if (even > 0).any() else np.array([])


def _leading(run: store.Run, kind: str, panel: str) -> list[Row]:
    mixture, candidates, rules = run.arrays[f"alphas/{kind}"], run.arrays["alphas/candidates"], _rules(run)
    epochs = np.unique(np.linspace(0, len(mixture) - 1, min(COLUMNS, len(mixture))).round().astype(int))
    rows: list[Row] = []
    for n, epoch in enumerate(epochs):
        for edge, weights in enumerate(mixture[epoch]):
            best = int(np.argmax(weights))
            rule = spell(rules[best]) if rules[best] in RULES else str(rules[best])
            row: Row = {"panel": panel, "series": rule, "kind": kind, "epoch": int(epoch) + 1, "edge": edge + 1}
            row |= {"candidate": str(candidates[best]), "weight": 100 * float(weights[best])}
            rows.append(row | {"mark": rule if n == len(epochs) - 1 and rule != WEIGHTLESS else ""})
    return rows


def _edges(series: list[Series], edges: int) -> dict[str, Any]:
    along = {
        "field": "epoch",
        "type": "ordinal",
        "title": "epoch",
        "axis": {"labelOverlap": True, "labelAngle": 0},
        "scale": {"paddingInner": 0},
    }
    up = {"field": "edge", "type": "ordinal", "title": "edge", "axis": {"labelOverlap": True}, "scale": {"paddingInner": 0.15}}
    heavy = {"field": "weight", "type": "quantitative", "legend": None, "scale": {"range": [0.25, 1], "zero": False}}
    shown = tips(("edge", "edge"), ("epoch", "epoch"), ("candidate", "heaviest"), ("weight", "its share, %", ".1f"))
    return {
        "width": 222,
        "height": 12 * edges + 50,
        "padding": {"left": 2, "right": 30, "top": 2, "bottom": 2},
        **HERE,
        "layer": [
            {"mark": "rect", "encoding": {"x": along, "y": up, "color": coloured(series), "opacity": heavy, "tooltip": shown}},
            {
                "mark": {"type": "text", "align": "left", "dx": 3, "fontSize": 9, "color": INK},
                "transform": [{"filter": "datum.mark !== '' && isValid(datum.mark)"}],
                "encoding": {"x": {"value": "width"}, "y": up, "text": {"field": "mark"}},
            },
        ],
    }
