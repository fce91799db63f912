"""Tables with a row a run: written out while they are short, packed where they are long, and what a run's command is."""

import json
import re
import shlex
from dataclasses import replace

import pytest

from reports.numbers import tables
from reports.page import long
from reports.page.page import render
from reports.tests.pages import Page
from reports.tests.test_reports import EVIL, metrics, trial

__all__ = ["metrics"]  # the fixture

PARAMS = json.dumps({"id": "a b/seed0", "eps": [0.35, None], "about": 'it\'s "quoted" $HOME `ls` \\'})


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-m", "suite.run", "train", "--params", PARAMS, "--data", "data/x.h5", "--out", "results/r;rm -rf"],
        ["python", "-m", "suite.run", "evaluate", "--params", PARAMS, "--sources", "[1, 2]", "{not json"],
        ["/usr/bin/python3", "x.py"],
        [],
    ],
)
def test_a_command_is_one_for_a_shell(words):
    """Recorded with spaces between its words, of which JSON has some of its own; pasted as recorded, a shell would tear it apart."""
    recorded = " ".join(words)
    written = long.command(recorded)
    assert " ".join(shlex.split(written)).removeprefix(".venv/bin/") == recorded
    assert written.startswith(".venv/bin/python ") == (words[:1] == ["python"])
    if PARAMS in words:
        assert PARAMS in shlex.split(written)
    assert "\n" not in written


def made(rule, seed, **provenance):
    entry, train, evaluation = trial(rule, seed, 5.0)
    own = {"processor": "AMD EPYC", "instructions": "avx2", "commit": "c0", **provenance}
    return entry, replace(train, provenance=own), replace(evaluation, provenance=own)


def runs_of(path):
    page = Page(render(tables.read(path)))
    return page.tables["runs"].records()


def test_what_is_the_same_for_all_runs_is_said_once_and_what_differs_in_each_row(metrics):
    alike = [made("bp", 0), made("fa", 0)]
    page = Page(render(tables.read(metrics(alike))))
    assert not {"machine", "code"} & set(page.tables["runs"].heads)
    text = render(tables.read(metrics(alike)))
    assert "<dt>processor</dt><dd>AMD EPYC</dd>" in text and "<dt>instructions</dt><dd>avx2</dd>" in text
    other = made("usf", 0, processor="Intel <Xeon>", instructions="avx512", commit="c1")
    records = runs_of(metrics([*alike, other]))
    machines = {record["run"].text.split("/")[2]: record["machine"].text for record in records}
    assert machines == {
        "bp": "AMD EPYC; instructions avx2",
        "fa": "AMD EPYC; instructions avx2",
        "usf": "Intel <Xeon>; instructions avx512",
    }
    assert {record["code"].text for record in records} == {"commit c0", "commit c1"}
    assert "<Xeon>" not in render(tables.read(metrics([*alike, other])))


def test_every_run_has_its_network_seed_status_and_times(metrics):
    entry, train, evaluation = trial("fa", 7, 12.5)
    train = replace(
        train,
        metrics={**train.metrics, "test_images": 1000},
        timings={"seconds": 90.0, "peak_memory_mib": 512.4},
        provenance={"finished": "2026-11-27T00:28:44+00:00", "argv": f"python -m suite.run train --params {PARAMS}"},
    )
    again = {**entry, "of_seed": 3}
    (ran, attacked) = runs_of(metrics([(again, train, evaluation)]))
    shown = {head: cell.text for head, cell in ran.items()}
    assert shown | {"command": "", "run": ""} == shown | {
        "stage": "train", "data": "digits", "network": "resnet20", "rules": "FA", "seed": "7 (of 3)", "status": "ok",
        "test error, %": "12.50 [10.51, 14.71]", "time": "1.5 min", "memory, MiB": "512",
        "finished, UTC": "2026-11-27 00:28", "command": "", "run": "",
    }  # fmt: skip
    assert shlex.split(shown["command"])[-1] == PARAMS
    # Clopper & Pearson, 125 of 1,000, by R's binom.test: 0.1051 to 0.1471
    assert ran["test error, %"].number("low") == pytest.approx(10.51, abs=0.01)
    assert ran["test error, %"].number("high") == pytest.approx(14.71, abs=0.01)
    assert attacked["test error, %"].text == "–" and attacked["stage"].text == "evaluation"


@pytest.fixture(scope="module")
def many():
    """Trials that make more runs than a page has without a script, one of which diverged."""
    return [trial("fa", seed, seed / 7, status="diverged" if seed == 3 else "ok") for seed in range(101)]


def test_beyond_some_hundred_runs_a_page_has_a_row_a_network_and_rule_and_the_runs_packed(metrics, many):
    text = render(tables.read(metrics(many)))
    page = Page(text)
    assert page.tables["runs"].rows == [] and len(page.packed["runs"][0]["texts"]) == 202
    counts = re.sub(r"\s+", " ", re.search(r'<p class="counts">(.*?)</p>', text, re.DOTALL)[1])
    assert "202 runs: 100 train ok, 100 evaluation ok, 1 train diverged, 1 evaluation skipped (parent diverged)" in counts or all(
        words in counts for words in ("202 runs", "100 train ok", "1 train diverged", "1 evaluation skipped (parent diverged)")
    )
    assert ".venv/bin/python -m suite.store" in text
    assert all(len(table.rows) <= long.WRITTEN for table in page.tables.values())
    assert len(Page(render(tables.read(metrics(many[:100])))).tables["runs"].rows) == 200


def test_packed_runs_are_data_whatever_they_hold(metrics, many):
    evil = [(entry, replace(train, provenance={"commit": EVIL, "argv": EVIL}), evaluation) for entry, train, evaluation in many]
    text = render(tables.read(metrics(evil)))
    assert EVIL not in text and "<script>alert" not in text
    commands = next(column["texts"] for column in Page(text).packed["runs"] if column["kind"] == "command")
    assert shlex.split(commands[0]) == [EVIL]
