"""How a rule and a network are called and coloured, in tables and charts alike: from the catalog, so that an added one is, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bionas import catalog

if TYPE_CHECKING:
    from reports.numbers.tables import Block, Variant


def rules() -> tuple[str, ...]:
    """Return every rule of the catalog in the order of tables: BP last, since it is what the others stand against."""
    return (*(rule for rule in catalog.RULES if rule != "bp"), *catalog.NETWORK_RULES, "bp")


RULES = rules()


def ordered(found: Iterable[str], first: str = "") -> list[str]:
    """Return rules in the order of tables, but for a `first` one; those that the catalog does not know are last."""
    known = {rule: i for i, rule in enumerate(dict.fromkeys([first, *RULES]))}
    return sorted(dict.fromkeys(found), key=lambda rule: (known.get(rule, len(known)), rule))


# Okabe and Ito's colours, told apart by colour-blind readers, too. Rules take them from the front, rules of whole networks from the back.
PALETTE = ("#4b5563", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#7a5195", "#56b4e9")
COLOURS = {rule: PALETTE[i % len(PALETTE)] for i, rule in enumerate(catalog.RULES)}
COLOURS |= {rule: PALETTE[-1 - i % len(PALETTE)] for i, rule in enumerate(catalog.NETWORK_RULES)}
COLOURS |= {"searched": "#1f2933", "shuffled": "#9aa5b1", "uninformed": "#b8a9c9", "random": "#8c6d46"}
SPARE = "#8a8178"  # of a rule that is not known here, as of a plugin that is not installed

NETWORKS = {"resnet20": "ResNet-20", "resnet56": "ResNet-56", "lenet": "LeNet"}  # as papers have them; every other keeps its name
AS = {
    "searched": "as searched",
    "shuffled": "with its rules shuffled",
    "uninformed": "with an uninformed α",
    "random": "with random genotypes",
}


def colour(rules: str) -> str:
    """Return a rule's colour, or an assignment's."""
    return COLOURS.get(rules, SPARE)


def spell(name: str) -> str:
    """Write a rule as the paper does; an assignment's name stays as it is."""
    return catalog.SPELLING.get(name, name.upper()) if name in rules() else name


def network(name: str) -> str:
    """Write a network's name: lenet → LeNet; that of a cell stays as it is."""
    return NETWORKS.get(name, name)


def under(rules: str) -> str:
    """Say which rules a network has: under uSF, as searched."""
    return AS.get(rules) or f"under {spell(rules)}"


def name(variant: Variant, block: Block) -> str:
    """Name a variant by what tells it from the others of its table."""
    words = f"{variant.name}, {spell(variant.rules)}" if block.network == "cells" else spell(variant.rules)
    return f"{words} ({', '.join(variant.protocols)})" if block.protocols_differ else words


def full(variant: Variant) -> str:
    """Name a variant outside its table: ResNet-20 under uSF on digits."""
    return f"{network(variant.name)} {under(variant.rules)} on {variant.dataset}"


def place(block: Block) -> str:
    """Name a table's networks and their data: ResNet-20 on digits."""
    return f"{'Networks from genotypes' if block.network == 'cells' else network(block.network)} on {block.dataset}"


def size(block: Block, seeds: Iterable[int] | None = None) -> str:
    """Say how many networks a table has, and from how many seeds: 5 rules × 3 seeds; 5 rules × 0 to 2 of 3 seeds where some are missing.

    `seeds`: how many each variant has; those whose training ended well, unless said otherwise.
    """
    counts = sorted(seeds if seeds is not None else (len(variant.by_retraining("test_error")) for variant in block.variants))
    planned = max((len(variant.seeds) for variant in block.variants), default=0)
    kind = "network" if block.network == "cells" or block.protocols_differ else "rule"
    least, most = (counts[0], counts[-1]) if counts else (0, 0)
    of = f" of {planned}" if least < planned else ""
    found = f"{least} to {most}" if least < most else f"{most}"
    return f"{number(len(block.variants), kind)} × {found}{of} seed{'s' if planned != 1 else ''}"


def anchor(section: str, block: Block) -> str:
    """Return the id of a table's heading."""
    return "-".join(["in", section, *("".join(c if c.isalnum() else "-" for c in word) for word in (block.dataset, block.network))])


def unique(names: Iterable[str]) -> list[str]:
    """Number those names that came before."""
    seen: dict[str, int] = {}
    found = []
    for label in names:
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found


def number(count: int, noun: str, plural: str = "") -> str:
    """1 rule, 5 rules."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
