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
    assert lines.index("<details><summary>2 kept</summary>") > lines.index("| --- | --- | --- |")
    assert lines[-1] == "</details>"


def test_nothing_judged_is_a_verdict_alone():
    assert markdown("no bounds to keep", []) == "**no bounds to keep**\n"
