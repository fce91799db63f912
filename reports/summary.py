"""`python -m reports.summary METRICS…`: what a benchmark found, as a few lines of Markdown: for a README, a pull request, a mail."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from bionas.files import replacing
from reports.numbers import attacked, claims, composition, improvement, masking, met, names, paper, ranking, robustness, spread, tables
from reports.numbers.writing import fixed, interval, p_value


def summary(results: tables.Results) -> str:
    """Return the comparisons with their corrected intervals, and the networks' means, each with its number of seeds."""
    sections = (_comparisons, _met, _against, _networks, _improvements, _spreads, _rankings, _compositions, _robustness)
    parts = ["\n".join(section(results)).strip() for section in sections]
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


def _met(results: tables.Results) -> Iterator[str]:
    found, _ = met.split(paper.compare(results))
    if found:
        epochs = ("selected (best test epoch, as theirs)", "last epoch")
        ours = [column for epoch in epochs for column in (f"ours, {epoch}", "one more of it, 95 %", "printed is")]
        yield from _head("published", "printed", *ours, "seeds")
    for row in found:
        ours = [f"{c.ours:.2f} | {interval(c.ours.one_more, '.2f') or '–'} | {met.where(c)}" for c in row.both]
        cited = row.selected.cited
        yield f"| {cited.table}, {cited.row} | {cited.paper:.2f} | {' | '.join(ours)} | {row.selected.ours.n} |"
    yield ""
    yield from dict.fromkeys(row.selected.cited.caveat for row in found)


def _against(results: tables.Results) -> Iterator[str]:
    found = [row for row in met.split(paper.compare(results))[1] if row.ours.one_more]
    if found:
        yield from _head("published", "what", "theirs", "ours", "seeds", "one more of ours, 95 %", "theirs is")
    for row in found:
        ends, cited = interval(row.ours.one_more, ".2f"), row.cited
        where = "inside" if row.within else "outside"
        yield f"| {cited.table}, {cited.row} | {cited.unit} | {cited.paper:.2f} | {row.ours:.2f} | {row.ours.n} | {ends} | {where} |"


def _networks(results: tables.Results) -> Iterator[str]:
    for block in results.blocks:
        chosen = ", of epochs selected on test" if any(variant.selected_on_test for variant in block.variants) else ""
        yield from _head(f"{'cells' if block.network == 'cells' else block.network} on {block.dataset}", f"test error, %{chosen}", "seeds")
        for variant in block.variants:
            error = variant.metric("test_error")
            yield f"| {names.name(variant, block)} | {error:.2f} | {error.n} |"
        yield ""


def _improvements(results: tables.Results) -> Iterator[str]:
    found = improvement.improvements(results)
    if found:
        yield from _head("relative improvement", "over random genotypes of", "on", "seeds", "RI, %", "interval, 95 %")
    for row in found:
        ends = interval(row.ri.interval, "+.2f") or "–"
        yield f"| {names.name(row.variant, row.block)} | {row.random.name} | {row.block.dataset} | {row.ri.n} | {row.ri:+.2f} | {ends} |"


def _spreads(results: tables.Results) -> Iterator[str]:
    for name, rows in groupby(sorted(spread.spreads(results), key=lambda row: row.unit.name), key=lambda row: row.unit.name):
        own = [f"{name} or retraining", "on", spread.UNITS[name].plural, "trainings", "sd between", "sd between retrainings"]
        yield from _head(*own, f"share that the {name} explains, 95 %", "F-test", "p", "in words", "smallest share that would be seen")
        for row in rows:
            c, tested = row.components, row.components.p == row.components.p
            share = f"{100 * c.explained:.0f} % {interval((100 * c.share[0], 100 * c.share[1]), '.0f')}" if tested else "–"
            f = f"F({c.groups - 1}, {c.members - c.groups}) = {c.f:.2f}" if tested else "–"
            smallest = f"{100 * c.detectable:.0f} %, sd {c.detectable_sd:.2f}" if tested else "–"
            yield (
                f"| {names.name(row.variant, row.block)} | {row.block.dataset} | {c.groups} | {c.members} | {c.between_sd:.2f} | "
                f"{c.within_sd:.2f} | {share} | {f} | {p_value(c.p)} | {row.words} | {smallest} |"
            )
        yield ""


def _rankings(results: tables.Results) -> Iterator[str]:
    found = ranking.rankings(results)
    if found:
        yield from _head("supernet's order and training's", "on", "genotypes a seed", "seeds", "Kendall's τ", "interval, 95 %", "in words")
    for row in found:
        label = f"{row.search.label}{f' ({row.told_by})' if row.told_by else ''}"
        ends = interval(row.interval, "+.2f") or "–"
        yield f"| {label} | {row.search.dataset} | {row.genotypes or '–'} | {row.tau.n} | {row.tau:+.2f} | {ends} | {row.words} |"


def _compositions(results: tables.Results) -> Iterator[str]:
    found = composition.compositions(results)
    if found:
        cells = [f"{kind}: {what}" for kind in ("normal", "reduction") for what in ("skips", "pools", "carry a rule")]
        yield from _head("what cells are made of", "on", "seeds", "genes a cell", *cells, "normal cells with two skips or more")
    for row in found:
        counts = " | ".join(str(row.counts[kind, what]) for kind in composition.KINDS for what in composition.WHAT)
        where = f"{row.search.label} | {row.search.dataset}"
        yield f"| {where} | {row.seeds} | {row.genes} | {counts} | {row.collapsed} of {row.seeds} |"


def _robustness(results: tables.Results) -> Iterator[str]:
    parts = robustness.parts(results)
    for part in parts:
        where = f"{'cells' if part.block.network == 'cells' else part.block.network} on {part.block.dataset}"
        for table in part.tables():
            kinds = table.kinds if len(table.kinds) > 1 else ()
            words = {"own": "own gradient", "true": "true gradient", "none": "no gradient", "transfer": "transfer"}
            named = [f"{words[kind]}{f' ({least.at_most})' if (least := table.smaller(kind)) else ''}" for kind in kinds]
            yield from _head(f"{where}, robust within {table.budget.words}, %", "no attack", *named, "worst case", "seeds")
            for row in table.rows:
                shares = ["= own" if kind == "true" and row.plain else _share(row.by_kind[kind]) for kind in kinds]
                cells = [_share(row.clean), *shares, _share(row.worst), row.worst.over.n]
                yield f"| {names.name(row.variant, part.block)} | {' | '.join(map(str, cells))} |"
            yield ""
    if parts:
        yield from _head("network", "does its own gradient mask it?", "cosine to the true one")
        for verdict in masking.verdicts(parts):
            network = "" if verdict.block.network == "cells" else f", {verdict.variant.name}"
            where = f"{names.name(verdict.variant, verdict.block)}{network} on {verdict.variant.dataset}"
            yield f"| {where} | {verdict.words} | {verdict.cosine:.2f} |"


def _share(share: attacked.Share) -> str:
    return f"{fixed(share.over.mean, 1)} {interval(share.interval)}".strip()


def _head(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"


def _side(name: str) -> str:
    network, _, rules = name.rpartition("/")
    return f"{network}, {names.spell(rules)}"


def block(page: str, name: str) -> re.Match[str]:
    """Find a benchmark's place in a page: what stands between <!-- NAME --> and <!-- end -->. Raises ValueError if there is none."""
    found = re.search(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)", page, re.DOTALL)
    if not found:
        raise ValueError(f"no place for it between <!-- {name} --> and <!-- end -->")
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.summary", description="Print what a metrics file holds, as Markdown.")
    parser.add_argument(
        "metrics", nargs="+", type=Path, help="results/<benchmark>/metrics.h5, or a published one; several of one definition as one"
    )
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put it into a page instead, between <!-- NAME --> and <!-- end -->")
    args = parser.parse_args(argv)
    results = tables.read(*args.metrics)
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
    print(f"{args.into}: {results.benchmark} as {' and '.join(map(str, args.metrics))} {'has' if len(args.metrics) == 1 else 'have'} it")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"reports.summary: {error}")
