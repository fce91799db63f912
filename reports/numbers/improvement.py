"""By how much searched cells are better than random ones of the same space: relative improvement (Yang, Esperança & Carlucci 2020).

RI = 100 × (accuracy of the method − accuracy of random architectures) ÷ accuracy of random architectures: it takes out of a method's
number what its space and its training are worth without any search.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.numbers.statistics import Summary
from reports.numbers.tables import Block, Results, Variant


@dataclass(frozen=True)
class Improvement:
    """A searched cell, random genotypes of its space that were trained like it, and every seed's relative improvement, in percent."""

    block: Block
    variant: Variant
    random: Variant
    by_seed: dict[int, float]

    @property
    def ri(self) -> Summary:
        return Summary.of(self.by_seed.values())


def improvements(results: Results) -> list[Improvement]:
    """Return a row for every searched cell beside which random ones of its space were trained alike; its own search's come first."""
    spaces = {s["id"]: (s["rule_set"], s["settings"].get("space"), s["settings"].get("nodes")) for s in results.plan["searches"]}

    def space(variant: Variant) -> list[str]:
        return sorted({str(spaces.get(parent)) for parent in variant.found_by})

    rows = []
    for block in results.blocks:
        controls = [v for v in block.variants if v.rules == "random"]
        for variant in (v for v in block.variants if v.rules == "searched" and v.found_by):
            alike = [c for c in controls if c.trained_like(variant) and space(c) == space(variant)]
            alike.sort(key=lambda c: c.network != variant.network)  # stable
            if alike:
                rows.append(Improvement(block, variant, alike[0], _relative(variant, alike[0])))
    return rows


def _relative(variant: Variant, random: Variant) -> dict[int, float]:
    ours, theirs = ({seed: 100 - error for seed, error in v.by_seed("test_error").items()} for v in (variant, random))
    return {seed: 100 * (ours[seed] - theirs[seed]) / theirs[seed] for seed in sorted(ours.keys() & theirs.keys()) if theirs[seed]}
