"""Several reports and the page that lists them: every link leads somewhere, and what comes from data is escaped."""

import re
from dataclasses import replace

import pytest

from reports import site
from reports.numbers import tables
from reports.tests.test_reports import metrics, trial  # noqa: F401  # a fixture


def test_every_report_is_listed_and_there(metrics, tmp_path, capsys):  # noqa: F811
    path = metrics([trial("bp", 0, 5.0), trial("fa", 0, 9.0)])
    out = tmp_path / "site"
    site.main([str(out), str(path)])
    page = (out / "index.html").read_text()
    links = re.findall(r'<a href="([^"]+)"', page)
    assert links and all((out / link).read_text().startswith("<!doctype html>") for link in links)
    assert f"{out / 'index.html'}: lists 1 reports" in capsys.readouterr().out


def test_names_and_texts_are_escaped(metrics):  # noqa: F811
    results = replace(tables.read(metrics([trial("bp", 0, 5.0)])), about='<script>alert("1")</script>')
    assert "<script" not in site.index([("x.html", results)])


def test_two_files_of_one_benchmark_are_refused(metrics, tmp_path):  # noqa: F811
    path = metrics([trial("bp", 0, 5.0)])
    with pytest.raises(ValueError, match="another file is of benchmark"):
        site.main([str(tmp_path / "site"), str(path), str(path)])


def test_nothing_to_list_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="benchmarks/published: no metrics files here"):
        site.main(["site"])
