"""How numbers are written, on the page and in summaries."""

from __future__ import annotations

from typing import Any


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
