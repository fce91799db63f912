"""The search space: operations × learning rules (paper §3.1), and what is found in it, a genotype. Imports no torch.

A candidate is an operation and, where it carries weights, the rule by which they learn. How skip connections take part differs
between the paper, its public code and the repaired space:

    paper      a skip for each of uSF, brSF, frSF in the rule set, on every edge; at stride 1 they are the same function
    released   the same, and at stride 2 their convs learn by BP whatever the label says
    repaired   a skip for each where it has weights (stride 2), one plain skip at stride 1: no edge has a candidate twice

A set without any of the three has one plain skip, which is BP's at stride 2.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bionas import catalog

CONVS = (  # whose weights follow a rule
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
POOLS = ("max_pool_3x3", "avg_pool_3x3")
OPERATIONS = ("none", *POOLS, "skip_connect", *CONVS)
SKIP_RULES = ("usf", "brsf", "frsf")
SPACES = ("repaired", "paper", "released")


@dataclass(frozen=True)
class Candidate:
    """An operation, and the rule of its weights; `rule` is None where there are none, or where they are BP's by default."""

    operation: str
    rule: str | None = None

    def __str__(self) -> str:
        return f"{self.operation}:{self.rule}" if self.rule else self.operation

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Read what `str` wrote. Raises ValueError for an unknown operation or rule, or a rule where no weights are."""
        operation, _, rule = text.partition(":")
        catalog.choose("operation", operation, OPERATIONS)
        if rule:
            catalog.choose("rule", rule, catalog.RULES)
            if operation not in (*CONVS, "skip_connect"):
                raise ValueError(f"operation: {text!r}: {operation} has no weights that a rule could train")
        return cls(operation, rule or None)


class SearchSpace:
    """The candidates of an edge for a rule set, and which of them stand on edges of stride 1 and 2."""

    def __init__(self, rules: Sequence[str], protocol: str = "repaired", none: bool = True) -> None:
        if not rules:
            raise ValueError(f"rules: the set is empty; allowed: one or more of {', '.join(catalog.RULES)}")
        self.rules = tuple(catalog.choose("rules", rule, catalog.RULES) for rule in rules)
        self.protocol = catalog.choose("space", protocol, SPACES)
        skips = [Candidate("skip_connect", rule) for rule in rules if rule in SKIP_RULES]
        plain = [Candidate("skip_connect")] if not skips or protocol == "repaired" else []
        convs = [Candidate(operation, rule) for operation in CONVS for rule in rules]
        self.candidates = (
            *([Candidate("none")] if none else []),
            *(Candidate(operation) for operation in POOLS),
            *plain,
            *skips,
            *convs,
        )

    def __len__(self) -> int:
        return len(self.candidates)

    def paths(self, genotype: Genotype) -> dict[str, list[int | None]]:
        """Return the candidate that the genotype takes on every edge, or None where it takes none."""
        found = {}
        for kind, genes in genotype.cells():
            taken = {(source, 2 + i // 2): self.candidates.index(candidate) for i, (candidate, source) in enumerate(genes)}
            found[kind] = [taken.get(edge) for edge in edges(len(genes) // 2)]
        return found

    def allowed(self, stride: int) -> tuple[bool, ...]:
        """Say of each candidate whether it stands on an edge of this stride."""
        if self.protocol != "repaired" or not any(c.operation == "skip_connect" and c.rule for c in self.candidates):
            return (True,) * len(self)
        return tuple(c.operation != "skip_connect" or (c.rule is None) == (stride == 1) for c in self.candidates)


def edges(nodes: int) -> list[tuple[int, int]]:
    """Return (from, to) of every edge of a cell, in α's order. States 0 and 1 are the inputs, 2… the nodes."""
    return [(source, 2 + node) for node in range(nodes) for source in range(2 + node)]


def edge_stride(reduction: bool, source: int) -> int:
    """In a reduction cell, edges from the inputs halve the resolution."""
    return 2 if reduction and source < 2 else 1


def reductions(cells: int) -> set[int]:
    """Where a network of this many cells halves its resolution."""
    return {cells // 3, 2 * cells // 3}


# ---------------------------------------------------------------------------------------------- genotypes

Gene = tuple[Candidate, int]  # an operation and the state that it comes from


@dataclass(frozen=True)
class Genotype:
    """Two cells, each with two genes a node; the cell's output concatenates all nodes."""

    normal: tuple[Gene, ...]
    reduce: tuple[Gene, ...]

    def __post_init__(self) -> None:
        for kind, genes in (("normal", self.normal), ("reduce", self.reduce)):
            if not genes or len(genes) % 2:
                raise ValueError(f"genotype.{kind}: {len(genes)} genes; allowed: two a node")
            for i, (candidate, source) in enumerate(genes):
                if not isinstance(source, int) or not 0 <= source < 2 + i // 2:
                    raise ValueError(f"genotype.{kind}.{i}: from {source!r}; allowed: 0..{1 + i // 2}")
                if candidate.operation == "none":
                    raise ValueError(f"genotype.{kind}.{i}: 'none' is no operation of a derived network")

    def to_json(self) -> str:
        return json.dumps({kind: [[str(c), source] for c, source in genes] for kind, genes in self.cells()})

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read what `to_json` wrote. Raises ValueError, with the place, for anything else."""
        try:
            raw = json.loads(text)
            parts = {kind: tuple((Candidate.parse(op), source) for op, source in raw[kind]) for kind in ("normal", "reduce")}
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"genotype: not one ({error})") from None
        return cls(**parts)

    def cells(self) -> Iterator[tuple[str, tuple[Gene, ...]]]:
        yield "normal", self.normal
        yield "reduce", self.reduce

    def carriers(self, released: bool = False) -> list[tuple[str, int]]:
        """Return (cell, gene) of every gene whose weights follow a rule: convs, and skips that have weights (stride 2)."""
        return [
            (kind, i)
            for kind, genes in self.cells()
            for i, (candidate, source) in enumerate(genes)
            if candidate.operation in CONVS
            or (candidate.operation == "skip_connect" and edge_stride(kind == "reduce", source) == 2 and not released)
        ]

    def with_rules(self, rules: dict[tuple[str, int], str | None]) -> Genotype:
        """Return the same topology with other rules at the given genes."""
        return Genotype(
            **{
                kind: tuple((replace(c, rule=rules.get((kind, i), c.rule)), source) for i, (c, source) in enumerate(genes))
                for kind, genes in self.cells()
            }
        )

    def assigned(self, rule: str) -> Genotype:
        """Return the topology under a single rule."""
        return self.with_rules(dict.fromkeys(self.carriers(), catalog.choose("rules", rule, catalog.RULES)))


def derive(weights: Mapping[str, Sequence[Sequence[float]]], space: SearchSpace, nodes: int) -> Genotype:
    """Return the genotype of mixing weights {cell: (edges, candidates)}: DARTS's rule (Liu et al. 2018, §2.4).

    Each node keeps the two edges whose best candidate other than `none` weighs most, with that candidate; ties go to the first.
    """
    cells = {}
    for kind in ("normal", "reduce"):
        best: dict[tuple[int, int], tuple[float, Candidate]] = {}
        for (source, target), row in zip(edges(nodes), weights[kind], strict=True):
            allowed = space.allowed(edge_stride(kind == "reduce", source))
            options = [(float(w), c) for w, c, ok in zip(row, space.candidates, allowed, strict=True) if ok and c.operation != "none"]
            best[source, target] = max(options, key=lambda option: option[0])
        genes: list[Gene] = []
        for target in range(2, 2 + nodes):
            lightness = [-best[source, target][0] for source in range(target)]
            kept = sorted(range(target), key=lightness.__getitem__)[:2]
            genes += [(best[source, target][1], source) for source in kept]
        cells[kind] = tuple(genes)
    return Genotype(**cells)


def uninformed(weights: Mapping[str, Sequence[Sequence[float]]], space: SearchSpace, nodes: int, seed: int) -> Genotype:
    """Derive a genotype of a search's own mixing weights, permuted within every edge over the candidates that are allowed there.

    How far a candidate stands out of its edge is the search's; which one does is chance. Nothing was trained to be wrong.
    """
    stream = random.Random(f"uninformed {seed}")
    permuted: dict[str, Sequence[list[float]]] = {}
    for kind in ("normal", "reduce"):
        permuted[kind] = [list(row) for row in weights[kind]]
        for (source, _), row in zip(edges(nodes), permuted[kind], strict=True):
            own = [i for i, ok in enumerate(space.allowed(edge_stride(kind == "reduce", source))) if ok]
            for i, weight in zip(own, stream.sample([row[i] for i in own], len(own)), strict=True):
                row[i] = weight
    return derive(permuted, space, nodes)


def random_genotype(space: SearchSpace, nodes: int, seed: int | str) -> Genotype:
    """Draw a genotype: two different sources a node, and any candidate other than `none`, all alike likely."""
    stream = random.Random(f"genotype {seed}")
    cells = {}
    for kind in ("normal", "reduce"):
        genes: list[Gene] = []
        for node in range(nodes):
            for source in sorted(stream.sample(range(2 + node), 2)):
                allowed = space.allowed(edge_stride(kind == "reduce", source))
                options = [c for c, ok in zip(space.candidates, allowed, strict=True) if ok and c.operation != "none"]
                genes.append((stream.choice(options), source))
        cells[kind] = tuple(genes)
    return Genotype(**cells)


def _genes(text: str) -> tuple[Gene, ...]:
    words: Iterable[str] = text.split()
    return tuple((Candidate.parse(op), int(source)) for op, _, source in (word.rpartition("@") for word in words))


# Published genotypes: operation[:rule]@source. DARTS's as in quark0/darts; BioNAS-DARTS's as released (imanehmz/LR-NAS).
PUBLISHED = {
    "biodarts": Genotype(
        normal=_genes(
            "skip_connect:frsf@0 skip_connect:frsf@1 sep_conv_3x3:frsf@1 sep_conv_3x3:usf@2"
            " sep_conv_3x3:usf@0 skip_connect:frsf@1 sep_conv_3x3:frsf@1 max_pool_3x3@0"
        ),
        reduce=_genes(
            "max_pool_3x3@0 skip_connect:usf@1 max_pool_3x3@0 max_pool_3x3@1"
            " max_pool_3x3@0 max_pool_3x3@1 max_pool_3x3@0 dil_conv_5x5:usf@3"
        ),
    ),
    "darts_v1": Genotype(
        normal=_genes(
            "sep_conv_3x3:bp@1 sep_conv_3x3:bp@0 skip_connect@0 sep_conv_3x3:bp@1"
            " skip_connect@0 sep_conv_3x3:bp@1 sep_conv_3x3:bp@0 skip_connect@2"
        ),
        reduce=_genes(
            "max_pool_3x3@0 max_pool_3x3@1 skip_connect@2 max_pool_3x3@0 max_pool_3x3@0 skip_connect@2 skip_connect@2 avg_pool_3x3@0"
        ),
    ),
    "darts_v2": Genotype(
        normal=_genes(
            "sep_conv_3x3:bp@0 sep_conv_3x3:bp@1 sep_conv_3x3:bp@0 sep_conv_3x3:bp@1"
            " sep_conv_3x3:bp@1 skip_connect@0 skip_connect@0 dil_conv_3x3:bp@2"
        ),
        reduce=_genes(
            "max_pool_3x3@0 max_pool_3x3@1 skip_connect@2 max_pool_3x3@1 max_pool_3x3@0 skip_connect@2 skip_connect@2 max_pool_3x3@1"
        ),
    ),
}
