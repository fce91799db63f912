"""Several reports and the page that lists them: every link leads somewhere, and what comes from data is escaped."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from reports import site
from reports.numbers import tables
from reports.tests.test_reports import metrics, trial  # noqa: F401  # a fixture

ROOT = Path(__file__).parents[2]


def test_every_report_is_listed_and_there(metrics, tmp_path, capsys):  # noqa: F811
    path = metrics([trial("bp", 0, 5.0), trial("fa", 0, 9.0)])
    out = tmp_path / "site"
    site.main([str(out), str(path)])
    page = (out / "index.html").read_text()
    links = re.findall(r'<a href="([^"]+)"', page)
    assert len(links) == 2  # the report, and the table of what it found first
    for file, _, place in (link.partition("#") for link in links):
        report = (out / file).read_text()
        assert report.startswith("<!doctype html>") and (not place or f'id="{place}"' in report)
    assert f"{out / 'index.html'}: lists 1 reports" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "", "..", "a\0b", "<script>", "$(touch x)"])
def test_a_benchmark_whose_name_is_no_file_name_is_refused_and_nothing_is_written(metrics, tmp_path, name):  # noqa: F811
    path = metrics([trial("bp", 0, 5.0)])
    with h5py.File(path, "a") as file:
        plan = json.loads(file["plan"].asstr()[()]) | {"benchmark": name}
        del file["plan"]
        file["plan"] = json.dumps(plan)
    with pytest.raises(ValueError, match=r"is of benchmark .*allowed: lower-case letters"):
        site.main([str(tmp_path / "deep/site"), str(path)])
    assert not list(tmp_path.rglob("*.html")) and not Path("/tmp/evil.html").exists()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The site of what is published, whose reports are made by other tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        patched.setattr(site, "render", lambda results: f"<!doctype html><h2 id=comparisons></h2>{results.benchmark}")
        site.main([str(out := tmp_path_factory.mktemp("site"))])
    return out


def test_all_that_is_published_is_listed_and_every_link_leads_somewhere(published):
    studies = {file.name.partition(".")[0] for file in (ROOT / "benchmarks/published").glob("*.h5.xz")}
    page = (published / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert {link.partition("#")[0] for link in links} == {f"{name}.html" for name in studies} | {"data:,"}
    assert all((published / link.partition("#")[0]).is_file() for link in links if link != "data:,")
    assert {path.name for path in published.iterdir()} == {f"{name}.html" for name in studies} | {"index.html"}


def test_each_is_listed_with_what_it_is_and_what_it_found_first(published):
    page = html.unescape((published / "index.html").read_text())
    for item in page.split("<li>")[1:]:
        name = re.search(r'href="([a-z-]+)\.html"', item)[1]
        results = tables.read(ROOT / f"benchmarks/published/{name}.h5.xz")
        assert f"<p>{results.about}</p>" in item
        assert re.search(r"<p><b>[A-Z][^<]+\.</b> [^<]+\. <a", item), name


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
