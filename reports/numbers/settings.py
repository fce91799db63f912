"""Settings: of each table's networks, and of the searches on one data set, with who has which where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reports.numbers import names
from reports.numbers.tables import Results, Variant
from reports.numbers.writing import setting


@dataclass(frozen=True)
class Group:
    """What was set up together: {name: its settings}."""

    title: str
    members: Mapping[str, Mapping[str, Any]]

    def rows(self) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
        """Yield every setting with its values, each with the names that have it; none where all have the same."""
        found = [dict.fromkeys(settings) for settings in self.members.values()]
        for key in sorted({key: None for settings in found for key in settings}):
            who: dict[str, list[str]] = {}
            for name, settings in self.members.items():
                if key in settings:
                    who.setdefault(setting(settings[key]), []).append(name)
            same = len(who) == 1 and all(key in settings for settings in found)
            yield key, [(value, [] if same else named) for value, named in who.items()]


def groups(results: Results) -> list[Group]:
    """Return the searches of each data set, and the networks of each table."""
    searches: dict[str, dict[str, Mapping[str, Any]]] = {}
    for search in results.searches:
        searches.setdefault(f"Searches on {search.dataset}", {})[search.label] = {
            "protocol": ", ".join(search.protocols),
            **search.settings,
        }
    found = [Group(title, members) for title, members in searches.items()]
    for block in results.blocks:
        said = names.unique(names.name(variant, block) for variant in block.variants)
        found.append(Group(names.place(block), dict(zip(said, map(_of, block.variants), strict=True))))
    return found


def _of(variant: Variant) -> dict[str, Any]:
    own = {"set by the definition": ", ".join(variant.overrides)} if variant.overrides else {}
    return {"protocol": ", ".join(variant.protocols), **own, **variant.settings}
