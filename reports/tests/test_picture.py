"""A picture of a report for the README: its size, its place, and what is not there."""

import shutil
import struct

import pytest

pytest.importorskip("playwright", reason="needs [dev]")
from reports import picture

PAGE = "<!doctype html><div style='height: 3000px'>above</div><h2 id=accuracy style='background: black; height: 800px; margin: 0'></h2>"


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_picture_is_of_the_readmes_size_and_begins_where_it_is_told(tmp_path, capsys):
    report, out = tmp_path / "report.html", tmp_path / "report.png"
    report.write_text(PAGE)
    picture.main([str(report), str(out)])
    first = out.read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", first[16:24]) == (1280, 800)
    picture.main([str(report), str(out), "--at", "accuracy"])
    assert out.read_bytes() != first
    assert f"{out}: " in capsys.readouterr().out


def test_a_report_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"none\.html: no such file"):
        picture.main([str(tmp_path / "none.html"), str(tmp_path / "out.png")])
