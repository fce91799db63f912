"""How a rule and a network are called and coloured, in tables and charts alike: from the catalog, so that an added one is, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bionas import catalog

if TYPE_CHECKING:
    from reports.numbers.tables import Block, Variant

RULES = (*(rule for rule in catalog.RULES if rule != "bp"), *catalog.NETWORK_RULES, "bp")  # BP last: it is what the others stand against

# Okabe and Ito's colours, told apart by colour-blind readers, too. Rules take them from the front, rules of whole networks from the back.
PALETTE = ("#4b5563", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#7a5195", "#56b4e9")
COLOURS = {rule: PALETTE[i % len(PALETTE)] for i, rule in enumerate(catalog.RULES)}
COLOURS |= {rule: PALETTE[-1 - i % len(PALETTE)] for i, rule in enumerate(catalog.NETWORK_RULES)}
COLOURS |= {"searched": "#1f2933", "shuffled": "#9aa5b1", "uninformed": "#b8a9c9", "random": "#8c6d46"}
SPARE = "#e69f00"


def colour(rules: str) -> str:
    """Return a rule's colour, or an assignment's."""
    return COLOURS.get(rules, SPARE)


def spell(rules: str) -> str:
    """Write a rule as the paper does; an assignment's name stays as it is."""
    return catalog.SPELLING.get(rules, rules.upper()) if rules in RULES else rules


def name(variant: Variant, block: Block) -> str:
    """Name a variant by what tells it from the others of its table."""
    words = f"{variant.name}, {spell(variant.rules)}" if block.network == "cells" else spell(variant.rules)
    return f"{words} ({', '.join(variant.protocols)})" if len({v.protocols for v in block.variants}) > 1 else words
