"""What a file may hold: texts that are markup, or long; no numbers, one seed, many, none; runs that are missing or failed."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import h5py
import pytest

from reports.numbers import tables
from reports.page import assets
from reports.page.page import render
from reports.tests.pages import Page
from reports.tests.test_reports import EVIL, metrics, search, trial

__all__ = ["metrics"]  # the fixture

LONG = "α" * 100 + " " + "x" * 99


class Elements(HTMLParser):
    """Every element of a page, and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        kind = dict(attrs).get("type", "")
        self.tags.append(f"{tag} {kind}".strip())  # one that runs has no type
        self.attributes |= {name for name, _ in attrs}


def words(text):
    return re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL))


def page_of(path):
    return render(tables.read(path))


def edited(path, **values):
    with h5py.File(path, "a") as file:
        for name, value in values.items():
            if name in file:
                del file[name]
            file[name] = value
    return path


@pytest.mark.parametrize("said", [EVIL, LONG, '" onload="alert(1)', "{{ 7 * 7 }}", "</script><img src=x>"])
def test_texts_of_a_file_are_shown_and_never_run(metrics, said):
    one, two = trial("bp", 0, 1.0), trial("bp", 1, 2.0)
    for entry, *_ in (one, two):
        entry.update(network=said, dataset=said, rules=said, overrides=[said], settings={"lr": said})
    entry, run = search(0)
    entry.update(name=said, dataset=said)
    comparison = {"dataset": said, "protocols": ["repaired"], "of": f"{said}/bp", "against": f"{said}/fa", "metric": "test_error"}
    path = metrics([one, two], searches=[(entry, run)], comparisons=[{**comparison, "about": said, "seeds": [0, 1, 2]}])
    plan = tables.read(path).plan | {"about": said, "benchmark": said, "only": said}
    text = page_of(edited(path, plan=json.dumps(plan), definition=f"about: {said}"))
    page = Page(text)
    names = {record["data"].text for record in page.tables["runs"].records()}
    assert names == {said} and "49" not in {record["network"].text for record in page.tables["runs"].records()}
    found = Elements(text)
    assert not {name for name in found.attributes if name.startswith("on")} and "img" not in found.tags
    assert found.tags.count("script") == len(assets.SCRIPTS)


def test_numbers_that_are_none_are_dashes_and_nothing_falls_over(metrics):
    found = []
    for seed in range(3):
        entry, train, evaluation = trial("bp", seed, math.nan)
        nothing = {name: math.nan for name in ("train_accuracy", "flops", "num_parameters", "layers_bp", "weights_bp")}
        train = replace(train, metrics={**train.metrics, **nothing, "test_images": 100})
        found.append((entry, train, replace(evaluation, metrics={**evaluation.metrics, "gradient_cosine": math.nan})))
    page = Page(page_of(metrics([*found, *(trial("fa", seed, 5.0) for seed in range(3))])))
    bp, fa = page.tables["accuracy-digits-resnet20"].records()
    assert bp["test error, %"].number() is None and fa["test error, %"].number() == 5.0
    assert {record["test error, %"].text for record in page.tables["runs"].records()} == {"–", "5.00"}


def test_one_seed_bounds_nothing_and_says_so(metrics):
    comparison = {"dataset": "digits", "protocols": ["repaired"], "of": "resnet20/fa", "against": "resnet20/bp", "metric": "test_error"}
    text = page_of(metrics([trial("bp", 0, 1.0), trial("fa", 0, 9.0)], comparisons=[{**comparison, "about": "", "seeds": [0]}]))
    (record,) = Page(text).tables["comparisons-1"].records()
    assert record["in words"].text == "1 seed: no interval" and not {"interval", "p (Holm)"} & record.keys()
    assert "±" not in words(text.partition('id="accuracy-digits-resnet20"')[2].partition("</table>")[0])


def test_two_hundred_trials_are_a_row_each_rule(metrics):
    page = Page(page_of(metrics([trial(rule, seed, 1.0 + seed % 7) for rule in ("bp", "fa") for seed in range(100)])))
    assert [record["seeds"].text for record in page.tables["accuracy-digits-resnet20"].records()] == ["100", "100"]
    assert "runs" in page.packed


def test_a_file_without_runs_is_a_page(metrics):
    text = words(page_of(metrics([])))
    assert "0 runs" in text and "sets no bounds on its results" in text


def test_missing_and_failed_runs_have_a_clear_status_in_their_place_and_in_the_list(metrics):
    there, gone = trial("bp", 0, 1.0), trial("fa", 0, 2.0)
    failed, skipped = trial("usf", 0, 0.0, status="diverged"), trial("brsf", 0, 0.0, status=f"skipped({EVIL})")
    path = metrics([there, gone, failed, skipped])
    missing = [{"run": f"trial/{gone[0]['id']}", "stage": stage, "reason": f"failed: {EVIL}"} for stage in ("train", "evaluation")]
    with h5py.File(path, "a") as file:
        del file[f"trial/{gone[0]['id']}"]
        file["missing"] = json.dumps(missing)
    text = page_of(path)
    assert EVIL not in text
    statuses = {
        record["run"].text.split("/")[2]: record["status"].text
        for record in Page(text).tables["runs"].records()
        if record["stage"].text == "train"
    }
    assert statuses == {"bp": "ok", "usf": "diverged", "brsf": f"skipped ({EVIL})"}
    assert "2 of 8 results missing" in words(text)
    gaps = words(text.partition('id="accuracy-digits-resnet20"')[2].partition("<figure")[0])
    assert "FA : training failed" in gaps and "training diverged" in gaps
