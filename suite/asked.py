"""What `snakemake --config …` asks for: definitions at a size, a part of them, and whether runs of other code will do. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bionas import catalog
from suite import code
from suite.definition.spec import listed, paths
from suite.plan import Plan, load, select
from suite.plan.outdated import Outdated, advise, outdated, say

KEYS = ("benchmark", "size", "only", "image", "code")


@dataclass(frozen=True)
class Asked:
    """`plans` by the folder of their results, `files` the definition of each; `words` are the definitions as the user named them."""

    plans: dict[str, Plan]
    files: dict[str, str]
    words: tuple[str, ...]
    size: str
    only: str
    code: str

    @cached_property
    def outdated(self) -> dict[str, list[Outdated]]:
        """Every plan's finished runs that other code made. Raises ValueError if what was accepted is not readable."""
        return {name: outdated(planned) for name, planned in self.plans.items()}

    @property
    def said(self) -> str:
        """A line that names such runs, and says what becomes of them; nothing if there are none."""
        names = list(dict.fromkeys(run.name for runs in self.outdated.values() for run in runs))
        what = "they are made anew" if self.code == "equal" else advise(self.words, self.size, self.only)
        return f"{say(names)}; {what}" if names else ""


def read(config: Mapping[str, Any], checkout: Path) -> Asked:
    """Read what Snakemake was given. A bare name is a definition in the checkout's benchmarks/. Raises ValueError with one line."""
    if unknown := sorted(set(config) - set(KEYS)):
        raise ValueError(f"--config: {', '.join(unknown)} unknown; allowed: {', '.join(KEYS)}")
    size, only = str(config.get("size", "full")), str(config.get("only") or "")
    demand = catalog.choose("code", str(config.get("code", "any")), code.DEMANDS)
    words = paths(str(config.get("benchmark", "demo")), checkout)
    plans: dict[str, Plan] = {}
    files: dict[str, str] = {}
    for definition in (str(file) for word in words for file in listed(word)):
        planned = load(definition, size)
        if planned.name in plans:
            raise ValueError(f"{definition}: another definition is named {planned.name!r}, too")
        plans[planned.name] = planned
        files[planned.benchmark.name] = definition
    if "only" in config:
        plans = {planned.name: planned for planned in select(list(plans.values()), only)}
    return Asked(plans, {name: files[planned.benchmark.name] for name, planned in plans.items()}, words, size, only, demand)
