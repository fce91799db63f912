"""Whether a network is robust or only hides the way to its errors: attacks by its own gradient against those that do without it.

Where feedback stands for the gradient, an attacker who follows it may be led astray. So every network's images are paired: which stay
right under all attacks through its own gradient, and which under the same attacks through the true one, under those without gradient
(Square) and under images made on another network. Each pair is an exact McNemar test; all of a page are corrected together (Holm).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from reports.numbers.attacked import NONE, OWN, TRANSFER, TRUE, Attack, Budget, Network, budgets, survivors, way_words
from reports.numbers.robustness import Part
from reports.numbers.statistics import Step, Summary, holm, mcnemar
from reports.numbers.tables import Block, Variant

THROUGH = {TRUE: "attacks through the true gradient", NONE: "attacks without gradient", TRANSFER: "images made on other networks"}


@dataclass(frozen=True)
class Pairing:
    """One network within one budget: what attacks through its own gradient leave, against those of one other kind."""

    budget: Budget
    kind: str
    images: int
    own: int  # that stay right under all attacks through its own gradient
    others: int  # under all of the other kind
    only_others: int  # that only the others break
    only_own: int
    strongest: tuple[Attack, str, int]  # of the others: attack, way, and how many images it leaves

    @property
    def p(self) -> float:
        return mcnemar(self.only_others, self.only_own)

    def needed(self, level: float) -> int:
        """Return how many images the others would have had to break alone for the test to tell at this level."""
        count = self.only_own + 1
        while mcnemar(count, self.only_own) >= level:
            count += 1
        return count

    @property
    def words(self) -> str:
        """What the two leave, and the attack that broke the network."""
        attack, way, left = self.strongest
        own, others, alone = (f"{100 * count / self.images:.1f} %" for count in (self.own, self.others, left))
        strongest = f"{attack.label} {way_words(way)}"
        found = f"{strongest} {alone}" if left == self.others else f"{THROUGH[self.kind]} {others} (most of all {strongest}, {alone})"
        return f"within {self.budget.words} its own gradient leaves {own}, {found}"


@dataclass(frozen=True)
class Verdict:
    """What is said of one network: masked (True), no sign of it (False), or not to be judged (None); and why."""

    network: Network
    masked: bool | None
    words: str
    tests: tuple[tuple[Pairing, Step], ...]
    gap: float  # in points, of the test that the words speak of: what others break beyond its own gradient


@dataclass(frozen=True)
class Row:
    """A variant, the verdict on each of its networks, and how its own gradient lies to the true one."""

    block: Block
    variant: Variant
    verdicts: tuple[Verdict, ...]
    cosine: Summary

    @property
    def masked(self) -> bool | None:
        """Whether some network is; None where none could be judged."""
        judged = [verdict.masked for verdict in self.verdicts if verdict.masked is not None]
        return any(judged) if judged else None

    @property
    def words(self) -> str:
        chosen = [verdict for verdict in self.verdicts if verdict.masked is self.masked]
        told = max(chosen, key=lambda verdict: verdict.gap)
        if len(self.verdicts) == 1:
            return told.words
        head, _, why = told.words.partition(": ")
        which = {True: f"; most of all seed {told.network.unit}", False: f"; nearest to it seed {told.network.unit}", None: ""}
        return f"{head} in {len(chosen)} of {len(self.verdicts)} networks{which[self.masked]}: {why}"


def verdicts(parts: Iterable[Part]) -> list[Row]:
    """Judge every attacked network; one family of tests."""
    parts = list(parts)
    planned = {attack.label: attack for part in parts for attack in part.planned}
    compared, _ = budgets(list(planned.values()))
    all_networks = [network for part in parts for _, found in part.by_variant for network in found]
    tests = [(network, pairing) for network in all_networks for pairing in _pairings(network, compared)]
    steps = holm([pairing.p for _, pairing in tests])
    by: dict[int, list[tuple[Pairing, Step]]] = {}
    for (network, pairing), step in zip(tests, steps, strict=True):
        by.setdefault(id(network), []).append((pairing, step))
    return [
        Row(
            part.block,
            variant,
            tuple(_judge(network, tuple(by.get(id(network), ()))) for network in found),
            variant.metric("gradient_cosine"),
        )
        for part in parts
        for variant, found in part.by_variant
        if found
    ]


def _pairings(network: Network, compared: Iterable[Budget]) -> Iterator[Pairing]:
    """Pair its own gradient's outcomes with those of each other kind, within every budget that its own attacks exhaust.

    The true gradient is judged by the attacks that ran through both. The others are weaker by nature than an attack that follows a
    gradient to its end, so they stand against one that did, in a ball that is no smaller; against a single step they would prove
    nothing. The same others are not set against still more attacks within a larger budget.
    """
    seen = []
    for budget in compared:
        own = network.within(budget, OWN)
        if not any(attack.budget == budget for attack, _ in own):
            continue
        labels = {attack for attack, _ in own}
        reach = max((attack.budget for attack in labels if attack.thorough), default=None)
        for kind in (TRUE, NONE, TRANSFER):
            others = {
                (attack, way): left
                for (attack, way), left in network.within(budget, kind).items()
                if (attack in labels if kind == TRUE else reach and reach.allows(attack.budget))
            }
            if others and others.keys() not in seen:
                seen.append(others.keys())
                yield _pairing(budget, kind, own, others)


def _pairing(
    budget: Budget, kind: str, own: Mapping[tuple[Attack, str], np.ndarray], others: Mapping[tuple[Attack, str], np.ndarray]
) -> Pairing:
    ours, theirs = survivors(own.values()), survivors(others.values())
    (attack, way), left = min(others.items(), key=lambda outcome: int(outcome[1].sum()))
    return Pairing(
        budget,
        kind,
        images=len(ours),
        own=int(ours.sum()),
        others=int(theirs.sum()),
        only_others=int((ours & ~theirs).sum()),
        only_own=int((theirs & ~ours).sum()),
        strongest=(attack, way, int(left.sum())),
    )


def _judge(network: Network, tests: tuple[tuple[Pairing, Step], ...]) -> Verdict:
    if not tests:
        return Verdict(network, None, f"cannot be judged: {_why_not(network)}", (), 0.0)
    found = [pairing for pairing, step in tests if step.rejected and pairing.only_others > pairing.only_own]
    if found:
        worst = max(found, key=_gap)
        return Verdict(network, True, f"masked: {worst.words}", tests, _gap(worst))
    (nearest, _), needed = max(
        ((test, test[0].needed(test[1].level)) for test in tests), key=lambda found: (found[0][0].only_others / found[1], found[0][0].own)
    )
    others, alone = THROUGH[nearest.kind], f"{nearest.only_others} of {nearest.images:,} images"
    if nearest.images < needed:
        words = f"cannot be judged: {nearest.images} images are too few; it takes {needed} that only {others} break"
        return Verdict(network, None, words, tests, _gap(nearest))
    where, back = f"within {nearest.budget.words}", f"its own gradient alone {nearest.only_own}"
    few = f", more than the {nearest.own} that it leaves" if nearest.own < needed else ""
    words = f"no sign of masking: {where} {others} alone break {alone}, {back}; {needed} would have told{few}"
    return Verdict(network, False, words, tests, _gap(nearest))


def _gap(pairing: Pairing) -> float:
    return 100 * (pairing.own - pairing.others) / pairing.images


def _why_not(network: Network) -> str:
    kinds = {network.kind(way) for _, way in network.outcomes}
    if OWN not in kinds:
        return "no attack went through its own gradient"
    if kinds == {OWN}:
        own = "its own gradient is the true one, and " if network.plain else ""
        return f"{own}no attack did without it"
    return "no attack through its own gradient is thorough enough, in as large a ball, to set the others against"
