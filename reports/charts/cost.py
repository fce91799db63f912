"""What accuracy costs: test error against multiply-adds, parameters, time, and what the search took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from reports.charts.chart import Panel, Row, draw
from reports.charts.lines import ruled
from reports.charts.style import HERE, INK, Series, coloured, looks, quantity, shaped, tips
from reports.numbers.tables import Block, SearchGroup, Variant

WIDTH, HEIGHT = 300, 220
SHOWN = 60  # variants


def cost(block: Block, searches: Iterable[SearchGroup] = ()) -> Markup:
    """Draw a mark a variant and a small one a seed, for every cost in which the variants differ; nothing where they differ in none."""
    spent = {
        run.id: float(run.metrics["multiply_adds"]) for group in searches for run in group.runs.values() if "multiply_adds" in run.metrics
    }
    measures: dict[str, Callable[[Variant], Mapping[int, float]]] = {
        "multiply-adds for an image": lambda variant: variant.by_seed("flops"),
        "parameters": lambda variant: variant.by_seed("num_parameters"),
        "seconds of training": _seconds,
        "multiply-adds of the search": lambda variant: {s: spent[p] for s, p in variant.parents.items() if p in spent},
    }
    found = looks(block)[:SHOWN]
    rows: list[Row] = []
    panels = []
    for title, measure in measures.items():
        drawn = [row for variant, look in found for row in _rows(variant, look, title, measure(variant))]
        costs = [row["cost"] for row in drawn if row["kind"] == "mean"]
        if len(costs) > 1 and max(costs) > 1.001 * min(costs):
            _name_ends([row for row in drawn if row["kind"] == "mean"])
            rows += drawn
            words = f"test error against {title}, from {min(costs):.3g} to {max(costs):.3g}"
            shown = [row["cost"] for row in drawn]
            spec = _spec([look for _, look in found], title, min(shown), max(shown))
            panels.append(Panel(title.capitalize(), words, spec, {"panel": title}))
    if not panels:
        return Markup("")
    series = [
        Series(look.name, look.colour, (), f"open-{look.shape}") for _, look in found if any(row["series"] == look.name for row in rows)
    ]
    note = "Large marks are means over seeds, small ones seeds; named are the cheapest and the best. Times are those of the runs' machines."
    if len(block.variants) > len(found):
        note = f"The first {len(found)} of {len(block.variants)} networks. {note}"
    return draw(
        f"Cost against accuracy, {block.dataset}, {block.network}",
        rows,
        panels,
        series,
        note=note,
        heading="Test error, %, against what it costs",
    )


def _seconds(variant: Variant) -> dict[int, float]:
    """Return the mean seconds of a training, by the definition's seed."""
    found: dict[int, list[float]] = {}
    for seed, run in variant.trains.items():
        if run.status == "ok" and float(run.timings.get("seconds", 0)) > 0:
            found.setdefault(variant.of_seed.get(seed, seed), []).append(float(run.timings["seconds"]))
    return {seed: sum(each) / len(each) for seed, each in found.items()}


def _rows(variant: Variant, look: Series, panel: str, costs: Mapping[int, float]) -> list[Row]:
    errors = variant.by_seed("test_error")
    seeds = sorted(errors.keys() & costs.keys())
    base: Row = {"panel": panel, "series": look.name}
    rows: list[Row] = [base | {"kind": "seed", "seed": seed, "cost": costs[seed], "value": errors[seed]} for seed in seeds]
    if not rows:
        return []
    mean = {"cost": sum(costs[s] for s in seeds) / len(seeds), "value": sum(errors[s] for s in seeds) / len(seeds), "seeds": len(seeds)}
    return [base | {"kind": "mean"} | mean, *rows]


def _name_ends(means: list[Row]) -> None:
    """Mark the cheapest, of those the best, and the best, of those the cheapest, so that their names are written beside them."""
    cheapest = min(means, key=lambda row: (row["cost"], row["value"]))
    best = min(means, key=lambda row: (row["value"], row["cost"]))
    costs = [float(row["cost"]) for row in means]
    middle = (min(costs) * max(costs)) ** 0.5
    for row, place in ((cheapest, "above"), (best, "below")):
        row["side"] = f"{place} {'left' if float(row['cost']) < middle else 'right'}"


def _spec(series: list[Series], title: str, low: float, high: float) -> dict[str, Any]:
    along, up = quantity("cost", title, type="log", nice=False, padding=12), quantity("value", "test error, %", padding=8)
    along["axis"] = {"format": "~s", "values": ruled(low, high)}
    shown = tips(("series", "network"), ("value", "test error, %", ".2f"), ("cost", title, ".4~s"))
    base = {"x": along, "y": up, "color": coloured(series), "shape": shaped(series)}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        **HERE,
        "layer": [
            {
                "transform": [{"filter": "datum.kind === 'seed'"}],
                "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.45},
                "encoding": {**base, "tooltip": shown + tips(("seed", "seed"))},
            },
            {
                "transform": [{"filter": "datum.kind === 'mean'"}],
                "mark": {"type": "point", "size": 70, "opacity": 1, "strokeWidth": 2},
                "encoding": {**base, "tooltip": shown + tips(("seeds", "seeds", "d"))},
            },
            *(
                {
                    "transform": [{"filter": f"datum.side === '{place} {side}'"}],
                    "mark": {"type": "text", "align": side, "dy": dy, "dx": -5 if side == "left" else 5, "fontSize": 10, "color": INK},
                    "encoding": {"x": along, "y": up, "text": {"field": "series"}},
                }
                for side in ("left", "right")
                for place, dy in (("above", -11), ("below", 13))
            ),
        ],
    }
