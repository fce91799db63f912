"""The comparisons that the definition named before it ran, tested and corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reports.numbers.names import number
from reports.numbers.statistics import Difference, Step, holm
from reports.numbers.tables import Results
from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS

WORDS = {"test_error": ("errs less", "errs more")}  # of every other metric: lower and higher


@dataclass(frozen=True)
class Claim:
    """One comparison: what the plan says of it, the difference that was found, and its step among all."""

    named: Mapping[str, Any]
    difference: Difference
    step: Step

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval at the level of its step; it leaves 0 out exactly where the test is rejected."""
        return self.difference.interval(self.step.level)

    @property
    def told_apart(self) -> bool:
        """Whether a difference may be claimed in words."""
        return self.step.rejected and self.difference.n >= CLAIM_SEEDS

    @property
    def words(self) -> str:
        n = self.difference.n
        if n < INTERVAL_SEEDS:
            return too_few(n) if n else "no seeds yet"
        if math.isnan(self.difference.mean):
            return "not a number in every seed: no claim"
        if not self.difference.testable:
            return "the same in every seed: no claim"
        if n < CLAIM_SEEDS:
            return too_few(n)
        if not self.told_apart:
            return "tie: not told apart"
        return WORDS.get(self.named["metric"], ("is lower", "is higher"))[self.difference.mean > 0]

    @property
    def detectable(self) -> float:
        """The smallest difference that would have been told apart; NaN where nothing was tested."""
        return self.difference.detectable(self.step.level)


def too_few(seeds: int) -> str:
    """Say what so many seeds do not allow."""
    return f"{number(seeds, 'seed')}: no {'interval' if seeds < INTERVAL_SEEDS else 'claim'}"


def family(results: Results) -> int:
    """Return how many comparisons are corrected together: those that enough seeds were planned for, whatever became of them."""
    return sum(len(named["seeds"]) >= INTERVAL_SEEDS for named in results.plan.get("comparisons", []))


def claims(results: Results) -> list[Claim]:
    """Test every comparison of the plan, in its order."""
    named = results.plan.get("comparisons", [])
    variants = {(v.dataset, f"{v.name}/{v.rules}", protocol): v for b in results.blocks for v in b.variants for protocol in v.protocols}

    def of(entry: Mapping[str, Any], side: str) -> dict[int, float]:
        found = variants.get((entry["dataset"], entry[side], entry["protocols"][0]))
        return found.by_seed(entry["metric"]) if found else {}

    differences = [Difference.paired(of(entry, "of"), of(entry, "against")) for entry in named]
    steps = holm([difference.p for difference in differences], family(results))
    return [Claim(*row) for row in zip(named, differences, steps, strict=True)]


def questions(found: Iterable[Claim]) -> list[tuple[str, list[Claim]]]:
    """Return each question in the plan's order, and the comparisons that answer it: without one of their own, the one before."""
    asked: list[tuple[str, list[Claim]]] = []
    for claim in found:
        about = str(claim.named.get("about") or "")
        if not asked or about not in ("", asked[-1][0]):
            asked.append((about, []))
        asked[-1][1].append(claim)
    return asked
