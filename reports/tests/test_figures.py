"""A report's figures as pages of their own: all of them, in order, without script, and nothing of the data is markup."""

import re
from html.parser import HTMLParser

import pytest

from reports import figures
from reports.numbers import tables
from reports.page.page import render
from reports.tests.test_reports import metrics, search, trial  # noqa: F401  # a fixture


class Drawn(HTMLParser):
    """Counts figures that hold a picture, by the section's id."""

    def __init__(self):
        super().__init__()
        self.section, self.open, self.found = "", False, {}

    def handle_starttag(self, tag, attributes):
        if tag == "h2":
            self.section = dict(attributes).get("id", self.section)
        elif tag == "figure":
            self.open = True
        elif tag == "svg" and self.open:
            self.open = False
            self.found[self.section] = self.found.get(self.section, 0) + 1


@pytest.fixture
def report(metrics, tmp_path):  # noqa: F811
    path = tmp_path / "report.html"
    trials = [trial("bp", 0, 5.0), trial("fa", 0, 9.0), trial("searched", 0, 7.0, parent="darts")]
    path.write_text(render(tables.read(metrics(trials, searches=[search(0)]))), encoding="utf-8")
    return path


def test_every_figure_has_a_page_in_its_section_which_is_complete_and_runs_nothing(report, tmp_path, capsys):
    out = tmp_path / "figures"
    figures.main([str(report), str(out)])
    counted = Drawn()
    counted.feed(report.read_text())
    pages = sorted(out.glob("*/*.html"), key=lambda path: path.name)
    assert {section: len([*(out / section).iterdir()]) for section in counted.found} == counted.found
    assert len(pages) == sum(counted.found.values()) > 3
    assert [int(page.name[:2]) for page in pages] == [*range(1, len(pages) + 1)]
    assert capsys.readouterr().out == f"{out}: {len(pages)} figures of {report}\n"
    for path in pages:
        page = path.read_text()
        assert re.fullmatch(r"\d\d-[a-z0-9-]+\.html", path.name)
        assert "<script" not in page and "<svg" in page and "script-src 'none'" in page
        assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
        used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
        assert used <= set(re.findall(r'\bid="([^"]+)"', page))  # nothing that it draws with stayed behind


def test_titles_stay_escaped():
    report = '<main><h2 id=x>a</h2><h3>&lt;script&gt; &amp; "b"</h3><figure><svg></svg></figure><figure>Nothing to draw</figure></main>'
    ((section, name, page),) = figures.figures(report)
    assert (section, name) == ("x", "01-script-b")
    assert "<title>&lt;script&gt; &amp; &quot;b&quot;</title>" in page


def test_what_is_no_report_is_one_line(tmp_path):
    (tmp_path / "x.html").write_text("<p>no")
    with pytest.raises(ValueError, match=r"x\.html: not a report; make one with python -m reports\.render"):
        figures.main([str(tmp_path / "x.html"), str(tmp_path / "out")])
