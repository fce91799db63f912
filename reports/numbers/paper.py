"""The paper's numbers beside ours: paper.yaml joined with what a benchmark ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from reports.numbers import attacked
from reports.numbers.statistics import Summary, proportion
from reports.numbers.tables import Results, SearchGroup, Variant

FILE = Path(__file__).with_name("paper.yaml")
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Cited:
    """One number of the paper: where it stands, what it is, and who of ours would answer it."""

    table: str
    row: str
    unit: str  # what is measured, as the paper's column says
    kind: str
    paper: float
    dataset: str
    metric: str
    network: str | None
    rules: str | None
    search: str | None
    caveat: str
    images: int  # that it is a share of; 0 where it is none, or nobody knows
    attacked_with: Mapping[str, Any]  # parameters of its attack that are not preset `paper`'s

    @property
    def interval(self) -> tuple[float, float] | None:
        """What the test images say of the network behind it."""
        return proportion(self.paper, self.images) if self.images else None


@dataclass(frozen=True)
class Comparison:
    """A number of the paper and ours."""

    cited: Cited
    ours: Summary
    images: int  # that ours is a share of, if it is one network's
    label: str  # of whose numbers ours are, with protocol and settings that depart from it
    found: Variant | SearchGroup

    @property
    def interval(self) -> tuple[float, float] | None:
        return proportion(self.ours.mean, self.images) if self.images else None

    @property
    def within(self) -> bool | None:
        """Whether the paper's number lies where one more run of ours would; None where ours are too few to say."""
        ends = self.ours.one_more
        return ends and ends[0] <= self.cited.paper <= ends[1]

    @property
    def difference(self) -> float:
        return self.ours.mean - self.cited.paper


@cache
def cited() -> tuple[Cited, ...]:
    """Return every number of the paper that paper.yaml lists."""
    return tuple(_cited(yaml.safe_load(FILE.read_text(encoding="utf-8"))))


def _cited(content: dict[str, Any]) -> Iterator[Cited]:
    for table in content["tables"]:
        for row in table["rows"]:
            caveats = row.get("caveats", [None] * len(table["columns"]))
            for column, paper, caveat in zip(table["columns"], row["paper"], caveats, strict=True):
                if paper is not None:
                    yield Cited(
                        table=table["table"],
                        row=row["row"],
                        unit=column["unit"],
                        kind=table["kind"],
                        paper=paper,
                        dataset=column["dataset"],
                        metric=column["metric"],
                        network=row.get("network"),
                        rules=row.get("rules"),
                        search=row.get("search"),
                        caveat=content["caveats"][caveat] if caveat else "",
                        images=_images(content, column, caveat),
                        attacked_with=content["attacked_with"].get(caveat, {}) if column["metric"].startswith("robust") else {},
                    )


def _images(content: dict[str, Any], column: dict[str, Any], caveat: str | None) -> int:
    """Return how many images a number is a share of: those that its caveat names, or for what is not attacked the test set."""
    whole = content["test_images"][column["dataset"]] if column["metric"] in ("test_error", "test_accuracy", "clean_accuracy") else 0
    return content["attacked_images"].get(caveat, whole)


def compare(results: Results) -> list[Comparison]:
    """Return a row for every number of the paper that this benchmark has an answer to; one for each protocol that has."""
    ran: list[Variant | SearchGroup] = [variant for block in results.blocks for variant in block.variants]
    ran += results.searches
    rows = []
    for number in cited():
        for found in ran:
            if answers(found, number):
                metric = _alike(number, found, results.attacks)
                ours = measured(found, metric)
                if ours.n:
                    images = found.images(_ours(found, metric)) if isinstance(found, Variant) else 0
                    by = "" if metric == number.metric else f"; {attacked.metric_words(metric)}"
                    rows.append(Comparison(number, ours, images, _label(found) + by, found))
    return rows


def _alike(number: Cited, found: Variant | SearchGroup, attacks: Mapping[str, Any]) -> str:
    """Return the metric of the attack that has the number's parameters, if one ran; else of preset `paper`'s."""
    name, _, way = number.metric.removeprefix("robust_accuracy_").rpartition("_")
    for label, planned in attacks.items() if number.attacked_with else ():
        metric = f"robust_accuracy_{label}_{way}"
        if planned["attack"] == name and number.attacked_with.items() <= planned["parameters"].items() and found.by_seed(metric):
            return metric
    return number.metric


def answers(found: Variant | SearchGroup, number: Cited) -> bool:
    if found.dataset != number.dataset:
        return False
    if isinstance(found, SearchGroup):
        return found.name == number.search
    return number.search is None and (found.network, found.rules) == (number.network, number.rules)


def measured(found: Variant | SearchGroup, metric: str) -> Summary:
    """Return our number in the paper's unit."""
    if metric == "gpu_days":
        assert isinstance(found, SearchGroup)  # the paper gives it of searches alone
        on_gpu = [run for run in found.runs.values() if run.provenance.get("device", "cpu") != "cpu" and "search_seconds" in run.timings]
        return Summary.of(float(run.timings["search_seconds"]) / SECONDS_A_DAY for run in on_gpu)
    if metric == "test_accuracy":
        return Summary.of(100 - error for error in found.by_seed("test_error").values())
    return found.metric(_ours(found, metric))


def _ours(found: Variant | SearchGroup, metric: str) -> str:
    """Return our name of what is measured. BP's own gradient is the true one, so that is where its attacks are."""
    if metric == "test_accuracy":
        return "test_error"
    if isinstance(found, Variant) and found.rules == "bp" and metric.endswith("_rule"):
        return metric.removesuffix("rule") + "true"
    return metric


def _label(found: Variant | SearchGroup) -> str:
    words = [", ".join(found.protocols)]
    if isinstance(found, Variant):
        words.append(f"{found.parent} on {found.dataset}" if found.parent and not found.parent.startswith(f"{found.dataset}/") else "")
        words.append(f"with {', '.join(found.overrides)} set" if found.overrides else "")
    return "; ".join(filter(None, words))
