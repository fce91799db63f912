"""What a page shows, read from its HTML by the standard library's parser alone: tables by id, cell by cell."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Cell:
    """A cell: its text, and its attributes."""

    attributes: dict[str, str | None]
    text: str = ""

    def number(self, part: str = "order") -> float | None:
        found = self.attributes.get(f"data-{part}")
        return float(found) if found else None


@dataclass
class Table:
    heads: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows by their heads."""
        assert all(len(row) == len(self.heads) for row in self.rows)
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]


class Page(HTMLParser):
    """A page's tables and its packed ones."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, Table] = {}
        self.packed: dict[str, Any] = {}
        self._table: Table | None = None
        self._cell: Cell | None = None
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "table":
            self._table = self.tables.setdefault(attributes.get("id") or "", Table())
        elif tag == "tr" and self._table:
            self._table.rows.append([])
        elif tag in ("td", "th") and self._table:
            self._cell = Cell(attributes)
            if tag == "td":
                self._table.rows[-1].append(self._cell)
        elif tag == "script":
            self._script = attributes.get("data-table") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "th" and self._table and self._cell:
            self._table.heads.append(self._cell.text.strip())
        if tag in ("td", "th"):
            self._cell = None
        elif tag == "thead" and self._table:
            self._table.rows.clear()
        elif tag == "table":
            self._table = None
        elif tag == "script":
            self._script = ""

    def handle_data(self, data: str) -> None:
        if self._cell:
            self._cell.text += data
        elif self._script:
            text = gzip.decompress(base64.b64decode(data)).decode()
            self.packed[self._script] = json.loads(text) if text.startswith("[") else text
