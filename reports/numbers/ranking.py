"""Whether a supernet ranks networks as training them does: Kendall's τ (Yu et al. 2020) between the accuracy that the
shared weights give a genotype and the one that it has when it is trained by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from reports.numbers.claims import too_few
from reports.numbers.statistics import Summary
from reports.numbers.tables import Results, SearchGroup, Variant
from suite import store
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS

PAIRS = 3  # two networks have one order or the other, which says nothing


@dataclass(frozen=True)
class Ranking:
    """A search, and by seed what its supernet gave each genotype that was trained too, beside what training gave it, in percent."""

    search: SearchGroup
    told_by: str  # the settings by which these trainings differ from others of the same search
    judged: Mapping[int, int]  # how many genotypes the supernet judged
    pairs: Mapping[int, Sequence[tuple[float, float]]]  # (supernet, trained)

    @property
    def taus(self) -> dict[int, float]:
        """τ-b of every seed that has one: none where there are too few pairs, or where all are alike on one side."""
        found = {seed: float(stats.kendalltau(*zip(*pairs, strict=True)).statistic) for seed, pairs in self._enough.items()}
        return {seed: tau for seed, tau in found.items() if tau == tau}

    @property
    def _enough(self) -> dict[int, Sequence[tuple[float, float]]]:
        return {seed: pairs for seed, pairs in self.pairs.items() if len(pairs) >= PAIRS}

    @property
    def tau(self) -> Summary:
        return Summary.of(self.taus.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's t-interval, as far as a τ can go."""
        ends = self.tau.interval
        return ends and (max(ends[0], -1.0), min(ends[1], 1.0))

    @property
    def genotypes(self) -> str:
        """How many pairs a seed has that has a τ; without any, how many a seed has at all."""
        counts = sorted(len(self.pairs[seed]) for seed in self.taus or self.pairs)
        return "" if not counts else f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"

    @property
    def words(self) -> str:
        n = self.tau.n
        if not n:
            most = max((len(pairs) for pairs in self.pairs.values()), default=0)
            if most < PAIRS:
                were = "was" if most == 1 else "were"
                return f"not computed: of {max(self.judged.values())} genotypes judged, {most} {were} trained, too; {PAIRS} are needed"
            return "not computed: the supernet, or training, gives all of them the same accuracy"
        if n < INTERVAL_SEEDS:
            return too_few(n)
        if not self.interval:
            return "the same in every seed: no claim"
        if n < CLAIM_SEEDS:
            return too_few(n)
        if self.interval[0] > 0:
            return "of two networks, the supernet puts the better one first more often than not"
        if self.interval[1] < 0:
            return "of two networks, the supernet puts the worse one first more often than not"
        return "not told apart from an order by chance"


def rankings(results: Results) -> list[Ranking]:
    """Return a row for every search whose supernet judged genotypes; one for each way in which they were trained."""
    return [row for group in results.searches for row in _rows(group, results)]


def _rows(group: SearchGroup, results: Results) -> Iterator[Ranking]:
    judged = {seed: _judged(run) for seed, run in group.runs.items() if "ranking/genotypes" in run.arrays}
    if not judged:
        return
    ids = {run.id for run in group.runs.values()}
    trained = [v for block in results.blocks for v in block.variants if v.dataset == group.dataset and ids & v.found_by]
    alike = _alike(trained)
    for variants in alike or [[]]:
        pairs = {}
        for seed, by_supernet in judged.items():
            by_training = _by_training(variants, group.runs[seed].id, seed)
            pairs[seed] = [(by_supernet[genotype], by_training[genotype]) for genotype in by_supernet if genotype in by_training]
        yield Ranking(group, _told_by(variants, alike), {seed: len(found) for seed, found in judged.items()}, pairs)


def _judged(run: store.Run) -> dict[str, float]:
    accuracies = map(float, run.arrays["ranking/accuracies"])
    return dict(zip(map(str, run.arrays["ranking/genotypes"]), accuracies, strict=True))


def _by_training(variants: Sequence[Variant], search: str, seed: int) -> dict[str, float]:
    """Return the accuracy of every genotype that a search's seed was trained with, mean over its trainings."""
    found: dict[str, list[float]] = {}
    for variant in variants:
        for own, run in variant.trains.items():
            mine = variant.parents.get(own) == search and variant.of_seed.get(own, own) == seed
            if mine and run.status == "ok" and {"genotype", "test_error"} <= run.metrics.keys():
                found.setdefault(run.metrics["genotype"], []).append(100 - run.metrics["test_error"])
    return {genotype: sum(accuracies) / len(accuracies) for genotype, accuracies in found.items()}


def _alike(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Group variants that were trained alike."""
    groups: list[list[Variant]] = []
    for variant in variants:
        own = next((group for group in groups if all(variant.trained_like(other) for other in group)), None)
        if own is None:
            groups.append([variant])
        else:
            own.append(variant)
    return groups


def _told_by(variants: Sequence[Variant], alike: Sequence[Sequence[Variant]]) -> str:
    """Say by which settings these were trained otherwise than the same search's others; nothing where all were trained alike."""
    if len(alike) < 2:
        return ""
    heads = [group[0] for group in alike]
    shared = sorted(set.intersection(*(set(head.settings) for head in heads)))
    told = [name for name in shared if len({str(head.settings[name]) for head in heads}) > 1]
    words = [f"{name} {variants[0].settings[name]}" for name in told]
    return ", ".join([*variants[0].protocols, *words] if len({head.protocols for head in heads}) > 1 else words)
