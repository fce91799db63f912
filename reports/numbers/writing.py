"""How numbers are written, on the page and in summaries."""

from __future__ import annotations

import re
from typing import Any

from reports.numbers.statistics import Summary

SEED = re.compile(r"(.*seed\d+)-(?:(.+)-)?([0-9a-f]{8})")  # a run's id: who, its settings, the digest of them all


def si(number: float) -> str:
    """1234567 → 1.23 M."""
    if number != number:
        return "–"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def fixed(number: float, digits: int) -> str:
    """1.2345 → 1.23, by digits; a dash for none."""
    return "–" if number != number else f"{number:.{digits}f}"


def duration(seconds: float) -> str:
    """4000 → 1 h 7 min."""
    if seconds != seconds:
        return "–"
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.1f} s"


def interval(ends: tuple[float, float] | None, digits: str = ".1f") -> str:
    """(1.23, 4.56) → [1.2, 4.6]; nothing for none."""
    return f"[{ends[0]:{digits}}, {ends[1]:{digits}}]" if ends else ""


def signed(ends: tuple[float, float], digits: int = 2) -> str:
    """(-1.23, 4.56) → [−1.23, +4.56], as in a sentence: no line ends in it."""
    return "[" + ",\xa0".join(f"{end:+.{digits}f}".replace("-", "−") for end in ends) + "]"


def level(level: float) -> str:
    """0.05 → 95 %: how sure an interval at that level is."""
    return f"{100 - 100 * level:.4g}\xa0%"


def status(words: str) -> str:
    """skipped(parent diverged) → skipped (parent diverged)."""
    head, bracket, rest = words.partition("(")
    return f"{head.strip()} ({rest}" if bracket else words


def p_value(p: float) -> str:
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def setting(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def full(number: float | None) -> str:
    """Write a number as it was computed, for machines: what tables sort by and export; nothing for none."""
    if number is None or number != number:
        return ""
    return str(number) if isinstance(number, int) else repr(float(number))


def measured(summary: Summary, digits: str = ".2f") -> str:
    """12.35 ± 0.50, where no line ends after the sign."""
    return f"{summary:{digits}}".replace("± ", "±\xa0")


def slug(*words: object) -> str:
    """("accuracy", "CIFAR 10") → accuracy-cifar-10: an id, and a file's name."""
    return "-".join(re.sub(r"[^a-z0-9]+", "-", str(word).lower()).strip("-") for word in words)


def shortened(id: str) -> tuple[str, str, str]:
    """digits/resnet20/fa/seed0-lr0.1-0a1b2c3d → (digits/resnet20/fa/seed0, -lr0.1-, 0a1b2c3d); an id that is not so made stays whole."""
    found = SEED.fullmatch(id)
    return (found[1], f"-{found[2]}-" if found[2] else "-", found[3]) if found else (id, "", "")
