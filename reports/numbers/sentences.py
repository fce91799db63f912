"""One sentence at a time: what attacks found, what searches moved, printed numbers beside ours, and what rules cost beside BP."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reports.numbers import improvement, masking, met, paper, ranking, spread
from reports.numbers.attacked import Share, left_by
from reports.numbers.claims import Claim
from reports.numbers.names import anchor, full, network, number, place, rules, spell, under
from reports.numbers.statistics import Difference
from reports.numbers.tables import Block, Results, Variant
from reports.numbers.writing import level, p_value, signed
from suite.power import INTERVAL_SEEDS, LEVEL

TONES = CLAIM, TIE, NOTHING, DESCRIBES, DETAIL = "claim", "tie", "nothing", "describes", "detail"  # by weight; a detail of another sentence
MOST_MASKED = 2  # networks that have a sentence of their own at the top, beside the one that names all
SEARCHES = "What the searches moved"
DESCRIBING = "describes, claims nothing"


@dataclass(frozen=True)
class Finding:
    """One sentence: what it is about (network, data set, protocol), what is said, and by how many (seeds, unless it says otherwise)."""

    kind: str
    about: str
    text: str
    tone: str
    n: int
    link: str  # the id of its table
    interval: tuple[float, float] | None = None
    level: float = LEVEL

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" if self.about else self.text


def points(value: float) -> str:
    return f"{abs(value):.2f} point{'' if f'{abs(value):.2f}' == '1.00' else 's'}"


def span(counts: Sequence[int]) -> str:
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


# --- robust or masked -------------------------------------------------------------------------------------------------


def masked(rows: Sequence[masking.Row]) -> Iterator[Finding]:
    """Which networks are masked, by which attack, and what the worst case leaves; which show no sign of it."""
    broken = [row for row in rows if row.masked]
    if len(broken) > 1:
        text = f"{len(broken)} of {number(len(rows), 'attacked network')} ({_each(broken)}) are masked: {_who(broken)}. "
        text += "What their own gradient leaves right is no measure of how robust they are, as attacks that do without it break "
        text += "significantly more of the same images (exact McNemar, Holm over this page)"
        yield Finding("Robust or masked", _datasets(broken), text, CLAIM, sum(len(row.verdicts) for row in broken), "masking")
    for i, row in enumerate(sorted(broken, key=lambda row: -max(verdict.gap for verdict in row.verdicts))):
        yield _broken(row, CLAIM if i < MOST_MASKED else DETAIL)
    if others := [row for row in rows if not row.masked]:
        yield _unbroken(rows, others)


def _who(rows: Sequence[masking.Row]) -> str:
    """LeNet under FA, uSF; darts-bio as searched."""
    by: dict[str, list[str]] = {}
    for row in rows:
        by.setdefault(network(row.variant.name), []).append(under(row.variant.rules))
    return "; ".join(f"{name} {', '.join(dict.fromkeys(found)).replace(', under ', ', ')}" for name, found in by.items())


def _each(rows: Sequence[masking.Row]) -> str:
    counts = sorted({len({verdict.network.unit for verdict in row.verdicts}) for row in rows})
    return f"{span(counts)} seed{'s' if counts[-1] > 1 else ''} each"


def _datasets(rows: Sequence[masking.Row]) -> str:
    return ", ".join(dict.fromkeys(row.variant.dataset for row in rows))


def _broken(row: masking.Row, tone: str) -> Finding:
    """One masked variant: the attack that broke it, and the worst case."""
    networks = [verdict.network for verdict in row.verdicts]
    told = max((verdict for verdict in row.verdicts if verdict.masked), key=lambda verdict: verdict.gap)
    worst = max(
        (pairing for pairing, step in told.tests if step.rejected), key=lambda pairing: (pairing.own - pairing.others) / pairing.images
    )
    share = Share.of(networks, left_by(worst.budget))
    ends = f" [{share.interval[0]:.1f}, {share.interval[1]:.1f}], {level(LEVEL)}" if share.interval else ""
    by = number(share.over.n, "seed") if share.over.n > 1 else number(networks[0].images, "image")
    text = f"{row.words}. The worst case over all attacks within {worst.budget.words} leaves {share.over.mean:.1f} % of images{ends}, {by}"
    return Finding("Robust or masked", full(row.variant), text, tone, share.over.n, "masking", share.interval)


def _unbroken(rows: Sequence[masking.Row], others: Sequence[masking.Row]) -> Finding:
    """What shows no sign of masking, which proves nothing, and what cannot be judged."""
    clear = [row for row in others if row.masked is False]
    unjudged = [row for row in others if row.masked is None]
    images = sorted({verdict.network.images for row in others for verdict in row.verdicts})
    of = number(len(rows), "attacked network")
    parts = []
    if clear:
        who = f": {_who(clear)}" if len(clear) <= 6 else ""
        parts.append(
            f"{len(clear)} of {of} show{'s' if len(clear) == 1 else ''} no sign of masking, which is no proof that there is none{who}"
        )
    if unjudged:
        why = Counter(row.words.partition(": ")[2].partition(";")[0] for row in unjudged).most_common(1)[0][0]
        parts.append(f"{len(unjudged)}{'' if clear else f' of {of}'} cannot be judged: {why}")
    text = f"{'; '.join(parts)} ({_each(others)}, {span(images)} images)"
    return Finding("Robust or masked", _datasets(others), text, DESCRIBES, sum(len(row.verdicts) for row in others), "masking")


# --- searches ---------------------------------------------------------------------------------------------------------


def searches(results: Results) -> Iterator[Finding]:
    """What searches moved: where the spread comes from, whether supernets rank as training does, what is gained over chance."""
    for row in spread.spreads(results):
        c = row.components
        if c.p == c.p and c.groups >= INTERVAL_SEEDS:
            share = 100 * c.share[0], 100 * c.share[1]
            text = f"the {row.unit.name} explains {100 * c.explained:.0f} % of the variance of single trainings' test errors "
            text += f"[{share[0]:.0f}, {share[1]:.0f}], {level(LEVEL)}, {c.groups} {row.unit.plural}, {c.members} trainings, "
            text += f"p {p_value(c.p)}; {row.words}"
            text += f" ({100 * c.detectable:.0f} % would have been seen)" if row.words.startswith("tie") else ""
            yield Finding(SEARCHES, full(row.variant), f"{text}; {DESCRIBING}", DESCRIBES, c.groups, "spread", share)
    for tau in ranking.rankings(results):
        if tau.interval:
            text = f"the supernet's order of networks and training's agree by Kendall's τ = {tau.tau.mean:+.2f} {signed(tau.interval)}, "
            text += f"{level(LEVEL)}, {number(tau.tau.n, 'seed')}: {tau.words}; {DESCRIBING}"
            about = f"{tau.search.label} on {tau.search.dataset}"
            yield Finding(SEARCHES, about, text, DESCRIBES, tau.tau.n, "ranking", tau.interval)
    yield from _gains(improvement.improvements(results))


def _gains(rows: Iterable[improvement.Improvement]) -> Iterator[Finding]:
    """What searched cells gain over random genotypes: those whose interval holds 0 are named together."""
    found = [(row, ends) for row in rows if (ends := row.ri.interval)]
    none = [row for row, ends in found if _holds_0(ends)]
    if len(none) > 1:
        who = ", ".join(dict.fromkeys(network(row.variant.name) for row in none))
        text = f"{len(none)} of {number(len(found), 'searched cell')} cannot be told from random genotypes of their space ({who})"
        text += f"; {span(sorted(row.ri.n for row in none))} seeds; {DESCRIBING}"
        data = ", ".join(dict.fromkeys(row.block.dataset for row in none))
        yield Finding(SEARCHES, data, text, DESCRIBES, max(row.ri.n for row in none), "improvement")
    for row, ends in found:
        sign = "better" if row.ri.mean > 0 else "worse"
        text = f"{abs(row.ri.mean):.2f} % {sign} in accuracy than random genotypes of its space, relative to them {signed(ends)}, "
        text += f"{level(LEVEL)}, {number(row.ri.n, 'seed')}{_holds_0(ends)}; {DESCRIBING}"
        tone = DETAIL if row in none and len(none) > 1 else DESCRIBES
        yield Finding(SEARCHES, full(row.variant), text, tone, row.ri.n, "improvement", ends)


# --- against the paper ------------------------------------------------------------------------------------------------


def published(comparisons: Sequence[paper.Comparison]) -> Iterator[Finding]:
    """Which printed numbers lie where one more of ours would, and the furthest that does not."""
    rows, others = met.split(comparisons)
    kinds = {c.cited.table: "Against the paper" for c in others} | {row.selected.cited.table: "Against a published table" for row in rows}
    by: dict[str, list[paper.Comparison]] = {}
    for c in (*(row.selected for row in rows), *others):
        by.setdefault(c.cited.table if c.within is not None else "", []).append(c)
    if too_few := by.pop("", []):
        tables, most = dict.fromkeys(c.cited.table for c in too_few), max(c.ours.n for c in too_few)
        text = f"{number(len(too_few), 'printed number')} with ours beside; {number(most, 'seed')} cannot say where one more of ours "
        text += f"would lie (that takes {INTERVAL_SEEDS})"
        yield Finding(kinds[next(iter(tables))], ", ".join(tables), text, DESCRIBES, most, "paper")
    for table, found in by.items():
        outside = sorted((c for c in found if not c.within), key=_beyond, reverse=True)
        counts = sorted({c.ours.n for c in found})
        text = (
            f"{len(found) - len(outside)} of {number(len(found), 'printed number')} {'lies' if len(found) - len(outside) == 1 else 'lie'} "
        )
        text += f"inside where one more of ours would ({level(LEVEL)}, {span(counts)} seeds)"
        if outside:
            text += f", {len(outside)} outside: such a number differs in more than its seed, or is the one in twenty"
        yield Finding(kinds[table], table, text, DESCRIBES, counts[-1], "paper")
        for i, c in enumerate(outside):
            yield _outside(c, kinds[table], DETAIL if i else DESCRIBES)


def _outside(c: paper.Comparison, kind: str, tone: str) -> Finding:
    ends = c.ours.one_more
    assert ends is not None
    if "error" in c.cited.metric:
        ours = f"ours errs {points(c.difference)} {'less' if c.difference < 0 else 'more'}"
    else:
        unit = "" if c.cited.metric == "gpu_days" else f" point{'s' if abs(c.difference) != 1 else ''}"
        ours = f"ours is {abs(c.difference):.2f}{unit} {'lower' if c.difference < 0 else 'higher'}"
    text = f"{ours} than the printed {c.cited.paper:.2f} ({c.cited.unit}), which lies outside where one more of ours would "
    text += f"[{ends[0]:.2f}, {ends[1]:.2f}], {level(LEVEL)}, {number(c.ours.n, 'seed')}"
    text += "; a caveat says what is known of it" if c.cited.caveat else ""
    return Finding(kind, f"{c.cited.table}, {c.cited.row} on {c.cited.dataset}", text, tone, c.ours.n, "paper", ends)


def _beyond(c: paper.Comparison) -> float:
    """By how many halves of the interval it lies away: tables of several units are then in one order."""
    ends = c.ours.one_more
    half = (ends[1] - ends[0]) / 2 if ends else 0.0
    return abs(c.difference) / half if half else math.inf


# --- beside BP, where nobody named it ---------------------------------------------------------------------------------


def beside_bp(results: Results, claims: Sequence[Claim]) -> Iterator[Finding]:
    """What rules cost beside BP, but for what a named comparison says better."""
    named = {(c.named["dataset"], frozenset((c.named["of"], c.named["against"]))) for c in claims}
    for block in results.blocks:
        for bp in block.variants if block.network != "cells" else ():
            if bp.rules == "bp":
                others = [v for v in block.variants if v.rules in rules() and v.protocols == bp.protocols and v.rules != "bp"]
                yield from _costs(block, bp, [v for v in others if (block.dataset, _pair(v, bp)) not in named])


def _pair(one: Variant, other: Variant) -> frozenset[str]:
    return frozenset(f"{variant.name}/{variant.rules}" for variant in (one, other))


def _costs(block: Block, bp: Variant, others: Sequence[Variant]) -> Iterator[Finding]:
    parts, counts = [], []
    for variant in others:
        difference = Difference.paired(variant.by_seed("test_error"), bp.by_seed("test_error"))
        if ends := difference.interval():
            sign = "less" if difference.mean < 0 else "more"
            parts.append(f"{spell(variant.rules)} errs {points(difference.mean)} {sign} {signed(ends)}{_holds_0(ends)}")
            counts.append(difference.n)
    if parts:
        differ = len({variant.protocols for variant in block.variants}) > 1
        about = f"{place(block)}{', ' + ', '.join(bp.protocols) if differ else ''}"
        text = (
            f"beside BP, {'; '.join(parts)}; 95 % each and not corrected, {span(sorted(counts))} seeds; not named beforehand: {DESCRIBING}"
        )
        yield Finding("Rules beside BP", about, text, DESCRIBES, max(counts), anchor("accuracy", block))


def _holds_0(ends: tuple[float, float]) -> str:
    return " (0 lies inside)" if ends[0] <= 0 <= ends[1] else ""
