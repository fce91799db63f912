"""Packed tables in a real browser: unpacked when unfolded, filtered, sorted, exported as the HDF5 has it, linked; and without a script."""

import csv
import io
from urllib.parse import quote

import h5py
import pytest

from reports.numbers import tables
from reports.page.page import render
from reports.tests import big
from reports.tests.browser import eventually
from suite import store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A metrics file of 275 runs, and its page."""
    folder = tmp_path_factory.mktemp("long")
    big.write(130, folder / "metrics.h5")
    (folder / "report.html").write_text(render(tables.read(folder / "metrics.h5")), encoding="utf-8")
    return folder / "metrics.h5", folder / "report.html"


def unfolded(page):
    page.locator("details", has=page.locator("#runs")).last.evaluate("(one) => { one.open = true }")
    page.locator("#runs tbody tr").first.wait_for()
    return page


def tools(page):
    return page.locator(".dt-container", has=page.locator("#runs")).locator(".tools")


def exported(page):
    tools(page).locator("summary", has_text="export").click()
    with page.expect_download() as found:
        tools(page).get_by_role("button", name="Download CSV").click()
    return list(csv.DictReader(io.StringIO(found.value.path().read_text(encoding="utf-8"))))


def test_what_is_exported_is_what_the_file_holds(report, opened):
    path, page_file = report
    rows = exported(unfolded(opened(page_file)))
    with h5py.File(path) as file:
        runs = {(group.attrs["id"], group.attrs["stage"]): store.read_group(group) for group in store.groups(file)}
    assert len(rows) == len(runs) > 200
    for row in rows:
        run = runs[row["run"], row["stage"]]
        assert row["status"].replace(" (", "(") == run.status and int(float(row["seed"])) == run.provenance["seed"]
        assert float(row["time"]) == run.timings["seconds"]
        error = run.metrics.get("test_error") if run.stage == "train" else None
        assert row["test error, %"] == ("" if error is None else repr(error))
        assert row["command"].startswith(".venv/bin/python -m suite.run ") and run.id in row["command"]


@pytest.mark.parametrize("permissions", [["clipboard-read", "clipboard-write"], []], ids=["allowed", "not"])
@pytest.mark.parametrize("runs", [26, 130], ids=["written", "packed"])
def test_a_button_copies_the_whole_command(opened, tmp_path, runs, permissions):
    big.write(runs, tmp_path / "metrics.h5")
    (tmp_path / "report.html").write_text(render(tables.read(tmp_path / "metrics.h5")), encoding="utf-8")
    page = unfolded(opened(tmp_path / "report.html", permissions=permissions))
    cell = page.locator("#runs tbody td.command").first
    whole = cell.locator("code").text_content()
    assert whole.startswith(".venv/bin/python -m suite.run ") and cell.text_content() == whole
    button = cell.get_by_role("button", name="Copy the command")
    button.press("Enter")
    assert eventually(tools(page).locator('[role="status"]').inner_text, "command copied")
    assert button.evaluate("(one) => one === document.activeElement")
    page.locator("body").evaluate("(body) => body.append(document.createElement('textarea'))")
    area = page.locator("body > textarea")
    area.focus()
    page.keyboard.press("Control+V")
    assert eventually(area.input_value, whole)


def cells(page, column):
    return page.locator(f"#runs tbody tr td:nth-child({column})").all_inner_texts()


def test_runs_are_filtered_sorted_and_linked(report, opened):
    page = unfolded(opened(report[1]))
    rows = page.locator("#runs tbody tr")
    assert rows.count() == 100  # of its pages the first
    tools(page).locator("summary", has_text="status").click()
    tools(page).get_by_label("diverged", exact=True).check()
    page.keyboard.press("Escape")
    assert eventually(rows.count, 1)
    tools(page).get_by_role("button", name="reset").click()
    assert eventually(rows.count, 100)
    head = page.locator("#runs thead th", has_text="test error")
    head.locator(".dt-column-order").click()
    assert eventually(lambda: head.get_attribute("aria-sort"), "ascending")
    shown = cells(page, 8)
    assert "–" not in shown and shown == sorted(shown, key=lambda words: float(words.split()[0]))
    state = page.evaluate("location.hash").removeprefix("#")
    again = opened(report[1], state)
    assert eventually(lambda: cells(again, 8), shown)
    assert again.locator("#runs").is_visible() and again.evaluate("location.hash") == f"#{state}"


def test_a_link_to_a_filter_opens_and_filters(report, opened):
    page = opened(report[1], f"runs.rule={quote('uSF')}&runs.stage=train")
    assert eventually(lambda: set(cells(page, 5)), {"uSF"})


def test_without_a_script_there_is_a_line_and_no_empty_table(report, opened):
    page = opened(report[1], java_script_enabled=False)
    page.locator("summary", has_text="Runs:").click()
    assert page.locator("p.counts").is_visible() and "275 runs: 15 search ok" in page.locator("p.counts").inner_text()
    assert not page.locator("#runs").is_visible()
    assert page.locator("tbody tr:visible").count() < 7 * 26  # of 26 networks and rules, in a few tables


@pytest.mark.parametrize("width", [360, 1000, 1920])
def test_runs_fit_the_page(report, opened, width):
    page = unfolded(opened(report[1], width=width))
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    wider = page.locator("#runs").evaluate("(one) => one.closest('.scroll').scrollWidth > one.closest('.scroll').clientWidth + 1")
    assert wider == (width < 1000)
