"""Learning curves: a panel a variant, the others behind it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from reports.charts.chart import NOTHING
from reports.charts.lines import Axis, Line, multiples, over_seeds
from reports.charts.style import looks
from reports.numbers.tables import Block

EPOCH = Axis("epoch", "epoch", whole=True)
MEASURES = (
    ("train_loss", Axis("epoch", "training loss", "log")),
    ("train_accuracy", Axis("epoch", "training accuracy, %")),
    ("val_accuracy", Axis("epoch", "held-out accuracy, %")),
)


def curves(block: Block) -> Markup:
    """Draw mean over seeds and their range. Networks that never ran are left out; measures beside the first are folded up."""
    figures = []
    for column, axis in MEASURES:
        lines = _lines(block, column)
        if lines:
            title = f"Learning curves, {block.dataset}, {block.network}: {axis.title}"
            figures.append((axis.title, multiples(title, lines, EPOCH, axis)))
    return folded(figures)


def folded(figures: Sequence[tuple[str, Markup]]) -> Markup:
    """Return the first figure as it is, and the others each under its name to be opened."""
    if not figures:
        return NOTHING
    rest = [Markup("<details><summary>{}</summary>{}</details>").format(name, figure) for name, figure in figures[1:]]
    return Markup("").join([figures[0][1], *rest])


def _lines(block: Block, column: str) -> list[Line]:
    found = []
    for variant, look in looks(block):
        columns = [run.arrays[f"curves/{column}"] for run in variant.trains.values() if f"curves/{column}" in run.arrays]
        if line := over_seeds(look.name, look, columns):
            found.append(line)
    return found
