"""What cells are made of, counted by hand, and against what the trials that shuffled their rules counted."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports import render, summary
from reports.numbers import composition, tables
from reports.tests.test_reports import metrics, search  # noqa: F401  # a fixture

PUBLISHED = Path(__file__).parents[2] / "benchmarks/published/nullsearch.h5.xz"

NORMAL = [["skip_connect", 0], ["skip_connect", 1], ["avg_pool_3x3", 0], ["sep_conv_3x3:usf", 2]]
REDUCE = [["skip_connect:usf", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["dil_conv_5x5:fa", 1]]


def found(seed, normal, reduce, **settings):
    entry, run = search(seed)
    entry["settings"] = {**entry["settings"], **settings}
    return entry, replace(run, metrics={**run.metrics, "genotype": json.dumps({"normal": normal, "reduce": reduce})})


def row_of(metrics, *searches):  # noqa: F811
    (row,) = composition.compositions(tables.read(metrics([], searches=searches)))
    return row, {key: list(spread.counts) for key, spread in row.counts.items()}


def test_one_cell_by_hand(metrics):  # noqa: F811
    """A skip from an input of a reduction cell has weights, and so a rule; the others have none."""
    row, counts = row_of(metrics, found(0, NORMAL, REDUCE))
    assert [counts["normal", what] for what in ("skips", "pools", "carriers")] == [[2], [1], [1]]
    assert [counts["reduce", what] for what in ("skips", "pools", "carriers")] == [[2], [1], [2]]
    assert (row.genes, row.seeds, row.collapsed) == (4, 1, 1)


def test_in_the_released_space_skips_follow_no_rule(metrics):  # noqa: F811
    _, counts = row_of(metrics, found(0, NORMAL, REDUCE, space="released"))
    assert counts["reduce", "carriers"] == [1]


def test_seeds_by_hand_on_page_and_in_summary(metrics, capsys):  # noqa: F811
    """Two seeds: 2 and 0 skips, 1 and 1 pools, 1 and 3 with a rule in the normal cell; one of the two has two skips."""
    convs = [["sep_conv_3x3:fa", 0], ["sep_conv_3x3:fa", 1], ["max_pool_3x3", 0], ["dil_conv_3x3:usf", 1]]
    path = metrics([], searches=[found(0, NORMAL, REDUCE), found(1, convs, convs)])
    numbers = ["1.0 (0 to 2)", "1.0", "2.0 (1 to 3)", "1.0 (0 to 2)", "1.0", "2.5 (2 to 3)", "1 of 2"]
    page = render.render(tables.read(path)).partition("What the cells are made of")[2]
    assert f"darts-bio digits 2 4 {' '.join(numbers)} " in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    summary.main([str(path)])
    assert f"| darts-bio | digits | 2 | 4 | {' | '.join(numbers)} |" in capsys.readouterr().out


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the study is not kept here")
def test_carriers_are_those_that_a_shuffle_counts():
    results = tables.read(PUBLISHED)
    shuffled = {v.network: v.by_seed("carriers") for block in results.blocks for v in block.variants if v.rules == "shuffled"}
    rows = {row.search.name: row for row in composition.compositions(results)}
    assert shuffled.keys() == {"darts-bio", "eg-bio"}
    for name, carriers in shuffled.items():
        row = rows[name]
        both = zip(row.search.runs, row.counts["normal", "carriers"].counts, row.counts["reduce", "carriers"].counts, strict=True)
        counted = {seed: normal + reduce for seed, normal, reduce in both}
        assert {seed: counted[seed] for seed in carriers} == carriers
