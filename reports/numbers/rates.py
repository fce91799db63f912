"""The learning rates that were tried for every network and rule, and the one that each was trained with."""

from __future__ import annotations

from dataclasses import dataclass

from reports.numbers.tables import Block, Results, Variant
from suite import store


@dataclass(frozen=True)
class Row:
    """A variant whose learning rate was chosen, and how the rates of its grid did."""

    block: Block
    variant: Variant
    rates: store.Rates


def tried(results: Results) -> list[Row]:
    """Return a row for every variant with a grid of learning rates, of those whose tuning runs are all there."""
    tuned = [(block, variant) for block in results.blocks for variant in block.variants if variant.tuning]
    whole = [(b, v) for b, v in tuned if all(id in results.tuning for _, ids in v.tuning for id in ids)]
    return [Row(block, variant, store.rates(variant.tuning, results.tuning)) for block, variant in whole]


def grid(rows: list[Row]) -> list[float]:
    """Return every rate that some variant was tried with, in order."""
    return sorted({rate for row in rows for rate in row.rates.accuracies})
