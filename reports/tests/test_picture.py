"""A picture of a report for the README: its size, its place, and what is not there."""

import shutil
import struct
import subprocess
import sys

import pytest

pytest.importorskip("playwright", reason="needs [dev]")
from reports import picture

PAGE = "<!doctype html><div style='height: 3000px'>above</div><h2 id=accuracy style='background: black; height: 800px; margin: 0'></h2>"


def taken(*command):
    """In a process of its own, since the tests of this one share a browser."""
    done = subprocess.run([sys.executable, "-m", "reports.picture", *map(str, command)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_picture_is_of_the_readmes_size_and_begins_where_it_is_told(tmp_path):
    report, out = tmp_path / "report.html", tmp_path / "report.png"
    report.write_text(PAGE)
    assert f"{out}: " in taken(report, out)
    first = out.read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", first[16:24]) == (1280, 800)
    taken(report, out, "--at", "accuracy")
    assert out.read_bytes() != first


def test_a_report_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"none\.html: no such file"):
        picture.main([str(tmp_path / "none.html"), str(tmp_path / "out.png")])
