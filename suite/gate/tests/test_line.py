"""How the gate's lines are told: failures last in a table, as annotations that GitHub reads, as Markdown that holds no HTML of theirs."""

from suite.gate.line import Line, github, markdown, table

LINES = [
    Line(False, "trial/a,b:c", "50 % worse\nthan <b>that</b> | this"),
    Line(True, "trial/b", "no worse"),
    Line(True, "trial/c", "cannot tell", doubt=True),
]


def test_failures_come_last_in_a_table():
    first, second, last = table([LINES[0], *LINES[1:]]).split("\n", 2)
    assert first.startswith("kept    trial/b")
    assert second.startswith("kept ?  trial/c")
    assert last.startswith("MISSED  trial/a,b:c  50 % worse")


def test_annotations_are_escaped_as_github_wants():
    assert github(LINES) == [
        "::error title=trial/a%2Cb%3Ac::50 %25 worse%0Athan <b>that</b> | this",
        "::warning title=trial/c::cannot tell",
    ]


def test_a_summary_starts_with_the_verdict_and_folds_what_was_kept():
    lines = markdown("1 of 3 missed", LINES).splitlines()
    assert lines[0] == "**1 of 3 missed**"
    assert "| MISSED | trial/a,b:c | 50 % worse than &lt;b&gt;that&lt;/b&gt; \\| this |" in lines
    assert lines.index("<details><summary>2 that did not fail</summary>") > lines.index("| --- | --- | --- |")
    assert lines[-1] == "</details>"


def test_nothing_judged_is_a_verdict_alone():
    assert markdown("no bounds to keep", []) == "**no bounds to keep**\n"


def test_what_is_no_judgement_is_a_note():
    assert table([Line(True, "a", "new here", note=True)]) == "note    a  new here"
    assert github([Line(True, "a", "new here", note=True)]) == []


def test_of_many_as_many_annotations_as_github_shows_and_how_many_there_are():
    ten, eleven = ([Line(False, f"run {i}", "gone") for i in range(n)] for n in (10, 11))
    assert len(github(ten)) == 10 and github(ten)[-1] == "::error title=run 9::gone"
    assert len(github(eleven)) == 10 and github(eleven)[-1] == "::error title=and 2 more::The job's log and its summary have all 11."


def test_a_summary_of_thousands_is_short():
    page = markdown("x", [Line(kept, f"run {i}", "y" * 200) for kept in (False, True) for i in range(5000)])
    assert len(page) < 65_536 and "and 4900 more" in page


def test_markdown_of_others_is_text():
    page = markdown("a_b*c", [Line(False, "[x](y) `z`", "\\| @someone #12 ~~no~~")])
    assert page.splitlines()[0] == r"**a\_b\*c**"
    row = page.splitlines()[-1]
    assert row.startswith(r"| MISSED | \[x\](y) \`z\` | \\\| @")
    assert "@someone" not in row and "#12" not in row and r"\~\~no\~\~" in row
