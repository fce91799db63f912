"""What was found, in sentences that the statistics allow: computed, each with its interval and level, its n and its table.

A claim is what a named comparison told apart, or a verdict of masking (both corrected by Holm). A tie is said as a tie, with what would
have been seen. Everything else describes: it comes with an interval, and says that it claims nothing. Where seeds are too few for an
interval there is no sentence, but one that says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bionas import catalog
from reports.numbers import attacked, masking, paper
from reports.numbers.claims import Claim
from reports.numbers.names import network, number, under
from reports.numbers.sentences import (
    CLAIM,
    DETAIL,
    NOTHING,
    TIE,
    TONES,
    Finding,
    beside_bp,
    masked,
    points,
    published,
    searches,
)
from reports.numbers.tables import Results
from reports.numbers.writing import level, signed, status
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS

SHOWN = 8
WORDS = {
    "Told apart": "the interval of the difference leaves 0 out, so that chance between seeds hardly explains it",
    "A tie": "the interval holds 0: these seeds show no difference, and cannot rule a small one out",
    "Masked": "a network's own gradient leads attackers astray; it looks robust, and attacks that go another way break it",
    "Uninformed, permuted α": "a search weighs the candidates of every edge by α; these are permuted here, so that nothing was chosen",
}
OF_ONE_KIND = 3  # that are shown before those of other kinds had their turn


def findings(
    results: Results, claims: Sequence[Claim], verdicts: Sequence[masking.Row], comparisons: Sequence[paper.Comparison]
) -> list[Finding]:
    """Return all findings by weight: claims, ties named together, what describes; within that in the page's order."""
    told = [
        *_named(results, claims),
        *masked(verdicts),
        *searches(results),
        *published(comparisons),
        *beside_bp(results, claims),
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


def words(results: Results, found: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return the words that these findings, and what the definition says of itself, take for known, each with what it means."""
    ties = any(finding.tone == TIE or finding.text.startswith("a tie") for finding in found)
    permuted = any(variant.rules == "uninformed" for block in results.blocks for variant in block.variants)
    return [
        (word, meaning) for (word, meaning), said in zip(WORDS.items(), (True, ties, _said("mask", found), permuted), strict=True) if said
    ]


def _said(word: str, found: Iterable[Finding]) -> bool:
    return any(word in finding.text for finding in found)


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
        seen = f"{least:.2f} to {most:.2f} points" if f"{least:.2f}" != f"{most:.2f}" else points(least)
        text = (
            f"{len(ties)} of {number(len(claims), 'named comparison')} are ties: {_seeds(ties)} do not tell the two apart, which does not "
        )
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
    words = _by_how_much(results, named["metric"], difference.mean, (sides[0], sides[1]), ours == theirs)
    assert ends is not None  # told apart, a tie, or at least an interval
    found = f"{words} {signed(ends)}, {level(claim.step.level)}, {number(difference.n, 'seed')}"
    if tone == CLAIM:
        text = found
    elif difference.n >= CLAIM_SEEDS:
        text = f"a tie: {found}; {points(claim.detectable)} would have been seen"
    else:
        text = f"no claim: {found}"
    kind = _contrast(results, (ours, of), (theirs, against))
    return Finding(kind, about, text, tone, difference.n, "comparisons", ends, claim.step.level)


def _by_how_much(results: Results, metric: str, difference: float, sides: tuple[str, str], alike: bool) -> str:
    """−1.2 → under FA it errs 1.20 points less than under BP; or with what is measured, if that is no test error."""
    (of, against), words = sides, attacked.metric_in_full(metric, results.attacks)
    if metric.startswith("test_error"):
        when = f"{words.removeprefix('test error ')}, " if metric != "test_error" else ""
        return f"{when}{of} {'it ' if alike else ''}errs {points(difference)} {'less' if difference < 0 else 'more'} than {against}"
    than = f"{points(difference)} {'lower' if difference < 0 else 'higher'} than"
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


# --- nothing to claim -------------------------------------------------------------------------------------------------


def _nothing(results: Results, claims: Sequence[Claim]) -> Iterator[Finding]:
    """Say why nothing is claimed, where no comparison says it."""
    if claims:
        return
    counts = [len(variant.by_seed("test_error")) for block in results.blocks for variant in block.variants]
    most = max(counts, default=0)
    ends = Counter(status(run.status) for block in results.blocks for variant in block.variants for run in variant.trains.values())
    if not most and ends:
        how = ", ".join(f"{count} {end}" for end, count in ends.most_common())
        text = f"No training ended with a network to judge ({how}), so nothing is found"
    elif not most:
        text = "Nothing has been trained yet, so nothing is found"
    else:
        why = "size=tiny leaves comparisons out" if results.benchmark.endswith("-tiny") else "the definition named no comparison"
        few = f"{number(most, 'seed')} at most (intervals need {INTERVAL_SEEDS}, claims {CLAIM_SEEDS}), and " if most < CLAIM_SEEDS else ""
        text = f"Nothing is claimed: {few}{why}; what stands below describes"
    yield Finding("No claim", "", text, NOTHING, most, "accuracy")
