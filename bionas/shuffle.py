"""The rule shuffle: the same cells, and the same rules as often, as far from the searched assignment as can be. Imports no torch.

First the distance: as many genes as possible follow another rule than before. If the commonest rule has m of n genes, that is all of
them for m ≤ n/2, and 2(n − m) otherwise. Then the weights: among those, the shuffles come first under which every rule trains nearly
as many weights as it did, so that it is not another mixture that is compared. A control that moves two genes of six is none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from bionas.space import Genotype

LISTED, DRAWN = 2000, 1000  # up to so many shuffles of the greatest distance are all listed; of more, so many are drawn


@dataclass(frozen=True)
class Shuffled:
    """A shuffle: of `carriers` genes, `rules_changed` follow another rule; `weights_moved` is the share of weights that a rule gained."""

    genotype: Genotype
    carriers: int
    rules_changed: int
    weights_moved: float


def shuffled(genotype: Genotype, weights: Mapping[tuple[str, int], int], seed: int, released: bool = False) -> Shuffled:
    """Return the seed's shuffle, another one for every seed while there are any; `weights` are those of each (cell, gene).

    `released`: skips learn by BP whatever their label says, and take no part. Raises ValueError if all genes follow one rule.
    """
    carriers = genotype.carriers(released)
    old = [getattr(genotype, kind)[i][0].rule or "bp" for kind, i in carriers]
    if len(set(old)) < 2:
        raise ValueError("rules: shuffling changes nothing, because all genes follow one rule")
    own = [weights[carrier] for carrier in carriers]
    ranked = sorted(farthest(old), key=lambda new: (mismatch(old, new, own), new))
    new = ranked[seed % len(ranked)]
    return Shuffled(
        genotype.with_rules(dict(zip(carriers, new, strict=True))),
        carriers=len(carriers),
        rules_changed=sum(a != b for a, b in zip(old, new, strict=True)),
        weights_moved=mismatch(old, new, own) / (2 * sum(own)),
    )


def mismatch(old: Sequence[str], new: Sequence[str], weights: Sequence[int]) -> int:
    """Return Σ over rules of |its weights now − its weights before|: what one rule gains another one loses, so it counts both."""
    moved: Counter[str] = Counter()
    for before, after, weight in zip(old, new, weights, strict=True):
        moved[after] += weight
        moved[before] -= weight
    return sum(map(abs, moved.values()))


def farthest(old: Sequence[str]) -> list[tuple[str, ...]]:
    """Return distinct permutations of the rules of the greatest distance: all of them, or DRAWN where there are more than LISTED."""
    genes = _Genes(old)
    found = list(islice(genes.all(), LISTED + 1))
    if len(found) <= LISTED:
        return found
    stream, drawn = random.Random("shuffles"), dict[tuple[str, ...], None]()
    while len(drawn) < DRAWN:
        drawn[genes.draw(stream)] = None
    return list(drawn)


class _Genes:
    """Genes that are given rules one by one, so that no more of them keep theirs than must.

    If from gene i on `left[r]` copies of a rule are to be given and `behind[i][r]` genes follow it, at least Σ of both − all of these
    genes keep it; one rule at most is that common, and so many are enough.
    """

    def __init__(self, old: Sequence[str]) -> None:
        self.rules = sorted(set(old))
        self.old = [self.rules.index(rule) for rule in old]
        self.behind = [[self.old[i:].count(rule) for rule in range(len(self.rules))] for i in range(len(old) + 1)]

    def least(self, i: int, left: list[int]) -> int:
        """Return how many genes from i on keep their rule at least."""
        genes = len(self.old) - i
        return max(0, *(before + after - genes for before, after in zip(self.behind[i], left, strict=True)))

    def options(self, i: int, left: list[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the rules for gene i after which no more genes keep theirs than before, and what is then left to give."""
        least = self.least(i, left)
        for rule in range(len(left)):
            if left[rule]:
                after = [*left[:rule], left[rule] - 1, *left[rule + 1 :]]
                if (rule == self.old[i]) + self.least(i + 1, after) == least:
                    yield rule, after

    def all(self, i: int = 0, left: list[int] | None = None) -> Iterator[tuple[str, ...]]:
        if i == len(self.old):
            yield ()
            return
        for rule, after in self.options(i, self.behind[0] if left is None else left):
            for rest in self.all(i + 1, after):
                yield (self.rules[rule], *rest)

    def draw(self, stream: random.Random) -> tuple[str, ...]:
        """Give every gene a rule, each as likely as there are copies of it left."""
        left, new = self.behind[0], list[str]()
        for i in range(len(self.old)):
            options = list(self.options(i, left))
            rule, after = stream.choices(options, [left[rule] for rule, _ in options])[0]
            new.append(self.rules[rule])
            left = after
        return tuple(new)
