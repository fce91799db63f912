"""The paper's analyses (§4.1, A.2, A.3) from what runs stored under analyses/: variances beside accuracy, and equation 9.

A run holds numbers by layer. What is said of a network is over its layers, weighted by how many weights each has, but for those that it
does not use (NaN); what is said of a variant is over seeds, a seed that was trained more than once counting once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from bionas import catalog
from reports.numbers.statistics import Summary
from reports.numbers.tables import Block, Results, Variant
from reports.numbers.transfers import Transfer, transfers

Arrays = Mapping[str, np.ndarray]
FEWEST_RANKS = 5  # variants from which a rank correlation is more than their order in words
DIGITS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def stored(variant: Variant, analysis: str) -> dict[int, Arrays]:
    """Return {seed: {key: array}} of an analysis, of trainings that ended well; some are watched in training, the rest done afterwards."""
    prefix = f"analyses/{analysis}/"
    runs = variant.trains if catalog.ANALYSES[analysis].tracked else variant.evaluations
    sound = {seed for seed, run in variant.trains.items() if run.status == "ok"}
    found = {
        seed: {name.removeprefix(prefix): array for name, array in run.arrays.items() if name.startswith(prefix)}
        for seed, run in runs.items()
    }
    return {seed: arrays for seed, arrays in found.items() if arrays and seed in sound}


def by_seed(variant: Variant, analysis: str, number: Callable[[Arrays], float]) -> dict[int, float]:
    """Return a number of every network, by the definition's seed: the mean where that was trained more than once."""
    found: dict[int, list[float]] = {}
    for seed, arrays in stored(variant, analysis).items():
        found.setdefault(variant.of_seed.get(seed, seed), []).append(number(arrays))
    return {seed: sum(values) / len(values) for seed, values in found.items()}


# What is said of a network.


def weight_variance(arrays: Arrays) -> float:
    """Return the variance of all weights taken together: within layers, and between their means."""
    mean = np.average(arrays["mean"], weights=arrays["sizes"])
    return float(np.average(arrays["variance"] + (arrays["mean"] - mean) ** 2, weights=arrays["sizes"]))


def kurtosis(arrays: Arrays) -> float:
    """Return the layers' mean excess kurtosis."""
    return mean_over_weights(arrays, "kurtosis")


def gradient_variance(arrays: Arrays, kind: str = "rule") -> float:
    """Return equation 8's variance of a weight's gradient, mean over weights."""
    return mean_over_weights(arrays, f"variance_{kind}")


def noise(arrays: Arrays) -> float:
    """Return the standard deviation of the rule's gradient, as a vector, in norms of its mean: what scaling all of it leaves alone."""
    used = np.isfinite(arrays["variance_rule"])
    scatter = (arrays["variance_rule"] * arrays["sizes"])[used].sum()
    return _ratio(scatter, np.nansum(arrays["norm_rule"] ** 2)) ** 0.5


def bias(arrays: Arrays) -> float:
    """Return ‖mean rule gradient − mean true gradient‖ / ‖mean true gradient‖ of all layers together."""
    with np.errstate(invalid="ignore"):  # a layer whose true gradient is 0 has a bias that is no number
        apart = arrays["bias"] * arrays["norm_true"]
    return _ratio(np.nansum(apart**2), np.nansum(arrays["norm_true"] ** 2)) ** 0.5


def cosine(arrays: Arrays) -> float:
    """Return the cosine of the mean rule gradient and the mean true gradient of all layers together."""
    rule, true = arrays["norm_rule"], arrays["norm_true"]
    return _ratio(np.nansum(arrays["cosine"] * rule * true), math.sqrt(np.nansum(rule**2) * np.nansum(true**2)))


def _ratio(part: float, whole: float) -> float:
    """A network that is dead has no gradient to compare with: NaN."""
    return float(part) / float(whole) if whole else math.nan


def mean_over_weights(arrays: Arrays, key: str, layers: np.ndarray | None = None) -> float:
    """Return the mean over the weights of these layers, or of all; NaN for none."""
    among = np.isfinite(arrays[key]) if layers is None else layers & np.isfinite(arrays[key])
    return float(np.average(arrays[key][among], weights=arrays["sizes"][among])) if among.any() else math.nan


# What is said of the variants of a table.


@dataclass(frozen=True)
class Row:
    """A variant: its variances beside its accuracy; summaries over seeds, of no numbers where nothing was analysed."""

    variant: Variant
    weight_variance: Summary
    kurtosis: Summary
    variance_rule: Summary
    variance_true: Summary
    noise: Summary
    bias: Summary
    cosine: Summary


def rows(block: Block) -> list[Row]:
    """Return a row for every variant that has distributions or gradients."""

    def of(variant: Variant, analysis: str, number: Callable[[Arrays], float]) -> Summary:
        return _summary(by_seed(variant, analysis, number).values())

    return [
        Row(
            variant,
            weight_variance=of(variant, "weights", weight_variance),
            kurtosis=of(variant, "weights", kurtosis),
            variance_rule=of(variant, "gradients", gradient_variance),
            variance_true=of(variant, "gradients", lambda arrays: gradient_variance(arrays, "true")),
            noise=of(variant, "gradients", noise),
            bias=of(variant, "gradients", bias),
            cosine=of(variant, "gradients", cosine),
        )
        for variant in block.variants
        if stored(variant, "weights") or stored(variant, "gradients")
    ]


def _summary(values: Iterable[float]) -> Summary:
    """Summarise what is a number: a dead network has no direction, and a rule that no layer follows no variance."""
    return Summary.of(value for value in values if math.isfinite(value))


def rank_correlations(rows: Sequence[Row]) -> dict[str, float]:
    """Return Spearman's ρ of a variance and the test error over variants, where there are five or more."""
    found = {}
    for words, of in {"weights": "weight_variance", "gradients": "variance_rule"}.items():
        pairs = [(getattr(row, of).mean, row.variant.metric("test_error").mean) for row in rows]
        pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if len(pairs) >= FEWEST_RANKS and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
            found[words] = float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    return found


@dataclass(frozen=True)
class Part:
    """A rule in a mixed network: the share of weights that follow it, their variance, and that of the network under this rule alone."""

    rule: str
    share: Summary
    here: Summary
    alone: Summary


@dataclass(frozen=True)
class Mixture:
    """Equation 9 of a network whose layers follow several rules, over the weights that follow one (BP's are the same everywhere)."""

    variant: Variant
    parts: tuple[Part, ...]
    measured: dict[int, float]  # by seed: the mixed network's variance, which is its parts' weighted mean
    equation: dict[int, float]  # by seed: the single-rule networks' variances in that mean
    least: dict[int, float]  # by seed: the best single rule's

    @property
    def best(self) -> str:
        """The rule that has the least variance alone, on average."""
        return min((part for part in self.parts if part.alone.n), key=lambda part: part.alone.mean).rule

    def mean(self, what: str) -> Summary:
        """Summarise `measured`, `equation` or `least` over the seeds that have all three, or `measured` over all if none has."""
        values = getattr(self, what)
        return Summary.of(value for seed, value in values.items() if seed in self.least or not self.least)

    @property
    def below(self) -> int:
        """In how many networks the measured variance is below the best single rule's."""
        return sum(self.measured[seed] < least for seed, least in self.least.items())


def mixtures(block: Block) -> list[Mixture]:
    """Return equation 9 for every mixed network of a table."""
    return [mixture for variant in block.variants if (mixture := _mixture(variant, block))]


def _mixture(variant: Variant, block: Block) -> Mixture | None:
    mixed = stored(variant, "gradients")
    rules = sorted({rule for arrays in mixed.values() for rule in arrays["rules"]} - {"bp"})
    if len(rules) < 2:
        return None
    alike = [v for v in block.variants if v.name == variant.name and v.protocols == variant.protocols]
    alone = {v.rules: by_seed(v, "gradients", _learning) for v in alike if v.rules in rules}
    share = {rule: by_seed(variant, "gradients", partial(_share, rule=rule)) for rule in rules}
    here = {rule: by_seed(variant, "gradients", partial(_under, rule=rule)) for rule in rules}
    measured = by_seed(variant, "gradients", _learning)
    whole = [seed for seed in measured if all(seed in alone.get(rule, {}) for rule in rules if share[rule][seed])]
    used = {seed: [rule for rule in rules if share[rule][seed]] for seed in whole}
    return Mixture(
        variant,
        tuple(
            Part(
                rule,
                _summary(share[rule].values()),
                _summary(here[rule].values()),
                _summary(alone.get(rule, {}).values()),
            )
            for rule in rules
        ),
        measured,
        equation={seed: sum(share[rule][seed] * alone[rule][seed] for rule in used[seed]) for seed in whole},
        least={seed: min(alone[rule][seed] for rule in used[seed]) for seed in whole},
    )


def _learning(arrays: Arrays) -> float:
    """Return the variance over the weights that do not follow BP."""
    return mean_over_weights(arrays, "variance_rule", arrays["rules"] != "bp")


def _under(arrays: Arrays, rule: str) -> float:
    return mean_over_weights(arrays, "variance_rule", arrays["rules"] == rule)


def _share(arrays: Arrays, rule: str) -> float:
    sizes = np.where(np.isfinite(arrays["variance_rule"]), arrays["sizes"], 0)
    rules = arrays["rules"]
    return _ratio(sizes[rules == rule].sum(), sizes[rules != "bp"].sum())


# What there is to show.


@dataclass(frozen=True)
class Section:
    """The analyses of one table's variants."""

    block: Block
    rows: list[Row]
    mixtures: list[Mixture]
    transfers: list[Transfer]
    has: frozenset[str]  # which analyses


def sections(results: Results) -> list[Section]:
    """Return the tables that have something to show."""
    found = []
    for block in results.blocks:
        has = frozenset(name for name in ("weights", "gradients", "alignment") if any(stored(v, name) for v in block.variants))
        section = Section(block, rows(block), mixtures(block), transfers(block), has)
        if has or section.transfers:
            found.append(section)
    return found


def scientific(summary: Summary) -> str:
    """Write a summary of small numbers: (1.2 ± 0.4)·10⁻⁶; plainly where it needs no power of ten, a dash for nothing."""
    if not summary.n or not math.isfinite(summary.mean):
        return "–"
    power = math.floor(math.log10(abs(summary.mean))) if summary.mean else 0
    if -3 < power < 3:
        return f"{summary:.{max(0, 2 - power)}f}"
    scaled = f"{Summary(summary.mean / 10**power, summary.sd / 10**power, summary.n):.1f}"
    times = f"10{str(power).translate(DIGITS)}"
    return f"({scaled})·{times}" if summary.n > 1 else f"{scaled}·{times}"
