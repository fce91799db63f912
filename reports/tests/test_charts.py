"""Charts: what is drawn is what the file holds, once as a picture and once as data; nothing that stands in the data breaks either."""

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from reports import charts, render
from reports.charts import chart, lines
from reports.charts.style import DASHES, SHAPES, Series, rule_dash, rule_shape
from reports.numbers import masking, names, robustness, tables
from reports.tests.attacked import attack, left, network
from reports.tests.test_reports import TRIALS, metrics, page_of, search, trial  # noqa: F401  # a fixture

NASTY = '</script><script>alert(1)</script>,"é\n&'


def data_of(figure):
    """The rows behind a figure's data links, as another reader of CSV sees them."""
    coded = re.findall(r'href="data:text/csv;base64,([^"]+)"', figure)
    return [row for one in coded for row in csv.DictReader(io.StringIO(base64.b64decode(one).decode(), newline=""))]


def specs_of(figure):
    return [json.loads(text) for text in re.findall(r'<script type="application/json" class="spec">(.*?)</script>', figure, re.DOTALL)]


def block_of(path, place=0):
    return tables.read(path).blocks[place]


def line(name, values, kind="mean"):
    return lines.Line(name, Series(name, "#000"), range(1, len(values) + 1), values, values, values, 1, kind)


EPOCH, LOSS = lines.Axis("epoch", "epoch", whole=True), lines.Axis("epoch", "loss", "log")


# --- every chart ----------------------------------------------------------------------------------------------------------


def figures(metrics):  # noqa: F811
    trials = [*TRIALS, trial("fa", 2, 0, status="diverged")]
    trials[0] = (trials[0][0], replace(trials[0][1], timings={"seconds": 70.0}), trials[0][2])
    results = tables.read(metrics(trials, searches=[search(0), search(1, "eg")]))
    (block,), (part,) = results.blocks, robustness.parts(results)
    return {
        "errors": charts.errors(block),
        "cost": charts.cost(block, results.searches),
        "curves": charts.curves(block),
        "searches": charts.searches(results.searches),
        "worst": charts.worst(part, masking.verdicts([part])),
        "attacked": charts.attacked(part),
        "genotype": charts.genotype(results.searches[0].genotypes()[0], "a genotype"),
    }


def test_every_chart_has_a_picture_with_words_a_link_to_its_data_and_the_same_bytes_every_time(metrics):  # noqa: F811
    once, again = figures(metrics), figures(metrics)
    assert once == again
    for name, figure in once.items():
        panels = re.findall(r'<div class="panel".*?</svg>', figure, re.DOTALL)
        assert panels and all(len(re.findall(r'<svg role="img" aria-label="[^"]{20,}"', panel)) == 1 for panel in panels), name
        assert data_of(figure), name
        for spec in specs_of(figure):
            assert len(spec["panels"]) == len(re.findall(r'<div class="panel"', figure)) or figure.count('class="spec"') > 1


def test_ids_are_unique_and_their_references_hold(metrics):  # noqa: F811
    page = "".join(figures(metrics).values())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and any(re.search(r"-0$", one) for one in ids)  # lines are clipped
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_what_panels_share_stands_once_and_lies_where_it_would_in_each():
    found = [line(f"s{i}", [3.0, 1.0 + i, 2.0]) for i in range(4)]
    figure = lines.multiples("t", found, EPOCH, LOSS)
    (name,) = re.findall(r'<svg class="backdrop"[^>]*><g id="([^"]+)"', figure)
    assert figure.count(f'<use href="#{name}" />') == 4 and figure.count(">epoch</text>") == 1
    alone = lines.multiples("t", found[:1], EPOCH, LOSS)  # nothing to share
    assert "backdrop" not in alone and alone.count(">epoch</text>") == 1


def test_a_line_to_read_off_by_is_drawn_once_a_panel_however_many_rows_there_are():
    figure = lines.multiples("t", [line(f"s{i}", [3.0, 1.0, 2.0]) for i in range(4)], EPOCH, LOSS, mark=2.0)
    assert figure.count('stroke-dasharray="2,3"') == figure.count('class="panel"') == 4


def test_what_no_legend_names_a_note_does(metrics):  # noqa: F811
    several = lines.multiples("t", [line("a", [1.0, 2.0]), line("b", [2.0, 3.0])], EPOCH, LOSS)
    assert "Grey: the lines of the other panels." in several
    assert "Grey" not in lines.multiples("t", [line("a", [1.0, 2.0])], EPOCH, LOSS)
    group, random = search(0), search(0, "random")
    groups = tables.read(metrics([], searches=[group, random])).searches
    assert "Bands are the range over seeds. Random search has one accuracy, at its end." in charts.searches(groups)
    assert "Random search" not in charts.searches(tables.read(metrics([], searches=[group])).searches)


def test_candidates_without_weights_are_no_second_grey_beside_bps(metrics):  # noqa: F811
    entry, run = searched([[0.5, 0.5], [0.4, 0.6]])
    run.arrays["alphas/candidates"] = np.array(["max_pool_3x3", "sep_conv_3x3:bp"], dtype=object)
    figure = charts.alphas(tables.read(metrics([], searches=[(entry, run)])).searches).partition("edge by edge")[0]
    colours = dict(re.findall(r'<li data-off="([^"]+)"><svg[^>]*><g fill="[^"]*(#[0-9a-f]{6})', figure))
    one, other = ([int(colours[name][i : i + 2], 16) for i in (1, 3, 5)] for name in ("BP", "no weights"))
    assert np.linalg.norm(np.subtract(one, other)) > 60


def test_nothing_from_data_ends_a_script_or_a_picture():
    figure = lines.multiples(f"Curves, {NASTY}", [line(NASTY, [1.0, 2.0]), line("b", [2.0, 3.0])], EPOCH, LOSS)
    assert "<script>alert" not in figure and figure.count("</script>") == 1
    assert {row["series"] for row in data_of(figure)} == {NASTY, "b"}
    (spec,) = specs_of(figure)
    assert spec["panels"][0]["values"]["panel"] == NASTY
    assert figure.count('data-series="&lt;/script&gt;') == 1


def test_what_is_no_number_is_left_out_of_data_and_specification():
    figure = lines.multiples("t", [line("a", [np.nan, 1.0, np.inf, 0.0, np.float32(2.5)])], EPOCH, LOSS)
    assert [row["value"] for row in data_of(figure)] == ["", "1.0", "", "", "2.5"]  # 0 has no place on a logarithmic scale
    text = figure.partition('class="spec">')[2].partition("</script>")[0]
    assert json.loads(text) and not re.search(r"NaN|Infinity", text)
    assert not re.search(r"NaN|Infinity|undefined", re.findall(r"<svg role.*?</svg>", figure, re.DOTALL)[0])


def test_no_more_panels_than_a_figure_holds_and_what_is_left_out_is_said():
    figure = lines.multiples("t", [line(f"s{i}", [1.0, 2.0]) for i in range(200)], EPOCH, LOSS)
    assert figure.count('class="panel"') == chart.PANELS
    assert f"The first {chart.PANELS} of 200 panels." in figure
    assert len({row["series"] for row in data_of(figure)}) == chart.PANELS


def test_long_lines_are_thinned_and_keep_their_ends():
    figure = lines.multiples("t", [line("a", np.linspace(1, 2, 600))], EPOCH, LOSS)
    epochs = [int(row["epoch"]) for row in data_of(figure)]
    assert epochs[0] == 1 and epochs[-1] == 600 and len(epochs) <= lines.POINTS + 1 and "One point in 8" in figure


def test_what_explodes_leaves_its_panel_and_not_the_others_flat():
    grown = [1.0, 1e9, 1e20]
    figure = lines.multiples("t", [*(line(f"s{i}", [1.0, 0.5, 0.2]) for i in range(5)), line("s9", grown)], EPOCH, LOSS)
    (spec,) = specs_of(figure)
    (axis,) = [scale for scale in spec["specs"][0]["scales"] if scale["name"] == "y"]
    assert axis["domain"][1] < 1e4 and "cut off" in figure
    assert [float(row["value"]) for row in data_of(figure) if row["series"] == "s9"] == grown


def test_a_gap_in_one_seed_is_bridged_by_the_others_and_the_band_is_their_range():
    found = lines.over_seeds("a", Series("a", "#000"), [[1.0, 4.0], [3.0, np.nan, 5.0]])
    assert list(found.mean) == [2.0, 4.0, 5.0] and list(found.low) == [1.0, 4.0, 5.0] and list(found.high) == [3.0, 4.0, 5.0]
    assert lines.over_seeds("a", Series("a", "#000"), [[np.nan]]) is None and lines.over_seeds("a", Series("a", "#000"), []) is None


@pytest.mark.parametrize("epochs", [[1], [10], [0, 1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5], range(1, 10), range(1, 31)])
def test_epochs_are_whole_and_none_is_named_twice(epochs):
    values = [10 * float(epoch) for epoch in epochs]  # of another size than any epoch
    figure = lines.multiples("t", [lines.Line("a", Series("a", "#000"), epochs, values, values, values, 1)], EPOCH, LOSS)
    named = re.findall(r"<text[^>]*>([^<]+)</text>", figure.partition(">epoch</text>")[0])
    assert named == sorted(set(named), key=int) and {int(each) for each in named} <= set(epochs)
    assert len(named) > 1 or len(epochs) == 1


@pytest.mark.parametrize("low, high", [(15, 30), (0.9e6, 1.4e6), (21, 22), (1, 1.002), (3, 60), (1e-6, 1e9)])
def test_a_logarithmic_axis_names_two_numbers_or_more_of_those_that_it_holds(low, high):
    named = [value for value in lines.ruled(low, high) if low <= value <= high]
    assert 2 <= len(named) <= 8 and all(value == float(f"{value:.4g}") for value in named)


def test_losses_of_one_decade_fill_their_panel():
    """A decade more on either side would leave them a third of it."""
    drawn = lines.Line("a", Series("a", "#000"), [1, 2, 3], losses := [2.5, 0.6, 0.4], losses, losses, 1)
    figure = lines.multiples("t", [drawn], EPOCH, lines.Axis("loss", "loss", "log"))
    (path,) = re.findall(r'd="(M[^"]+)" stroke="#000"', figure)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", path)]
    assert max(heights) - min(heights) > 0.6 * lines.HEIGHT


# --- errors and costs -----------------------------------------------------------------------------------------------------


def test_errors_hold_every_seed_the_means_and_the_paired_differences_with_their_interval(metrics):  # noqa: F811
    trials = [*TRIALS, trial("bp", 2, 1.0), trial("fa", 2, 6.0)]
    rows = data_of(charts.errors(block_of(metrics(trials))))

    def of(panel, kind, series):
        return [row for row in rows if (row["panel"], row["kind"], row["series"]) == (panel, kind, series)]

    assert [float(row["value"]) for row in of("error", "seed", "FA")] == [5.0, 8.0, 6.0]
    assert [float(row["value"]) for row in of("error", "mean", "FA")] == [pytest.approx(19 / 3)]
    assert [float(row["value"]) for row in of("difference", "seed", "FA")] == [4.0, 6.0, 5.0]
    (mean,) = of("difference", "mean", "FA")  # mean 5, sd 1, half-width 4.3027 / √3
    assert [float(mean[end]) for end in ("value", "low", "high")] == [5.0, pytest.approx(2.516, abs=1e-3), pytest.approx(7.484, abs=1e-3)]
    assert not of("difference", "mean", "BP")


def test_a_row_far_off_says_so_where_it_would_flatten_the_rest(metrics):  # noqa: F811
    trials = [trial(rule, seed, error + seed / 10) for rule, error in (("bp", 8), ("fa", 9), ("usf", 8.5), ("brsf", 90)) for seed in (0, 1)]
    figure = charts.errors(block_of(metrics(trials)))
    assert "brSF: 90.0, off the scale" in figure.replace("90.1", "90.0") and "FA: " not in figure


def test_a_network_without_a_result_has_a_row_that_says_so(metrics):  # noqa: F811
    figure = charts.errors(block_of(metrics([trial("bp", 0, 0, status="diverged")])))
    assert "BP: no result" in figure and 'role="img"' in figure


def test_two_hundred_networks_are_capped_and_said(metrics):  # noqa: F811
    trials = [trial("bp", 0, 1.0 + i / 100) for i in range(200)]
    for i, (entry, train, evaluation) in enumerate(trials):
        entry |= {"id": f"digits/resnet20/bp/v{i}", "overrides": [f"v{i}"], "protocols": [f"p{i}"]}
        trials[i] = entry, replace(train, id=entry["id"]), replace(evaluation, id=entry["id"])
    block = block_of(metrics(trials))
    figure = charts.errors(block)
    assert "The first 60 of 200 rows; all are in the table." in figure
    assert charts.curves(block).count("The first 24 of 200 panels.") == 2


def test_costs_are_drawn_where_networks_differ_in_them(metrics):  # noqa: F811
    block = block_of(metrics(TRIALS))
    assert charts.cost(block) == ""  # the same parameters, FLOPs and seconds
    dear = [(entry, replace(train, metrics={**train.metrics, "flops": 5_040_000}), evaluation) for entry, train, evaluation in TRIALS[2:]]
    figure = charts.cost(block_of(metrics([*TRIALS[:2], *dear])))
    means = [(row["series"], float(row["cost"]), float(row["value"])) for row in data_of(figure) if row["kind"] == "mean"]
    assert means == [("BP", 2_520_000, 1.5), ("FA", 5_040_000, 6.5)] and figure.count('class="panel"') == 1


# --- searches -------------------------------------------------------------------------------------------------------------


def searched(normal):
    """A search whose α of one edge and three candidates moved like this, by epoch."""
    entry, run = search(0)
    arrays = {f"alphas/{kind}": np.array(normal, dtype=np.float32)[:, None, :] for kind in ("normal", "reduce")}
    arrays["alphas/candidates"] = np.array(["max_pool_3x3", "sep_conv_3x3:fa", "sep_conv_3x3:usf", "sep_conv_5x5:usf"], dtype=object)
    return entry, replace(run, arrays=run.arrays | arrays)


def test_alpha_is_told_in_times_of_an_even_mixture_of_what_an_edge_may_take(metrics):  # noqa: F811
    """Three candidates are allowed, the fourth is masked: each has a third at first; then FA has 0.6, 1.8 thirds."""
    groups = tables.read(metrics([], searches=[searched([[1 / 3, 1 / 3, 1 / 3, 0], [0.1, 0.6, 0.3, 0]])])).searches
    rows = [row for row in data_of(charts.alphas(groups)) if row.get("kind") == "normal cell" and row["value"]]
    found = {name: [float(row["value"]) for row in rows if row["series"] == name] for name in ("FA", "uSF", "no weights")}
    expected = {"FA": [1, 1.8], "uSF": [1, 0.9], "no weights": [1, 0.3]}
    assert found == {name: pytest.approx(values, abs=1e-6) for name, values in expected.items()}


def test_of_every_edge_the_heaviest_candidate_is_named(metrics):  # noqa: F811
    groups = tables.read(metrics([], searches=[searched([[0.2, 0.5, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])])).searches
    rows = [row for row in data_of(charts.searches(groups) + charts.alphas(groups)) if row.get("candidate") and row["kind"] == "normal"]
    assert [(row["candidate"], row["series"]) for row in rows] == [("sep_conv_3x3:fa", "FA"), ("sep_conv_5x5:usf", "uSF")]
    assert charts.alphas(tables.read(metrics([], searches=[search(0)])).searches) == ""  # files that keep no α


def test_a_genotype_is_a_graph_whose_edges_say_operation_and_rule_without_colour():
    cells = json.loads(search(0)[1].metrics["genotype"])
    figure = charts.genotype(cells, "Genotype")
    assert figure.count("<svg role=") == 2 and figure.count('class="edge"') == 2 * len(cells["normal"])
    assert all(figure.count(f">{state}</text>") == 2 for state in ("node 0", "input 0", "output: all nodes"))
    edges = dict(re.findall(r'class="edge" (stroke="[^"]+").*?<title>([^<]+)</title>', figure))
    assert len(edges) == 3 and any(words.startswith("sep conv 3×3 by uSF, from input 0 to node 0") for words in edges.values())
    dashes = {words: dash for words, dash in re.findall(r'<title>([^<]+)</title><path [^>]*stroke-dasharray="([^"]+)"', figure)}
    by_rule = {words.partition(",")[0].rpartition(" ")[2]: dash for words, dash in dashes.items()}
    assert len({by_rule[rule] for rule in ("uSF", "FA")}) == 2
    rows = data_of(figure)
    assert [(row["node"], row["from"], row["operation"], row["rule"]) for row in rows[:2]] == [
        ("0", "input 0", "sep_conv_3x3", "usf"),
        ("0", "input 1", "max_pool_3x3", ""),
    ]


# --- robustness -----------------------------------------------------------------------------------------------------------

PGD = attack("pgd", "rule", "true")


def test_worst_cases_stand_with_their_interval_and_what_is_masked_says_so(metrics):  # noqa: F811
    trials = [network("fa", 0, PGD, {"pgd@standard/rule": left(90, 100), "pgd@standard/true": left(10, 100)})]
    parts = robustness.parts(tables.read(metrics(trials)))
    figure = charts.worst(parts[0], masking.verdicts(parts))
    by_kind = {row["kind"]: row for row in data_of(figure)}
    assert {kind: float(row["value"]) for kind, row in by_kind.items()} == {
        "worst case": 10,
        "no attack": 100,
        "its own gradient": 90,
        "the true gradient": 10,
    }
    assert float(by_kind["worst case"]["low"]) < 10 < float(by_kind["worst case"]["high"])
    assert by_kind["worst case"]["words"] == "FA – masked"
    assert "Within ε = 8/255 in L∞" in figure and "pgd@standard (ε = 8/255 in L∞)" in charts.attacked(parts[0])


def test_every_rule_has_a_look_of_its_own_and_a_new_one_moves_none():
    colours = {"bp": "#4b5563", "fa": "#d55e00", "usf": "#0072b2", "brsf": "#009e73", "frsf": "#cc79a7", "dfa": "#56b4e9", "kp": "#e69f00"}
    assert {rule: names.colour(rule) for rule in colours} == colours and names.spell("kp") == "KP"
    order = ("fa", "usf", "brsf", "frsf", "dfa", "bp", "kp")  # as pages that were published have them
    shapes = [shape for shape in SHAPES if shape != "diamond"]
    assert [rule_dash(rule) for rule in order] == list(DASHES) and [rule_shape(rule) for rule in order] == shapes


# --- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_hovering_tells_numbers_a_legend_switches_series_and_the_policy_holds(metrics, tmp_path, opened):  # noqa: F811
    file = tmp_path / "report.html"
    render.main([str(metrics(TRIALS, searches=[search(0)])), str(file)])
    page = opened(file, width=1100)
    errors = page.locator(".chart[id^=chart-test-error-by-rule]")
    errors.scroll_into_view_if_needed()
    errors.locator(".panel.live").first.wait_for()
    assert errors.locator(".static").first.is_hidden()
    errors.locator(".view .mark-symbol path").last.hover()
    tip = page.locator(".chart-tip")
    tip.wait_for(state="visible")
    assert "FA" in tip.inner_text() and "errs 5.00 points more" in tip.inner_text()
    curves = page.locator(".chart[id^=chart-learning-curves]").first
    curves.scroll_into_view_if_needed()
    curves.locator(".panel.live").nth(1).wait_for()
    button = curves.locator(".legend button", has_text="FA")
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "false" and curves.locator(".panel:visible").count() == 1
    button.press("Enter")
    assert curves.locator(".panel:visible").count() == 2
    page.emulate_media(media="print")
    assert curves.locator(".static").first.is_visible() and curves.locator(".view").first.is_hidden()
