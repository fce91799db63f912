"""What networks of cells cost before they are built: forward multiply-adds of convs and linears for one image. Imports no torch.

`account.flops` counts the same on a built network; the tests hold one against the other. For images of one pixel a layer costs what
it has of weights, so `side=1` counts those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bionas.space import POOLS, Candidate, Genotype, SearchSpace, edge_stride, edges, reductions


@dataclass(frozen=True)
class Images:
    """What a network is fed: channels, pixels a side, classes."""

    channels: int
    side: int
    classes: int


def operation(candidate: Candidate, channels: int, side: int) -> int:
    """One candidate, whose output has `side` pixels a side."""
    kind, pixels = candidate.operation, side * side
    if kind in ("none", *POOLS) or (kind == "skip_connect" and candidate.rule is None):
        return 0
    if kind == "skip_connect":
        return channels * channels * pixels  # two convs of half the channels
    taps = int(kind[-1]) ** 2
    return (2 if kind.startswith("sep") else 1) * channels * (taps + channels) * pixels


def network(genotype: Genotype, images: Images, channels: int, cells: int) -> int:
    """The derived network, without its auxiliary head, which evaluation does not run."""

    def inside(kind: str, width: int, side: int) -> int:
        genes = dict(genotype.cells())[kind]
        return sum(operation(_weighted(c, edge_stride(kind == "reduce", source)), width, side) for c, source in genes)

    return _stacked(images, channels, cells, len(genotype.normal) // 2, inside)


def weights_by_gene(genotype: Genotype, channels: int, cells: int) -> dict[tuple[str, int], int]:
    """Return the weights of every (cell, gene), over all of the network's cells."""
    found = {(kind, i): 0 for kind, genes in genotype.cells() for i in range(len(genes))}
    for at in range(cells):
        channels *= 2 if at in reductions(cells) else 1
        kind = "reduce" if at in reductions(cells) else "normal"
        for i, (candidate, source) in enumerate(dict(genotype.cells())[kind]):
            found[kind, i] += operation(_weighted(candidate, edge_stride(kind == "reduce", source)), channels, side=1)
    return found


def mean_network(space: SearchSpace, nodes: int, images: Images, channels: int, cells: int) -> int:
    """The derived network of a genotype that is not known yet: the mean over the space, every candidate alike likely."""

    def inside(kind: str, width: int, side: int) -> Fraction:
        total = Fraction(0)
        for source, target in edges(nodes):
            options = _options(space, edge_stride(kind == "reduce", source), none=False)
            total += Fraction(sum(operation(c, width, side) for c in options), len(options)) * Fraction(2, target)
        return total

    return _stacked(images, channels, cells, nodes, inside)


def supernet(space: SearchSpace, images: Images, channels: int, cells: int, nodes: int) -> int:
    """Every candidate of every edge."""

    def inside(kind: str, width: int, side: int) -> int:
        strides = [edge_stride(kind == "reduce", source) for source, _ in edges(nodes)]
        return sum(operation(c, width, side) for stride in strides for c in _options(space, stride))

    return _stacked(images, channels, cells, nodes, inside)


def _options(space: SearchSpace, stride: int, none: bool = True) -> Sequence[Candidate]:
    allowed = space.allowed(stride)
    return [_weighted(c, stride) for c, ok in zip(space.candidates, allowed, strict=True) if ok and (none or c.operation != "none")]


def _weighted(candidate: Candidate, stride: int) -> Candidate:
    """A skip has weights at stride 2 alone, whatever its label says."""
    if candidate.operation != "skip_connect":
        return candidate
    return Candidate("skip_connect", None if stride == 1 else candidate.rule or "bp")


def _stacked(images: Images, channels: int, cells: int, nodes: int, inside: Callable[[str, int, int], int | Fraction]) -> int:
    """Stem, preprocessing, cells and classifier; `inside(kind, channels, output side)` is what a cell's operations cost."""
    width, side = channels, images.side
    total: int | Fraction = images.channels * 3 * channels * 9 * side**2
    before = last = 3 * channels
    for i in range(cells):
        reduction = i in reductions(cells)
        width *= 2 if reduction else 1
        total += (before + last) * width * side**2  # at the cell's input resolution
        side = max(1, side // 2) if reduction else side
        total += inside("reduce" if reduction else "normal", width, side)
        before, last = last, nodes * width
    return round(total + last * images.classes)
