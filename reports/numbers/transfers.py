"""Which attacks carry over from a network to the same one under other rules (A.3.3): a matrix an attack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reports.numbers.names import ordered
from reports.numbers.statistics import Summary
from reports.numbers.tables import Block, Variant

TRANSFER = re.compile(r"robust_accuracy_(.+)_from-([a-z0-9_]+)")


@dataclass(frozen=True)
class Transfer:
    """Robust accuracy of a table's variants under one attack, whose images were made on the network that follows one rule throughout."""

    attack: str
    sources: tuple[str, ...]
    rows: tuple[tuple[Variant, tuple[Summary, ...]], ...]  # of each variant: through its own true gradient, then by source


def transfers(block: Block) -> list[Transfer]:
    """Return a matrix for every attack that was transferred."""
    found: dict[str, list[str]] = {}
    for variant in block.variants:
        for run in variant.evaluations.values():
            for metric in run.metrics:
                if match := TRANSFER.fullmatch(metric):
                    sources = found.setdefault(match[1], [])
                    if match[2] not in sources:
                        sources.append(match[2])
    by_rule = {attack: ordered(sources, first="bp") for attack, sources in found.items()}
    return [Transfer(attack, tuple(sources), tuple(_transferred(block, attack, sources))) for attack, sources in by_rule.items()]


def _transferred(block: Block, attack: str, sources: list[str]) -> Iterator[tuple[Variant, tuple[Summary, ...]]]:
    for variant in block.variants:
        through = tuple(variant.metric(f"robust_accuracy_{attack}_from-{source}") for source in sources)
        if any(summary.n for summary in through):
            yield variant, (variant.metric(f"robust_accuracy_{attack}_true"), *through)
