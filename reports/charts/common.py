"""The report's figures, as inline SVG by matplotlib: no script, nothing fetched, the same bytes for the same numbers."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from reports.numbers.names import COLOURS, SPARE, colour, name, spell
from reports.numbers.tables import Block, SearchGroup, Variant

if TYPE_CHECKING:
    from reports.numbers.attacked import Attack
    from reports.numbers.robustness import Part

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
DASHES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 4, 1, 4)), (0, (8, 2)))  # by network and protocol
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bionas",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


NOTHING = Markup("<figcaption>Nothing to draw yet.</figcaption>")


def errors(block: Block) -> Markup:
    """Test error of every seed as a dot, the mean as a bar."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 0.42 * len(block.variants) + 0.75), layout="constrained")
        axes = figure.subplots()
        axes.grid(axis="y", visible=False)
        for row, variant in enumerate(block.variants):
            values = list(variant.by_seed("test_error").values())
            if values:
                axes.barh(row, float(np.mean(values)), height=0.56, color=colour(variant.rules), alpha=0.28)
                axes.plot(values, [row] * len(values), "o", ms=6, color=colour(variant.rules), mec="white", mew=0.8)
            else:
                axes.text(0, row, "  no result", va="center", color=MUTED)
        axes.set_yticks(range(len(block.variants)), [name(v, block) for v in block.variants])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("test error, %: bar mean, dots seeds")
        return _svg(figure, f"Test error by rule, {block.dataset}, {block.network}")


MARKERS = {"own": "o", "true": "o", "none": "s", "transfer": "^"}  # open: its own gradient
WAYS = {"own": "its own gradient", "true": "the true gradient", "none": "no gradient", "transfer": "from another network"}
WAY_DASHES: dict[str, LineStyleType] = {"own": "--", "true": "-", "none": "-.", "transfer": ":"}
PANELS = 5  # a row


def attacked(part: Part) -> Markup:
    """Robust accuracy by attack and by the way that it took: mean over seeds; transfers from several networks together."""
    panels = [(attack, _left(part, attack)) for attack in part.single()]
    panels = [(attack, left) for attack, left in panels if left]
    variants = [variant for variant, _ in part.by_variant]
    rows, height = math.ceil(len(panels) / PANELS), 0.3 * len(variants) + 0.75
    with matplotlib.rc_context(STYLE | {"axes.titlesize": 9}):
        figure = Figure(figsize=(9.5, rows * height + 0.5), layout="constrained")
        grid = figure.subplots(rows, min(PANELS, len(panels)), sharey=True, squeeze=False).flat
        for (attack, left), axes in zip(panels, grid, strict=False):
            axes.grid(axis="y", visible=False)
            for row, (variant, networks) in enumerate(part.by_variant):
                means, shade = left.get(row, {}), colour(variant.rules)
                if len(means) > 1:
                    axes.plot([min(means.values()), max(means.values())], [row, row], "-", color=shade, lw=2, alpha=0.35)
                for kind, mean in means.items():
                    hollow = kind == "own" and not networks[0].plain
                    axes.plot(mean, row, MARKERS[kind], ms=6.5, mfc="white" if hollow else shade, mec=shade, mew=1.6, clip_on=False)
            axes.set_title(attack.label.replace("@", "\n"))
            axes.set_xlim(-4, 104)
            axes.set_xticks([0, 50, 100], ["0", "50", "100 "])
            axes.set_yticks(range(len(variants)), [name(v, part.block) for v in variants])
            axes.set_ylim(len(variants) - 0.4, -0.6)
        for spare in grid:
            spare.set_visible(False)
        words = (
            "robust accuracy, %. Circles: its own gradient (open), the true one (filled); squares: none; triangles: from another network"
        )
        figure.supxlabel(words, fontsize=9, color=MUTED)
        return _svg(figure, f"Robust accuracy by attack and way, {part.block.dataset}, {part.block.network}")


def _left(part: Part, attack: Attack) -> dict[int, dict[str, float]]:
    """Return {row of the variant: {kind of way: mean}}, of those that the attack met."""
    found: dict[int, dict[str, float]] = {}
    for row, (_, networks) in enumerate(part.by_variant):
        outcomes = {kind: [left for n in networks if (left := n.under(attack, kind)) is not None] for kind in MARKERS}
        if means := {kind: 100 * float(np.mean([left.mean() for left in each])) for kind, each in outcomes.items() if each}:
            found[row] = means
    return found


def budgets(part: Part) -> Markup:
    """Robust accuracy against the size of the perturbation: attacks that ran at several sizes, and those that seek the nearest error."""
    kinds = list(dict.fromkeys((variant.name, variant.protocols) for variant, _ in part.by_variant))
    panels = [(curve, kind) for curve in (*part.curves(), *part.minimal()) for kind in kinds]
    if not panels:
        return Markup("")
    with matplotlib.rc_context(STYLE | {"axes.titlesize": 9}):
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(9.5, 2.5 * rows + 0.6), layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        drawn: dict[str, LineStyleType] = {}
        for (curve, kind), axes in zip(panels, grid, strict=False):
            for variant, networks in ((v, networks) for v, networks in part.by_variant if (v.name, v.protocols) == kind):
                for way, (sizes, left) in part.against_size(curve, networks).items():
                    way = "true" if way == "own" and networks[0].plain else way
                    dots = {"marker": MARKERS[way], "ms": 3.5, "mfc": "white" if way == "own" else None} if len(sizes) < 20 else {}
                    axes.plot(sizes, left, color=colour(variant.rules), ls=WAY_DASHES[way], lw=1.5, **dots)
                    drawn[WAYS[way]] = WAY_DASHES[way]
            linf = curve[0].budget.norm == "linf"
            where = f", {kind[0]}{'' if kind[1] == ('repaired',) else ' ' + ', '.join(kind[1])}" if len(kinds) > 1 else ""
            axes.set_title(f"{curve[0].name}{where}")
            axes.set_xlabel("ε in L∞, 1/255 (root scale)" if linf else "distance in L2")
            if linf:
                axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
            axes.set_ylim(-3, 103)
            axes.set_xlim(left=0)
        for spare in grid:
            spare.set_visible(False)
        handles = {spell(v.rules): Line2D([], [], color=colour(v.rules), lw=1.6) for v, networks in part.by_variant if networks}
        handles |= {way: Line2D([], [], color=MUTED, ls=dashes, lw=1.6) for way, dashes in drawn.items()}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, fontsize=9)
        figure.supylabel("robust accuracy, %", fontsize=9, color=MUTED)
        return _svg(figure, f"Robust accuracy by size of the perturbation, {part.block.dataset}, {part.block.network}")


def curves(block: Block) -> Markup:
    """Learning curves: mean over seeds as a line, their range as a band. Networks that never ran are left out."""
    if not any(variant.trains for variant in block.variants):
        return NOTHING
    panels = [("train_loss", "training loss"), ("train_accuracy", "training accuracy, %")]
    if any(np.isfinite(run.arrays.get("curves/val_accuracy", [])).any() for v in block.variants for run in v.trains.values()):
        panels.append(("val_accuracy", "held-out accuracy, %"))
    kinds = list(dict.fromkeys((variant.name, variant.protocols) for variant in block.variants))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 2.9 + 0.2 * (len(block.variants) // 4)), layout="constrained")
        for axes, (column, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for variant in (v for v in block.variants if v.metric("train_loss").n):
                dashes = DASHES[kinds.index((variant.name, variant.protocols)) % len(DASHES)]
                columns = [run.arrays[f"curves/{column}"] for run in variant.trains.values() if f"curves/{column}" in run.arrays]
                _band(axes, columns, variant, name(variant, block), dashes)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if column == "train_loss":
                axes.set_yscale("log")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4 if block.network == "cells" else 6), fontsize=9)
        return _svg(figure, f"Learning curves, {block.dataset}, {block.network}")


def searches(groups: Sequence[SearchGroup]) -> Markup:
    """Validation accuracy of the supernet, and how far α has gone from uniform, by epoch; mean over seeds, range as a band.

    Random search may train paths for hundreds of epochs, of which only the end says something: it ends where the others do.
    """
    if not any(group.runs for group in groups):
        return NOTHING
    shades = [COLOURS["usf"], COLOURS["fa"], COLOURS["brsf"], COLOURS["frsf"], SPARE, COLOURS["bp"], "#56b4e9", "#9aa5b1"]
    several = len({group.dataset for group in groups}) > 1
    mixed = [g for g in groups if not g.method.startswith("random")]
    last = max((len(run.arrays["curves/val_accuracy"]) for g in mixed for run in g.runs.values()), default=0)
    panels = (("val_accuracy", "supernet validation accuracy, %"), ("alpha_span", "α: heaviest − lightest candidate"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.1), layout="constrained")
        for axes, (column, title) in zip(figure.subplots(1, 2), panels, strict=True):
            for i, group in enumerate(groups):
                if not group.runs:
                    continue
                label = f"{group.label} on {group.dataset}" if several else group.label
                columns = [run.arrays[f"curves/{column}"] for run in group.runs.values()]
                if last and (epochs := max(map(len, columns))) > last and group not in mixed:
                    columns, label = [values[-last:] for values in columns], f"{label} (after {epochs} epochs)"
                dots = column == "val_accuracy" and group not in mixed  # judged once, at the end
                _draw(axes, columns, shades[i % len(shades)], label, "-" if i < len(shades) else "--", "o" if dots else None)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), fontsize=9)
        return _svg(figure, "Searches " + groups[0].dataset)


def genotype(cells: Mapping[str, list[list[Any]]], title: str) -> Markup:
    """Both cells as tables: a column a node, a row a state that it may read, a box an operation, its colour the rule."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        nodes = len(cells["normal"]) // 2
        figure = Figure(figsize=(9.5, 0.9 + 0.36 * (nodes + 1)), layout="constrained")
        for axes, kind in zip(figure.subplots(1, 2), ("normal", "reduce"), strict=True):
            for node in range(nodes):
                genes = cells[kind][2 * node : 2 * node + 2]
                both = len({source for _, source in genes}) == 1  # two operations on one state share its row
                for i, (op, source) in enumerate(genes):
                    _box(axes, node, source - 0.25 + 0.5 * i if both else source, 0.46 if both else 0.92, op)
            axes.set_xlim(-0.5, nodes - 0.5)
            axes.set_ylim(nodes + 0.5, -0.5)
            axes.set_xticks(range(nodes), [f"node {node}" for node in range(nodes)])
            axes.set_yticks(range(nodes + 1), [f"input {state}" if state < 2 else f"node {state - 2}" for state in range(nodes + 1)])
            axes.xaxis.tick_top()
            axes.set_title(f"{kind} cell")
            axes.spines[:].set_visible(False)
            for edge in range(nodes):
                axes.axhline(edge + 0.5, color=GRID, lw=0.8, zorder=0)
        return _svg(figure, title)


def _box(axes: Axes, x: float, y: float, height: float, op: str) -> None:
    operation, _, rule = op.partition(":")
    shade = colour(rule) if rule else MUTED
    axes.add_patch(Rectangle((x - 0.48, y - height / 2), 0.96, height, fc=shade, alpha=0.18, ec="none"))
    words = operation.replace("_", " ").replace(" 3x3", " 3×3").replace(" 5x5", " 5×5").replace(" connect", "").replace(" conv", "")
    axes.text(x, y, f"{words}  {spell(rule)}" if rule else words, ha="center", va="center", fontsize=7.5, color=INK)


def _band(axes: Axes, columns: Iterable[np.ndarray], variant: Variant, label: str, dashes: LineStyleType) -> None:
    _draw(axes, columns, colour(variant.rules), label, dashes)


def _draw(axes: Axes, columns: Iterable[np.ndarray], shade: str, label: str, dashes: LineStyleType, marker: str | None = None) -> None:
    """Draw the mean over seeds and their range; a run that ended early counts as long as it ran."""
    columns = list(columns)
    length = max(map(len, columns))
    stacked = np.ma.masked_invalid([np.pad(column, (0, length - len(column)), constant_values=np.nan) for column in columns])
    epochs = np.arange(1, length + 1)
    axes.plot(epochs, stacked.mean(0), color=shade, lw=1.6, ls=dashes, label=label, marker="o" if length == 1 else marker)
    axes.fill_between(epochs, stacked.min(0), stacked.max(0), color=shade, alpha=0.15, lw=0)


def _svg(figure: Figure, title: str) -> Markup:
    """Return the figure as an <svg> that scales with the page and carries its title."""
    with io.StringIO() as out:
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are hashes of content; the title keeps them apart between figures of one page.
    prefix = f"c{hashlib.sha256(title.encode()).hexdigest()[:8]}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    width = math.ceil(figure.get_figwidth() * 100)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}" style="max-width: {width}px"', 1))
