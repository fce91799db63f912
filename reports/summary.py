"""`python -m reports.summary METRICS`: what a benchmark found, as a few lines of Markdown: for a README, a pull request, a mail."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bionas.files import replacing
from reports import against, attacked, charts, claims, masking, robustness, tables
from reports.render import fixed, interval, p_value


def summary(results: tables.Results) -> str:
    """Return the comparisons with their corrected intervals, and the networks' means, each with its number of seeds."""
    parts = ["\n".join(part(results)).strip() for part in (_comparisons, _against, _networks, _robustness)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _comparisons(results: tables.Results) -> Iterator[str]:
    found, family = claims.claims(results), claims.family(results)
    if not found:
        return
    several = len({(claim.named["dataset"], *claim.named["protocols"]) for claim in found}) > 1
    columns = ["compared", *["on"] * several, "seeds", "difference, points", "interval at its level", f"p (Holm, {family})", "in words"]
    yield from _head(*columns, "smallest that would be seen")
    for claim in found:
        named, difference = claim.named, claim.difference
        where = f"{named['dataset']}, {', '.join(named['protocols'])} | " if several else ""
        mean = f"{difference.mean:+.2f}" if difference.n else "–"
        ends = f"{interval(claim.interval, '+.2f')} {100 - 100 * claim.step.level:.4g} %" if claim.interval else "–"
        smallest = fixed(claim.detectable, 2) if claim.interval and not claim.told_apart else "–"
        metric = "" if named["metric"] == "test_error" else f" ({attacked.metric_words(named['metric'])})"
        words = f"**{claim.words}**" if claim.told_apart else claim.words
        sides = f"{_side(named['of'])} − {_side(named['against'])}{metric}"
        yield f"| {sides} | {where}{difference.n} | {mean} | {ends} | {p_value(claim.step.p)} | {words} | {smallest} |"


def _against(results: tables.Results) -> Iterator[str]:
    found = [row for row in against.compare(results) if row.ours.one_more]
    if found:
        yield from _head("published", "what", "theirs", "ours", "seeds", "one more of ours, 95 %", "theirs is")
    for row in found:
        ends, cited = interval(row.ours.one_more, ".2f"), row.cited
        where = "inside" if row.within else "outside"
        yield f"| {cited.table}, {cited.row} | {cited.unit} | {cited.paper:.2f} | {row.ours:.2f} | {row.ours.n} | {ends} | {where} |"


def _networks(results: tables.Results) -> Iterator[str]:
    for block in results.blocks:
        yield from _head(f"{'cells' if block.network == 'cells' else block.network} on {block.dataset}", "test error, %", "seeds")
        for variant in block.variants:
            error = variant.metric("test_error")
            yield f"| {charts.name(variant, block)} | {error:.2f} | {error.n} |"
        yield ""


def _robustness(results: tables.Results) -> Iterator[str]:
    parts = robustness.parts(results)
    for part in parts:
        where = f"{'cells' if part.block.network == 'cells' else part.block.network} on {part.block.dataset}"
        for table in part.tables():
            kinds = table.kinds if len(table.kinds) > 1 else ()
            named = [
                {"own": "own gradient", "true": "true gradient", "none": "no gradient", "transfer": "transfer"}[kind] for kind in kinds
            ]
            yield from _head(f"{where}, robust within {table.budget.words}, %", "no attack", *named, "worst case", "seeds")
            for row in table.rows:
                shares = ["= own" if kind == "true" and row.plain else _share(row.by_kind[kind]) for kind in kinds]
                cells = [_share(row.clean), *shares, _share(row.worst), row.worst.over.n]
                yield f"| {charts.name(row.variant, part.block)} | {' | '.join(map(str, cells))} |"
            yield ""
    if parts:
        yield from _head("network", "does its own gradient mask it?", "cosine to the true one")
        for verdict in masking.verdicts(parts):
            network = "" if verdict.block.network == "cells" else f", {verdict.variant.name}"
            where = f"{charts.name(verdict.variant, verdict.block)}{network} on {verdict.variant.dataset}"
            yield f"| {where} | {verdict.words} | {verdict.cosine:.2f} |"


def _share(share: attacked.Share) -> str:
    return f"{fixed(share.over.mean, 1)} {interval(share.interval)}".strip()


def _head(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"


def _side(name: str) -> str:
    network, _, rules = name.rpartition("/")
    return f"{network}, {charts.spell(rules)}"


def block(page: str, name: str) -> re.Match[str]:
    """Find a benchmark's place in a page: what stands between <!-- NAME --> and <!-- end -->. Raises ValueError if there is none."""
    found = re.search(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", page, re.DOTALL)
    if not found:
        raise ValueError(f"no place for it between <!-- {name} --> and <!-- end -->")
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.summary", description="Print what a metrics file holds, as Markdown.")
    parser.add_argument("metrics", type=Path, help="results/<benchmark>/metrics.h5, or a published one")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put it into a page instead, between <!-- NAME --> and <!-- end -->")
    args = parser.parse_args(argv)
    results = tables.read(args.metrics)
    if args.into is None:
        print(summary(results), end="")
        return
    page = args.into.read_text(encoding="utf-8")
    try:
        place = block(page, results.benchmark)
    except ValueError as error:
        raise ValueError(f"{args.into}: {error}") from None
    with replacing(args.into) as partial:
        partial.write_text(page[: place.start()] + summary(results) + page[place.end() :], encoding="utf-8")
    print(f"{args.into}: {results.benchmark} as {args.metrics} has it")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.summary: {error}")
