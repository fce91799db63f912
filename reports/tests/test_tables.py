"""Tables in the page's HTML: a row a record, numbers in full beside what is shown, and the same as the file's."""

import json
import lzma
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from reports import render
from reports.numbers import tables, writing
from reports.numbers.statistics import Summary
from reports.tests.test_reports import TRIALS, metrics, page_of, search, trial  # noqa: F401

PUBLISHED = Path(__file__).parents[2] / "benchmarks/published"


class Tables(HTMLParser):
    """Every table of class data: {id: {"head": [attributes of th], "rows": [[(attributes, text)]]}}."""

    def __init__(self, page):
        super().__init__()
        self.found, self.at, self.part, self.text = {}, None, "", None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table" and "data" in attrs.get("class", "").split():
            assert attrs["id"] not in self.found and attrs["data-name"]
            self.at = self.found[attrs["id"]] = {"head": [], "rows": []}
        elif self.at is not None and tag in ("thead", "tbody", "tfoot"):
            self.part = tag
        elif self.at is not None and tag == "tr" and self.part == "tbody":
            self.at["rows"].append([])
        elif self.at is not None and tag in ("td", "th"):
            self.text = []
            cells = {"thead": self.at["head"], "tbody": self.at["rows"][-1] if self.at["rows"] else []}.get(self.part)
            if cells is not None:
                cells.append((attrs, self.text))

    def handle_endtag(self, tag):
        if tag == "table":
            self.at = None
        elif tag in ("td", "th"):
            self.text = None

    def handle_data(self, data):
        if self.text is not None:
            self.text.append(data)


def check(page):
    found = Tables(page).found
    for id, table in found.items():
        filters = [attrs["data-filter"] for attrs, _ in table["head"] if "data-filter" in attrs]
        assert len(filters) == len(set(filters)), id
        for row in table["rows"]:
            assert len(row) == len(table["head"]), id
            assert not any("colspan" in attrs or "rowspan" in attrs for attrs, _ in row), id
        for (head, _), *column in zip(table["head"], *table["rows"], strict=True):
            numbers = {"data-order" in attrs for attrs, _ in column}
            assert len(numbers) <= 1, (id, head)  # all or none: the first row says what a column sorts by
            for attrs, _ in column:
                for name in ("data-order", "data-sd", "data-low", "data-high"):
                    value = attrs.get(name)
                    assert value is None or value == "" or not np.isnan(float(value)), (id, attrs)
    return found


@pytest.mark.parametrize("name", ["claims", "nullsearch"])
def test_every_table_of_a_whole_report_is_a_row_a_record(name, tmp_path):
    out = tmp_path / "report.html"
    with np.errstate(invalid="ignore"):
        render.main([str(PUBLISHED / f"{name}.h5.xz"), str(out)])
    found = check(out.read_text(encoding="utf-8"))
    assert len(found) > 5 and any(id.startswith("accuracy-") for id in found)


def test_a_network_of_which_nothing_ended_well_has_its_row_with_dashes(metrics):  # noqa: F811
    page = page_of(metrics([*TRIALS, trial("fa", 2, 0, status="diverged"), trial("usf", 0, 0, status="failed(<b>)")]))
    rows = {"".join(row[0][1]): row for row in check(page)["accuracy-digits-resnet20"]["rows"]}
    assert rows["uSF"][1][0]["data-order"] == "" and "".join(rows["uSF"][1][1]) == "–"


def test_what_the_accuracy_table_sorts_by_is_the_mean_in_the_file(metrics):  # noqa: F811
    """By h5py and numpy alone, to the last bit, on a file with numbers that no decimal writes."""
    errors = {"bp": [1 / 3, 2 / 7, 0.1], "fa": [100 / 7, 8.123456789012345, 5e-5], "usf": [2.0, 2.0, 2.0]}
    path = metrics([trial(rule, seed, error) for rule, found in errors.items() for seed, error in enumerate(found)])
    by_rule = {}
    with h5py.File(path) as file:
        for entry in json.loads(file["plan"].asstr()[()])["trials"]:
            by_rule.setdefault(entry["rules"], []).append(file[f"trial/{entry['id']}/train"].attrs["test_error"])
    rows = check(page_of(path))["accuracy-digits-resnet20"]["rows"]
    assert len(rows) == len(by_rule) == 3
    for row, (rule, found) in zip(rows, by_rule.items(), strict=True):
        assert "".join(row[0][1]).lower() == rule
        assert float(row[1][0]["data-order"]) == np.mean(found) and float(row[1][0]["data-sd"]) == np.std(found, ddof=1)
        if rule != "bp":
            paired = np.subtract(found, by_rule["bp"])
            assert float(row[3][0]["data-order"]) == np.mean(paired)
            assert float(row[3][0]["data-sd"]) == np.std(paired, ddof=1)


def test_the_published_accuracies_are_those_of_the_published_file(tmp_path):
    """Of every network from genotypes, by nothing but the file's plan and attributes."""
    plain, out = tmp_path / "metrics.h5", tmp_path / "report.html"
    plain.write_bytes(lzma.decompress((PUBLISHED / "nullsearch.h5.xz").read_bytes()))
    render.main([str(plain), str(out)])
    expected = {}
    with h5py.File(plain) as file:
        for entry in json.loads(file["plan"].asstr()[()])["trials"]:
            train = file.get(f"trial/{entry['id']}/train")
            if train is not None and "test_error" in train.attrs:
                of = expected.setdefault((entry["network"], entry["rules"]), {})
                of.setdefault(entry.get("of_seed", entry["seed"]), []).append(float(train.attrs["test_error"]))
    means = sorted(float(np.mean([np.mean(again) for again in seeds.values()])) for seeds in expected.values())
    rows = [row for id, table in check(out.read_text()).items() if id.startswith("accuracy-digits-") for row in table["rows"]]
    heads = Tables(out.read_text()).found["accuracy-digits-cells"]["head"]
    column = next(i for i, (_, text) in enumerate(heads) if "".join(text) == "test error, %")
    assert sorted(float(row[column][0]["data-order"]) for row in rows) == pytest.approx(means, rel=1e-14)
    assert len(rows) == len(means) > 5


def test_questions_have_a_table_each_and_a_comparison_without_one_stands_under_the_last(metrics):  # noqa: F811
    asked = {"dataset": "digits", "metric": "test_error", "protocols": ["repaired"], "seeds": [0, 1], "against": "resnet20/bp"}
    comparisons = [
        {**asked, "of": f"resnet20/{rule}", "about": about}
        for rule, about in (("brsf", ""), ("fa", "First <?"), ("bp", "First <?"), ("usf", "Second?"), ("frsf", ""))
    ]
    found = check(page := page_of(metrics(TRIALS, comparisons=comparisons)))
    assert [len(table["rows"]) for id, table in found.items() if id.startswith("comparisons-")] == [1, 2, 2]
    assert "<h3>First &lt;?</h3>" in page and "<h3>Second?</h3>" in page and "<h3></h3>" not in page


def test_a_run_is_shown_by_who_it_is_and_whole_to_who_copies_it():
    id = "digits/darts-bio/fa/seed12-epochs8-lr0.1-0a1b2c3d"
    assert writing.shortened(id) == ("digits/darts-bio/fa/seed12", "-epochs8-lr0.1-", "0a1b2c3d") and "".join(writing.shortened(id)) == id
    for whole in ("digits/resnet20/fa/tuning-lr0.01", "", "seed", "digits/seed1-xyz"):
        assert writing.shortened(whole) == (whole, "", "")


def test_numbers_in_full_and_names_that_files_can_have():
    assert writing.full(0.1 + 0.2) == "0.30000000000000004" and writing.full(np.float64(2)) == "2.0"
    assert writing.full(3) == "3"
    assert writing.full(None) == writing.full(float("nan")) == "" and writing.full(float("inf")) == "inf"
    assert writing.slug("accuracy", "CIFAR 10", "../<x>") == "accuracy-cifar-10-x"
    assert writing.measured(Summary(1.0, 0.5, 3)) == "1.00 ±\xa00.50"


def test_a_search_of_many_images_is_exported_in_full(metrics):  # noqa: F811
    (table,) = (table for id, table in check(page_of(metrics(TRIALS, searches=[search(0)]))).items() if id == "searches-all")
    assert [cell[0]["data-order"] for cell in table["rows"][0] if "".join(cell[1]) == "3 T"] == ["3000000000000.0"]


def test_pages_of_one_network_have_well_formed_tables(metrics):  # noqa: F811
    assert check(render.render(tables.read(metrics([trial("bp", 0, float("nan"))]))))
