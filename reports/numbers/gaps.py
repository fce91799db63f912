"""What is missing in its place: of a table's networks, and of searches, which runs are not there or did not end well, and why.

Statuses are: ok, diverged, skipped (why), missing (why), failed (why).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reports.numbers.names import name, number
from reports.numbers.tables import Block, Results, SearchGroup, Variant
from reports.numbers.writing import status

WORDS = {"search": "search", "train": "training", "evaluation": "attacks and analyses"}
NOT_YET = "not run yet"
FOLLOWS = ("missing (its ", "skipped (parent ")  # what is only the consequence of another gap


@dataclass(frozen=True)
class Gap:
    """One kind of gap: whose, in which stage, its status, and which of the definition's seeds it concerns (of how many)."""

    what: str
    stage: str
    status: str
    seeds: tuple[int, ...]
    of: int

    @property
    def seed_words(self) -> str:
        if len(self.seeds) == self.of:
            return "all seeds" if self.of > 1 else f"seed {self.seeds[0]}"
        return f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class Gaps:
    """Everything that is missing, by run and stage, and what a table says of it."""

    reasons: Mapping[tuple[str, str], str] = field(repr=False)  # (run's path, stage) → why it is missing

    def status(self, path: str, stage: str) -> str:
        """Return the status of a result that is not there; nothing where the file does not say."""
        why = self.reasons.get((path, stage), "")
        head, _, rest = why.partition(": ")
        return f"failed ({rest})" if head == "failed" else f"missing ({why})" if why else ""

    def of_block(self, block: Block) -> list[Gap]:
        """Return what is missing of a table's networks, in its order."""
        return [gap for variant in block.variants for gap in self.of_variant(variant, name(variant, block))]

    def of_variant(self, variant: Variant, what: str) -> list[Gap]:
        """Return what is missing of one network; an evaluation that only waits for its training is not said again."""
        return _joined(what, len(variant.seeds), self._of_trials(variant))

    def of_search(self, group: SearchGroup) -> list[Gap]:
        found = (
            (seed, "search", _run_status(group.runs, seed) or self.status(f"search/{id}", "search")) for seed, id in group.planned.items()
        )
        return _joined(group.label, len(group.planned), ((seed, stage, words) for seed, stage, words in found if words))

    def _of_trials(self, variant: Variant) -> Iterator[tuple[int, str, str]]:
        for seed, id in variant.planned.items():
            unit = variant.of_seed.get(seed, seed)
            for stage, runs in (("train", variant.trains), ("evaluation", variant.evaluations)):
                words = _run_status(runs, seed) or self.status(f"trial/{id}", stage)
                if words and not (stage == "evaluation" and words.startswith(FOLLOWS) and "source" not in words):
                    yield unit, stage, words


def gaps(results: Results) -> Gaps:
    """Return what is missing of a benchmark."""
    return Gaps({(row["run"], row["stage"]): row["reason"] for row in results.missing})


def attacks_not_run(results: Results, gaps: Gaps) -> list[tuple[Block, str]]:
    """Return the tables that were to be attacked and of which no network has been, and why."""
    attacked = {trial["id"] for trial in results.plan["trials"] if trial["evaluation"] and trial["evaluation"]["attacks"]}
    return [
        (block, _why_not(block, gaps, attacked))
        for block in results.blocks
        if any(attacked & set(variant.planned.values()) for variant in block.variants)
        and not any(run.status == "ok" for variant in block.variants for run in variant.evaluations.values())
    ]


def _why_not(block: Block, gaps: Gaps, attacked: set[str]) -> str:
    chosen = [
        gaps.status(f"trial/{id}", "evaluation") or _run_status(variant.evaluations, seed)
        for variant in block.variants
        for seed, id in variant.planned.items()
        if id in attacked
    ]
    return "; ".join(dict.fromkeys(filter(None, chosen))) or NOT_YET


@dataclass(frozen=True)
class Missing:
    """The results that are missing, summed up for the top of the page."""

    counts: Mapping[str, int]  # how many, by what became of them
    shown: tuple[Mapping[str, str], ...]
    more: int
    rest_not_yet: bool  # whether none of the rest has run yet

    @property
    def words(self) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in self.counts.items())


MOST = 200  # rows; the rest has not run yet, and is counted


def missing(results: Results) -> Missing:
    """Sum up what is missing: what went wrong first, as the file has it."""
    counts: dict[str, int] = {}
    for row in results.missing:
        what = _became(row["reason"])
        counts[what] = counts.get(what, 0) + 1
    rest = results.missing[MOST:]
    return Missing(counts, tuple(results.missing[:MOST]), len(rest), all(_became(row["reason"]) == NOT_YET for row in rest))


def _became(reason: str) -> str:
    if reason == NOT_YET:
        return NOT_YET
    if reason.startswith("its ") and reason.endswith(" is missing"):
        return "waiting for another"
    head = reason.partition(":")[0]
    return head if head in ("failed", "running", "removed", "not finished") else "damaged or not to be made"


def _run_status(runs: Mapping[int, object], seed: int) -> str:
    found = getattr(runs.get(seed), "status", "ok")
    return "" if found == "ok" else status(found)


def _joined(what: str, of: int, found: Iterable[tuple[int, str, str]]) -> list[Gap]:
    """Join the seeds that lack the same for the same reason."""
    order: dict[tuple[str, str], list[int]] = {}
    for seed, stage, words in found:
        seeds = order.setdefault((stage, words), [])
        if seed not in seeds:
            seeds.append(seed)
    return [Gap(what, WORDS[stage], words, tuple(seeds), of) for (stage, words), seeds in order.items()]


def listed(found: Iterable[Gap]) -> list[tuple[str, str]]:
    """Return (who, what) lines: networks that lack the same share a line, so that a benchmark that has just begun fills no page."""
    by: dict[tuple[str, str, str], list[str]] = {}
    for gap in found:
        by.setdefault((gap.stage, gap.status, gap.seed_words), []).append(gap.what)
    return [
        (", ".join(who) if len(who) <= 8 else f"{number(len(who), 'network')}, from {who[0]} to {who[-1]}", f"{stage} {words}, {seeds}")
        for (stage, words, seeds), who in by.items()
    ]
