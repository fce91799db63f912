"""What was found, in sentences that the statistics allow: computed, each with its interval and level, its n and its table.

A claim is what a named comparison told apart, or a verdict of masking (both corrected by Holm). A tie is said as a tie, with what would
have been seen. Everything else describes: it comes with an interval, and says that it claims nothing. Where seeds are too few for an
interval there is no sentence, but one that says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bionas import catalog
from reports.numbers import attacked, improvement, masking, met, paper, ranking, spread
from reports.numbers.attacked import Share, left_by
from reports.numbers.claims import Claim
from reports.numbers.names import anchor, full, network, number, place, rules, spell, under
from reports.numbers.statistics import Difference
from reports.numbers.tables import Block, Results, Variant
from reports.numbers.writing import level, p_value, signed
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS, LEVEL

TONES = CLAIM, TIE, NOTHING, DESCRIBES, DETAIL = "claim", "tie", "nothing", "describes", "detail"  # by weight; a detail of another sentence
SHOWN = 8
MOST_MASKED = 2  # networks that have a sentence of their own at the top, beside the one that names all
OF_ONE_KIND = 3  # that are shown before those of other kinds had their turn
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


def findings(results: Results, claims: Sequence[Claim], masked: Sequence[masking.Row], comparisons: Sequence[paper.Comparison]) -> list[Finding]:
    """Return all findings by weight: claims, ties named together, what describes; within that in the page's order."""
    told = [
        *_named(results, claims),
        *_masked(masked),
        *_searches(results),
        *_published(comparisons),
        *_beside_bp(results, claims),
    ]
    if not any(finding.tone in (CLAIM, TIE) for finding in told) and results.blocks:
        told += _nothing(results, claims)
    return sorted(told, key=lambda finding: TONES.index(finding.tone))


def split(found: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Return those to show and the rest: the first ones, but of one kind no more than some while others wait."""
    counts: dict[str, int] = {}
    early: list[Finding] = []
    late: list[Finding] = []
    for finding in found:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        (early if finding.tone == TIE or (counts[finding.kind] <= OF_ONE_KIND and finding.tone != DETAIL) else late).append(finding)
    shown = {id(finding) for finding in (early + [finding for finding in late if finding.tone != DETAIL])[:SHOWN]}
    return [finding for finding in found if id(finding) in shown], [finding for finding in found if id(finding) not in shown]


# --- named comparisons ------------------------------------------------------------------------------------------------


def _named(results: Results, claims: Sequence[Claim]) -> Iterator[Finding]:
    several = len({protocol for claim in claims for protocol in claim.named["protocols"]}) > 1
    told = [claim for claim in claims if claim.told_apart]
    ties = [claim for claim in claims if not claim.told_apart and claim.difference.testable and claim.difference.n >= CLAIM_SEEDS]
    rest = [claim for claim in claims if not claim.told_apart and claim not in ties]
    for claim in told:
        yield _compared(results, claim, several, CLAIM)
    if len(ties) > 1:
        least, most = (end(claim.detectable for claim in ties) for end in (min, max))
        seen = f"{least:.2f} to {most:.2f} points" if f"{least:.2f}" != f"{most:.2f}" else _points(least)
        text = f"{len(ties)} of {number(len(claims), 'named comparison')} are ties: {_seeds(ties)} do not tell the two apart, which does not "
        text += f"say that they are alike; the smallest difference that would have been seen is {seen}"
        yield Finding("Ties", _data(ties), text, TIE, max(claim.difference.n for claim in ties), "comparisons")
    for claim in ties:
        yield _compared(results, claim, several, TIE if len(ties) == 1 else DETAIL)
    if rest:
        yield _unclaimed(claims, rest)
    for claim in rest:
        if claim.interval:
            yield _compared(results, claim, several, DETAIL)


def _compared(results: Results, claim: Claim, several: bool, tone: str) -> Finding:
    """One comparison, with the sign of its difference in words."""
    named, difference, ends = claim.named, claim.difference, claim.interval
    (ours, of), (theirs, against) = (named[side].rsplit("/", 1) for side in ("of", "against"))
    data = f"{named['dataset']}, {', '.join(named['protocols'])}" if several else named["dataset"]
    about = f"{network(ours)} on {data}" if ours == theirs else data
    sides = [under(one) if ours == theirs else f"{network(name)} {under(one)}" for name, one in ((ours, of), (theirs, against))]
    words = _by_how_much(results, named["metric"], difference.mean, *sides, ours == theirs)
    assert ends is not None  # told apart, a tie, or at least an interval
    found = f"{words} {signed(ends)}, {level(claim.step.level)}, {number(difference.n, 'seed')}"
    if tone == CLAIM:
        text = found
    elif difference.n >= CLAIM_SEEDS:
        text = f"a tie: {found}; {_points(claim.detectable)} would have been seen"
    else:
        text = f"no claim: {found}"
    kind = _contrast(results, (ours, of), (theirs, against))
    return Finding(kind, about, text, tone, difference.n, "comparisons", ends, claim.step.level)


def _by_how_much(results: Results, metric: str, difference: float, of: str, against: str, alike: bool) -> str:
    """−1.2 → under FA it errs 1.20 points less than under BP; or with what is measured, if that is no test error."""
    words = attacked.metric_in_full(metric, results.attacks)
    if metric.startswith("test_error"):
        when = f"{words.removeprefix('test error ')}, " if metric != "test_error" else ""
        return f"{when}{of} {'it ' if alike else ''}errs {_points(difference)} {'less' if difference < 0 else 'more'} than {against}"
    than = f"{_points(difference)} {'lower' if difference < 0 else 'higher'} than"
    return f"{of}, its {words} is {than} {against}" if alike else f"the {words} of {of} is {than} that of {against}"


def _contrast(results: Results, ours: tuple[str, str], theirs: tuple[str, str]) -> str:
    """Name what two sides differ in."""
    methods = {group.name: catalog.base(group.method) for group in results.searches}
    alike, both = ours[0] == theirs[0], {ours[1], theirs[1]}
    if "shuffled" in both:
        return "Mixed against shuffled rules"
    if both & {"random", "uninformed"} or (not alike and "random" in (methods.get(ours[0]), methods.get(theirs[0]))):
        return "Searched against controls"
    if both == {"searched"}:
        return "Search against search"
    if "searched" in both:
        return "Mixed against one rule"
    return "Rules beside BP" if "bp" in both and alike else "Rule against rule"


def _unclaimed(claims: Sequence[Claim], rest: Sequence[Claim]) -> Finding:
    """Say of how many comparisons nothing is claimed, and why."""
    why: dict[str, int] = {}
    for claim in rest:
        reason = claim.words.partition(":")[0]
        why[reason] = why.get(reason, 0) + 1
    reasons = "; ".join(words if len(why) == 1 else f"for {count} of them {words}" for words, count in why.items())
    head = f"{len(rest)} of {number(len(claims), 'named comparison')} {'allows' if len(rest) == 1 else 'allow'} no claim"
    text = f"{head}: {reasons} (an interval takes {INTERVAL_SEEDS}, a claim {CLAIM_SEEDS} seeds)"
    return Finding("No claim", _data(rest), text, NOTHING, min(claim.difference.n for claim in rest), "comparisons")


def _seeds(claims: Iterable[Claim]) -> str:
    counts = sorted({claim.difference.n for claim in claims})
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _data(claims: Iterable[Claim]) -> str:
    """Say on which data, and of which network where all speak of one."""
    named = [claim.named for claim in claims]
    data = list(dict.fromkeys(entry["dataset"] for entry in named))
    networks = {entry[side].rsplit("/", 1)[0] for entry in named for side in ("of", "against")}
    where = ", ".join(data) if len(data) <= 3 else f"{len(data)} data sets"
    return f"{network(networks.pop())} on {where}" if len(networks) == 1 else where


def _points(value: float) -> str:
    return f"{abs(value):.2f} point{'' if f'{abs(value):.2f}' == '1.00' else 's'}"


# --- robust or masked -------------------------------------------------------------------------------------------------


def _masked(rows: Sequence[masking.Row]) -> Iterator[Finding]:
    broken = [row for row in rows if row.masked]
    if len(broken) > 1:
        text = f"{len(broken)} of {number(len(rows), 'attacked network')} ({_each(broken)}) are masked: {_who(broken)}. What their own gradient "
        text += "leaves right is no measure of how robust they are, as attacks that do without it break significantly more of the same images"
        text += " (exact McNemar, Holm over this page)"
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
    return f"{_range(counts)} seed{'s' if counts[-1] > 1 else ''} each"


def _datasets(rows: Sequence[masking.Row]) -> str:
    return ", ".join(dict.fromkeys(row.variant.dataset for row in rows))


def _broken(row: masking.Row, tone: str) -> Finding:
    """One masked variant: the attack that broke it, and the worst case."""
    networks = [verdict.network for verdict in row.verdicts]
    told = max((verdict for verdict in row.verdicts if verdict.masked), key=lambda verdict: verdict.gap)
    worst = max((pairing for pairing, step in told.tests if step.rejected), key=lambda pairing: (pairing.own - pairing.others) / pairing.images)
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
        parts.append(f"{len(clear)} of {of} show{'s' if len(clear) == 1 else ''} no sign of masking, which is no proof that there is none{who}")
    if unjudged:
        why = Counter(row.words.partition(": ")[2].partition(";")[0] for row in unjudged).most_common(1)[0][0]
        parts.append(f"{len(unjudged)}{'' if clear else f' of {of}'} cannot be judged: {why}")
    text = f"{'; '.join(parts)} ({_each(others)}, {_range(images)} images)"
    return Finding("Robust or masked", _datasets(others), text, DESCRIBES, sum(len(row.verdicts) for row in others), "masking")


# --- searches ---------------------------------------------------------------------------------------------------------


def _searches(results: Results) -> Iterator[Finding]:
    for row in spread.spreads(results):
        c = row.components
        if c.p == c.p and c.groups >= INTERVAL_SEEDS:
            share = 100 * c.share[0], 100 * c.share[1]
            text = f"the {row.unit.name} explains {100 * c.explained:.0f} % of the variance of single trainings' test errors "
            text += f"[{share[0]:.0f}, {share[1]:.0f}], 95 %, {c.groups} {row.unit.plural}, {c.members} trainings, p {p_value(c.p)}; {row.words}"
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
        text += f"; {_range(sorted(row.ri.n for row in none))} seeds; {DESCRIBING}"
        data = ", ".join(dict.fromkeys(row.block.dataset for row in none))
        yield Finding(SEARCHES, data, text, DESCRIBES, max(row.ri.n for row in none), "improvement")
    for row, ends in found:
        sign = "better" if row.ri.mean > 0 else "worse"
        text = f"{abs(row.ri.mean):.2f} % {sign} in accuracy than random genotypes of its space, relative to them {signed(ends)}, "
        text += f"{level(LEVEL)}, {number(row.ri.n, 'seed')}{_holds_0(ends)}; {DESCRIBING}"
        tone = DETAIL if row in none and len(none) > 1 else DESCRIBES
        yield Finding(SEARCHES, full(row.variant), text, tone, row.ri.n, "improvement", ends)


# --- against the paper ------------------------------------------------------------------------------------------------


def _published(comparisons: Sequence[paper.Comparison]) -> Iterator[Finding]:
    rows, others = met.split(comparisons)
    by: dict[str, list[paper.Comparison]] = {}
    for c in (*(row.selected for row in rows), *others):
        by.setdefault(c.cited.table if c.within is not None else "", []).append(c)
    if too_few := by.pop("", []):
        tables, most = dict.fromkeys(c.cited.table for c in too_few), max(c.ours.n for c in too_few)
        text = f"{number(len(too_few), 'printed number')} with ours beside; {number(most, 'seed')} cannot say where one more of ours would lie "
        text += f"(that takes {INTERVAL_SEEDS})"
        yield Finding("Against the paper", ", ".join(tables), text, DESCRIBES, most, "paper")
    for table, found in by.items():
        outside = sorted((c for c in found if not c.within), key=_beyond, reverse=True)
        counts = sorted({c.ours.n for c in found})
        text = f"{len(found) - len(outside)} of {number(len(found), 'printed number')} {'lies' if len(found) - len(outside) == 1 else 'lie'} "
        text += f"inside where one more of ours would (95 %, {_range(counts)} seeds)"
        if outside:
            text += f", {len(outside)} outside: such a number differs in more than its seed, or is the one in twenty"
        yield Finding("Against the paper", table, text, DESCRIBES, counts[-1], "paper")
        for i, c in enumerate(outside):
            yield _outside(c, DETAIL if i else DESCRIBES)


def _outside(c: paper.Comparison, tone: str) -> Finding:
    ends = c.ours.one_more
    assert ends is not None
    if "error" in c.cited.metric:
        ours = f"ours errs {_points(c.difference)} {'less' if c.difference < 0 else 'more'}"
    else:
        unit = "" if c.cited.metric == "gpu_days" else f" point{'s' if abs(c.difference) != 1 else ''}"
        ours = f"ours is {abs(c.difference):.2f}{unit} {'lower' if c.difference < 0 else 'higher'}"
    text = f"{ours} than the printed {c.cited.paper:.2f} ({c.cited.unit}), which lies outside where one more of ours would "
    text += f"[{ends[0]:.2f}, {ends[1]:.2f}], {level(LEVEL)}, {number(c.ours.n, 'seed')}"
    text += "; a caveat says what is known of it" if c.cited.caveat else ""
    return Finding("Against the paper", f"{c.cited.table}, {c.cited.row} on {c.cited.dataset}", text, tone, c.ours.n, "paper", ends)


def _beyond(c: paper.Comparison) -> float:
    """By how many halves of the interval it lies away: tables of several units are then in one order."""
    ends = c.ours.one_more
    half = (ends[1] - ends[0]) / 2 if ends else 0.0
    return abs(c.difference) / half if half else math.inf


def _range(counts: Sequence[int]) -> str:
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


# --- beside BP, where nobody named it ---------------------------------------------------------------------------------


def _beside_bp(results: Results, claims: Sequence[Claim]) -> Iterator[Finding]:
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
            parts.append(f"{spell(variant.rules)} errs {_points(difference.mean)} {sign} {signed(ends)}{_holds_0(ends)}")
            counts.append(difference.n)
    if parts:
        differ = len({variant.protocols for variant in block.variants}) > 1
        about = f"{place(block)}{', ' + ', '.join(bp.protocols) if differ else ''}"
        text = f"beside BP, {'; '.join(parts)}; 95 % each and not corrected, {_range(sorted(counts))} seeds; not named beforehand: {DESCRIBING}"
        yield Finding("Rules beside BP", about, text, DESCRIBES, max(counts), anchor("accuracy", block))


def _holds_0(ends: tuple[float, float]) -> str:
    return " (0 lies inside)" if ends[0] <= 0 <= ends[1] else ""


# --- nothing to claim -------------------------------------------------------------------------------------------------


def _nothing(results: Results, claims: Sequence[Claim]) -> Iterator[Finding]:
    """Say why nothing is claimed, where no comparison says it."""
    if claims:
        return
    counts = [len(variant.by_seed("test_error")) for block in results.blocks for variant in block.variants]
    most = max(counts, default=0)
    if not most:
        text = "Nothing has been trained yet, so nothing is found"
    else:
        few = f"{number(most, 'seed')} at most (intervals need {INTERVAL_SEEDS}, claims {CLAIM_SEEDS}), and " if most < CLAIM_SEEDS else ""
        text = f"Nothing is claimed: {few}the definition named no comparison; what stands below describes"
    yield Finding("No claim", "", text, NOTHING, most, "accuracy")


