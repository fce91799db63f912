"""What networks of cells cost before they are built: one image going forward through convs and linears. Imports no torch.

`account.counted` counts the same on a built network; the tests hold one against the other. For images of one pixel a layer's
multiply-adds are its weights, so `side=1` counts those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from bionas.space import POOLS, Candidate, Genotype, SearchSpace, edge_stride, edges, reductions


@dataclass(frozen=True)
class Images:
    """What a network is fed: channels, pixels a side, classes."""

    channels: int
    side: int
    classes: int


@dataclass(frozen=True)
class Forward:
    """One image going forward: multiply-adds, numbers that layers put out, and layers. The mean of several may be fractions."""

    flops: int | Fraction = 0
    numbers: int | Fraction = 0
    layers: int | Fraction = 0

    def __add__(self, other: Forward) -> Forward:
        return Forward(self.flops + other.flops, self.numbers + other.numbers, self.layers + other.layers)

    def __mul__(self, times: int | Fraction) -> Forward:
        return Forward(self.flops * times, self.numbers * times, self.layers * times)

    def rounded(self) -> Forward:
        return Forward(round(self.flops), round(self.numbers), round(self.layers))


def _layer(inputs: int, channels: int, pixels: int) -> Forward:
    """A conv or linear, each of whose outputs is a sum of so many products."""
    return Forward(inputs * channels * pixels, channels * pixels, 1)


def operation(candidate: Candidate, channels: int, side: int) -> Forward:
    """One candidate, whose output has `side` pixels a side."""
    kind, pixels = candidate.operation, side * side
    if kind == "none" or (kind == "skip_connect" and candidate.rule is None):
        return Forward()
    if kind in POOLS:
        return Forward(0, channels * pixels, 1)
    if kind == "skip_connect":
        return Forward(channels * channels * pixels, channels * pixels, 2)  # two convs of half the channels
    if not kind.startswith(("sep_conv_", "dil_conv_")):
        raise ValueError(f"operation: nobody knows what {kind!r} costs; allowed: what suite/definition/cost.py has a case for")
    return (_layer(int(kind[-1]) ** 2, channels, pixels) + _layer(channels, channels, pixels)) * (2 if kind.startswith("sep") else 1)


def network(genotype: Genotype, images: Images, channels: int, cells: int) -> Forward:
    """The derived network, without its auxiliary head, which evaluation does not run."""

    def inside(kind: str, width: int, side: int) -> Forward:
        genes = dict(genotype.cells())[kind]
        return _sum(operation(_weighted(c, edge_stride(kind == "reduce", source)), width, side) for c, source in genes)

    return _stacked(images, channels, cells, len(genotype.normal) // 2, inside)


def weights_by_gene(genotype: Genotype, channels: int, cells: int) -> dict[tuple[str, int], int]:
    """Return the weights of every (cell, gene), over all of the network's cells."""
    found = {(kind, i): 0 for kind, genes in genotype.cells() for i in range(len(genes))}
    for at in range(cells):
        channels *= 2 if at in reductions(cells) else 1
        kind = "reduce" if at in reductions(cells) else "normal"
        for i, (candidate, source) in enumerate(dict(genotype.cells())[kind]):
            found[kind, i] += int(operation(_weighted(candidate, edge_stride(kind == "reduce", source)), channels, side=1).flops)
    return found


def mean_network(space: SearchSpace, nodes: int, images: Images, channels: int, cells: int) -> Forward:
    """The derived network of a genotype that is not known yet: the mean over the space, every candidate alike likely."""

    def inside(kind: str, width: int, side: int) -> Forward:
        total = Forward()
        for source, target in edges(nodes):
            options = _options(space, edge_stride(kind == "reduce", source), none=False)
            total += _sum(operation(c, width, side) for c in options) * Fraction(2, target * len(options))
        return total

    return _stacked(images, channels, cells, nodes, inside)


def supernet(space: SearchSpace, images: Images, channels: int, cells: int, nodes: int) -> Forward:
    """Every candidate of every edge; all rules and edges that leave one state in one call of a layer, since the mixture is fused."""

    def inside(kind: str, width: int, side: int) -> Forward:
        strides = [edge_stride(kind == "reduce", source) for source, _ in edges(nodes)]
        every = _sum(operation(c, width, side) for stride in strides for c in _options(space, stride))
        kinds = {c.operation: operation(c, width, side).layers for stride in strides for c in _options(space, stride)}
        return replace(every, layers=(nodes + 1) * sum(kinds.values()))

    return _stacked(images, channels, cells, nodes, inside)


def _options(space: SearchSpace, stride: int, none: bool = True) -> Sequence[Candidate]:
    allowed = space.allowed(stride)
    return [_weighted(c, stride) for c, ok in zip(space.candidates, allowed, strict=True) if ok and (none or c.operation != "none")]


def _weighted(candidate: Candidate, stride: int) -> Candidate:
    """A skip has weights at stride 2 alone, whatever its label says."""
    if candidate.operation != "skip_connect":
        return candidate
    return Candidate("skip_connect", None if stride == 1 else candidate.rule or "bp")


def _stacked(images: Images, channels: int, cells: int, nodes: int, inside: Callable[[str, int, int], Forward]) -> Forward:
    """Stem, preprocessing, cells and classifier; `inside(kind, channels, output side)` is what a cell's operations cost."""
    width, side = channels, images.side
    total = _layer(images.channels * 9, 3 * channels, side**2)
    before = last = 3 * channels
    for i in range(cells):
        reduction = i in reductions(cells)
        width *= 2 if reduction else 1
        total += _layer(before, width, side**2) + _layer(last, width, side**2)  # at the cell's input resolution
        side = max(1, side // 2) if reduction else side
        total += inside("reduce" if reduction else "normal", width, side)
        before, last = last, nodes * width
    return (total + _layer(last, images.classes, 1)).rounded()


def _sum(several: Iterable[Forward]) -> Forward:
    return sum(several, Forward())
