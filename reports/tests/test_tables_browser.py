"""Tables in a real browser: what is sorted, filtered, hidden, exported and linked is what the file holds."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import pytest

from reports import render
from reports.tests.browser import eventually
from reports.tests.test_reports import metrics, search, trial  # noqa: F401

pytestmark = pytest.mark.browser

ERRORS = {"bp": [1.25, 2.5], "fa": [10 / 3, 8.0], "usf": [2.1, 2.2], "brsf": [0.1 + 0.2, 11.0], "frsf": [7.0, 7.5]}
TABLE = "accuracy-digits-resnet20"
SHOWN = {"bp": "BP", "fa": "FA", "usf": "uSF", "brsf": "brSF", "frsf": "frSF"}
BY_ERROR = ["BP", "uSF", "brSF", "FA", "frSF"]  # means 1.875, 2.15, 5.65, 5.67, 7.25
NASTY = "<script>alert('x')</script> \"quoted\" | a_b & 50 % \\ [link](javascript:alert(1)) =1+1 " + "long " * 40


@pytest.fixture
def report(metrics, tmp_path):  # noqa: F811
    """A page of five rules and two seeds, one search's cell, and texts of evil; and the file it was made of."""

    def make(extra=(), **content):
        found = [trial(rule, seed, error) for rule, errors in ERRORS.items() for seed, error in enumerate(errors)]
        content = {"searches": [search(0), search(1)], **content}
        path, page = metrics([*found, *extra], **content), tmp_path / "report.html"
        render.main([str(path), str(page)])
        return page, path

    return make


def shows(page, rules, table=TABLE):
    """Whether the rows, from above, are of these rules."""
    cells = page.locator(f"#{table} tbody tr td:nth-child(1)")
    return eventually(lambda: [text.strip() for text in cells.all_text_contents()], rules)


def tools(page, table):
    return page.locator(".dt-container", has=page.locator(f"#{table}")).locator(".tools").first


def exported(page, table, form):
    """Download a table as it is displayed."""
    bar = tools(page, table)
    bar.locator("summary", has_text="export").click()
    with page.expect_download() as found:
        bar.get_by_role("button", name=f"Download {form}").click()
    page.keyboard.press("Escape")
    return found.value.suggested_filename, found.value.path().read_text(encoding="utf-8")


def as_csv(page, table):
    return list(csv.DictReader(io.StringIO(exported(page, table, "CSV")[1])))


def choose(page, table, menu, value):
    bar = tools(page, table)
    bar.locator("summary", has_text=menu).click()
    bar.locator("details[open] label", has_text=re.compile(f"^{value}$")).click()
    page.keyboard.press("Escape")


def test_a_click_sorts_by_the_number_another_turns_it_round_and_the_third_undoes_it(report, opened):
    page = opened(report()[0])
    head = page.locator(f"#{TABLE} th", has_text="test error")
    head.click()
    assert shows(page, BY_ERROR) and head.get_attribute("aria-sort") == "ascending"
    head.click()
    assert shows(page, BY_ERROR[::-1]) and head.get_attribute("aria-sort") == "descending"
    head.click()
    assert shows(page, list(SHOWN.values())) and head.get_attribute("aria-sort") is None


def test_what_is_missing_is_last_in_either_order(report, opened):
    page = opened(report(extra=[trial("dfa", 0, 0.0, status="diverged")])[0])
    for rules in (BY_ERROR, BY_ERROR[::-1]):
        page.locator(f"#{TABLE} th", has_text="test error").click()
        assert shows(page, [*rules, "DFA"])


def test_a_rule_is_filtered_and_the_others_come_back(report, opened):
    page = opened(report()[0])
    choose(page, TABLE, "rule", "FA")
    choose(page, TABLE, "rule", "frSF")
    assert shows(page, ["FA", "frSF"]) and "2 of 5 rows" in tools(page, TABLE).inner_text()
    tools(page, TABLE).get_by_role("button", name="reset").click()
    assert shows(page, list(SHOWN.values()))


def test_the_exported_csv_holds_the_files_numbers_in_full(report, opened):
    """Read with h5py alone: the mean of the seeds' errors and their sample standard deviation, to the last bit."""
    page_file, path = report()
    name, text = exported(opened(page_file), TABLE, "CSV")
    assert name == "bionas-demo-accuracy-digits-resnet20.csv"
    rows = {row["rule"]: row for row in csv.DictReader(io.StringIO(text))}
    found: dict[str, list[float]] = {}
    with h5py.File(path) as file:
        for entry in json.loads(file["plan"].asstr()[()])["trials"]:
            found.setdefault(SHOWN[entry["rules"]], []).append(float(file[f"trial/{entry['id']}/train"].attrs["test_error"]))
    assert rows.keys() == found.keys()
    for rule, errors in found.items():
        assert float(rows[rule]["test error, %"]) == float(np.mean(errors))
        assert float(rows[rule]["test error, % sd"]) == float(np.std(errors, ddof=1))
        assert (rows[rule]["seeds"], float(rows[rule]["parameters"])) == ("2", 269_034)
    assert rows["BP"]["difference to BP"] == "" and float(rows["FA"]["difference to BP"]) == pytest.approx((10 / 3 + 8 - 3.75) / 2)


def test_what_is_exported_is_what_is_displayed(report, opened):
    page = opened(report()[0])
    for rules in (BY_ERROR, BY_ERROR[::-1]):
        page.locator(f"#{TABLE} th", has_text="test error").click()
        assert shows(page, rules)
    for rule in ("FA", "BP", "uSF"):
        choose(page, TABLE, "rule", rule)
    choose(page, TABLE, "columns", "seeds")
    choose(page, TABLE, "columns", "parameters")
    rows = as_csv(page, TABLE)
    assert [row["rule"] for row in rows] == ["FA", "uSF", "BP"]
    assert not {"seeds", "parameters"} & rows[0].keys() and "FLOPs" in rows[0]
    assert "seeds" not in page.locator(f"#{TABLE} thead").inner_text()


def test_latex_is_a_booktabs_table_and_markdown_one_that_renders(report, opened):
    page = opened(report()[0])
    name, latex = exported(page, TABLE, "LaTeX")
    assert name.endswith(".tex") and latex.count("\\toprule") == latex.count("\\midrule") == latex.count("\\bottomrule") == 1
    assert "\\begin{tabular}{lrrrrrrl}" in latex and r"test error, \%" in latex and r"1.88 $\pm$ 0.88" in latex
    lines = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 1 + 5 and {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {7}
    name, text = exported(page, TABLE, "Markdown")
    head, rule, *rows = text.splitlines()
    assert name.endswith(".md") and rule == "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |" and len(rows) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, *rows)} == {9}
    assert "| BP | 1.88 ± 0.88 | 2 |" in text


def test_evil_texts_stay_texts_on_the_page_and_in_every_export(report, opened):
    """A data set's reason, a run's name and a question, with tags, quotes and 1,000 characters: shown, escaped, and in their cell."""
    row = {"run": f"trial/{NASTY}", "metric": NASTY, "bound": "at_most", "limit": 1.0, "found": float("nan"), "kept": False}
    rows = [row, {**row, "metric": "@sum", "found": 2.0}, {**row, "metric": "line\nbreak", "found": None}]
    page = opened(report(verdict=rows)[0])
    page.evaluate("void (window.alert = () => { throw new Error('ran') })")
    assert page.locator("#bounds script").count() == 0
    found = as_csv(page, "bounds")
    assert found[0]["run"].startswith("trial/<script>alert('x')</script> \"quoted\"") and found[0]["found"] == ""
    assert found[1]["metric"] == "'@sum" and found[2]["metric"] == "line break"
    latex = exported(page, "bounds", "LaTeX")[1]
    lines = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 4 and {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {5}
    for sign in "%_&":
        assert not [line for line in lines if re.search(rf"(?<!\\){sign}", line.replace(" & ", ""))], sign
    assert "$<$script$>$" in latex and r"\textbackslash{}" in latex
    text = exported(page, "bounds", "Markdown")[1]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()} == {7}
    assert not re.search(r"(?<!\\)<", text) and not re.search(r"(?<!\\)\]\(", text)
    page.locator("#bounds th", has_text="metric").click()
    choose(page, "bounds", "columns", "at")
    assert page.locator("script").count() == page.evaluate("document.scripts.length") and page.locator("#bounds tbody tr").count() == 3
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_a_link_to_a_view_restores_it_and_is_read_by_people(report, opened):
    page_file, _ = report()
    page = opened(page_file)
    for rules in (BY_ERROR, BY_ERROR[::-1]):
        page.locator(f"#{TABLE} th", has_text="test error").click()
        assert shows(page, rules)
    choose(page, TABLE, "rule", "FA")
    choose(page, TABLE, "rule", "BP")
    choose(page, TABLE, "columns", "FLOPs")
    state = page.evaluate("location.hash").removeprefix("#")
    assert state == f"{TABLE}.sort=1d&{TABLE}.hide=6&{TABLE}.rule=BP,FA"
    for again in (opened(page_file, state), opened(page_file, f"accuracy&{state}")):
        assert shows(again, ["FA", "BP"]) and "FLOPs" not in again.locator(f"#{TABLE} thead").inner_text()
    assert -1 <= again.locator("#accuracy").bounding_box()["y"] < 200  # the section that the link names
    again.evaluate(f"location.hash = '{TABLE}.sort=1a'")
    assert eventually(again.locator(f"#{TABLE} tbody tr").count, 5)
    assert shows(again, BY_ERROR)


def test_copy_link_leads_to_the_table_in_its_view(report, opened):
    page_file, _ = report()
    page = opened(page_file, permissions=["clipboard-read", "clipboard-write"])
    copy = tools(page, TABLE).get_by_role("button", name="copy link to this view")
    assert not copy.is_visible()
    choose(page, TABLE, "rule", "uSF")
    copy.click()
    tools(page, TABLE).get_by_text("link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{page_file.as_uri()}#{TABLE}&{TABLE}.rule=uSF"
    again = opened(page_file, link.partition("#")[2])
    assert shows(again, ["uSF"]) and again.locator(f"#{TABLE}").bounding_box()["y"] < 300
    bar = tools(page, TABLE)
    bar.locator("summary", has_text="export").click()
    bar.get_by_role("button", name="Copy CSV").click()
    bar.get_by_text("CSV copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith('rule,"test error, %"')


def test_an_ordinary_link_goes_where_it_says_and_leaves_the_tables_as_they_are(report, opened):
    page = opened(report()[0])
    choose(page, TABLE, "rule", "FA")
    page.evaluate("location.hash = 'provenance'")
    assert eventually(lambda: page.evaluate("location.hash.startsWith('#provenance&')"), True)
    assert shows(page, ["FA"]) and page.locator("#provenance").bounding_box()["y"] < 900


@pytest.mark.parametrize(
    "state",
    [
        "%E0%A4%A",
        f"{TABLE}.sort=99d",
        f"{TABLE}.sort=-1a,xd,1z,1",
        f"{TABLE}.hide=0,77,-3,%00",
        f"{TABLE}.rule=%3Cscript%3Ealert(1)%3C/script%3E",
        f"{TABLE}.rule=%",
        f"{TABLE}.__proto__=1&{TABLE}.constructor=2&__proto__.sort=1a&{TABLE}.toString=1",
        f"{TABLE}.search=%ff{'x' * 5000}",
        "nowhere.sort=1a&=&.=&&a.b.c=d",
        f"{TABLE}.sort=1a&" * 500 + f"{TABLE}.sort=",
    ],
)
def test_a_state_that_is_unknown_or_hostile_changes_nothing(report, opened, state):
    page = opened(report()[0], state)
    assert shows(page, list(SHOWN.values())) and page.locator(f"#{TABLE} thead th").count() == 8


def test_the_keyboard_alone_sorts_filters_hides_and_exports(report, opened):
    page = opened(report()[0])
    order = page.locator(f"#{TABLE} th", has_text="test error").locator(".dt-column-order")
    order.focus()
    page.keyboard.press("Enter")
    assert shows(page, BY_ERROR)
    assert "test error" in order.get_attribute("aria-label")
    bar = tools(page, TABLE)
    bar.locator("summary").first.focus()
    page.keyboard.press("Enter")  # the first menu: rules
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the first of them, by name
    page.keyboard.press("Escape")
    assert shows(page, ["BP"]) and page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # columns
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    assert "test error" not in page.locator(f"#{TABLE} thead").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # export
    page.keyboard.press("Tab")
    with page.expect_download() as found:
        page.keyboard.press("Enter")
    assert found.value.path().read_text().splitlines()[1].startswith("BP,")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Copy CSV"


def test_a_long_table_is_searched_and_a_very_long_one_has_pages_but_on_paper(metrics, tmp_path, opened):  # noqa: F811
    found = [trial("fa", seed, seed / 7) for seed in range(230)]
    path = metrics([(entry, replace(train, metrics={**train.metrics, "test_images": 700}), attacked) for entry, train, attacked in found])
    page_file = tmp_path / "report.html"
    render.main([str(path), str(page_file)])
    page = opened(page_file)
    table = page.locator("#accuracy-networks tbody tr")
    assert table.count() == 0  # packed, it waits
    page.evaluate("document.querySelectorAll('main > details').forEach((one) => { one.open = true })")
    tools(page, "accuracy-networks").wait_for()
    assert table.count() == 100
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert table.count() == 100  # thousands of rows are no paper's
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(as_csv(page, "accuracy-networks")) == 230
    tools(page, "accuracy-networks").get_by_role("searchbox").fill("seed22")
    assert table.count() == 11  # 22 and 220 to 229
    again = opened(page_file, page.evaluate("location.hash").removeprefix("#"))
    assert eventually(again.locator("#accuracy-networks tbody tr").count, 11)
    assert again.locator("#accuracy-networks").is_visible()  # what a link is to is unfolded


def test_without_script_tables_are_whole_and_have_no_tools(report, opened):
    page = opened(report()[0], java_script_enabled=False)
    assert page.locator(f"#{TABLE} tbody tr").count() == 5 and page.locator(".tools").count() == 0


def test_tools_are_quiet(report, opened):
    """One line above a table; of a table of one row, its export alone; on paper none."""
    page = opened(report()[0])
    assert tools(page, TABLE).bounding_box()["height"] < 32
    assert tools(page, "searches-all").inner_text().split() == ["export"]
    page.emulate_media(media="print")
    assert not tools(page, TABLE).is_visible()


@pytest.mark.parametrize("width", [1000, 1280, 1920])
def test_every_column_is_in_sight_from_1000_pixels_on(report, opened, width):
    extra = [
        trial(rule, seed, 50.0 + seed, parent="a-search-with-a-long-name") for rule in ("searched", "fa", "random") for seed in (0, 1, 2)
    ]
    page = opened(report(extra=extra)[0], width=width)
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true })")
    wider = "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.querySelector('table').id)"
    assert page.locator(".scroll").evaluate_all(wider) == []


def test_on_a_phone_a_table_scrolls_in_its_frame_and_fingers_hit_its_tools(report, opened):
    page = opened(report()[0], width=360)
    frame = page.locator(".scroll", has=page.locator(f"#{TABLE}"))
    assert frame.evaluate("(one) => one.scrollWidth > one.clientWidth")
    frame.focus()
    page.keyboard.press("ArrowRight")
    assert eventually(lambda: frame.evaluate("(one) => one.scrollLeft > 0"), True)
    for target in tools(page, TABLE).locator("summary").all():
        assert target.bounding_box()["height"] >= 24 and target.bounding_box()["width"] >= 24
    tools(page, TABLE).locator("summary", has_text="export").click()
    box = tools(page, TABLE).locator("details[open] .panel").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360


def test_on_paper_nothing_is_cut(report, opened):
    extra = [
        trial(rule, seed, 50.0 + seed, parent="a-search-with-a-long-name") for rule in ("searched", "fa", "random") for seed in (0, 1, 2)
    ]
    page = opened(report(extra=extra)[0], width=718)  # A4 with its margins
    page.emulate_media(media="print")
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true })")
    wider = "(all) => all.filter((one) => one.firstElementChild.offsetWidth > one.clientWidth + 1).map((one) => one.firstElementChild.id)"
    assert page.locator(".scroll").evaluate_all(wider) == []
    assert page.locator(f"#{TABLE}").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(report, opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = opened(report()[0], f"{TABLE}.sort=1d&{TABLE}.rule=BP,FA", color_scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('main details:not(.tools details)').forEach((one) => { one.open = true })")
    tools(page, TABLE).locator("summary", has_text="rule").click()
    found = axe.Axe().run(page, context={"include": [[".dt-container"]]}).response["violations"]
    assert [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_numbers_sort_as_numbers_down_the_page(report, opened):
    page = opened(report()[0], f"{TABLE}.sort=3a")
    values = page.locator(f"#{TABLE} tbody tr td:nth-child(4)").evaluate_all("(cells) => cells.map((one) => one.dataset.order)")
    assert values[-1] == "" and all(float(a) <= float(b) for a, b in pairwise(values[:-1]))
