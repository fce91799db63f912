"""The summary in Markdown: its numbers by hand."""

import json

import h5py
import pytest

from reports import summary
from reports.tests.test_reports import metrics, trial  # noqa: F401  # a fixture


def with_comparisons(path, *comparisons):
    with h5py.File(path, "a") as file:
        plan = json.loads(file["plan"].asstr()[()])
        plan["comparisons"] = list(comparisons)
        del file["plan"]
        file["plan"] = json.dumps(plan)
    return path


def test_a_comparison_and_the_means_by_hand(metrics, capsys):  # noqa: F811
    errors = {"bp": [1.0, 2.0, 1.0, 2.0, 1.0], "fa": [5.0, 8.0, 6.0, 7.0, 4.0]}
    trials = [trial(rule, seed, error) for rule, found in errors.items() for seed, error in enumerate(found)]
    named = {"dataset": "digits", "protocols": ["repaired"], "of": "resnet20/fa", "against": "resnet20/bp", "metric": "test_error"}
    named |= {"about": "", "seeds": [0, 1, 2, 3, 4]}
    summary.main([str(with_comparisons(metrics(trials), named))])
    lines = capsys.readouterr().out.splitlines()
    # differences 4, 6, 5, 5, 3: mean 4.6, sd √1.3 = 1.140, half-width 2.7764 · 1.140 / √5 = 1.416
    assert "| resnet20, FA − resnet20, BP | 5 | +4.60 | [+3.18, +6.02] 95 % | < 0.001 | **errs more** | – |" in lines
    assert "| resnet20 on digits | test error, % | seeds |" in lines
    assert "| BP | 1.40 ± 0.55 | 5 |" in lines and "| FA | 6.00 ± 1.58 | 5 |" in lines


def test_without_comparisons_there_are_the_means(metrics, capsys):  # noqa: F811
    summary.main([str(metrics([trial("bp", 0, 1.0)]))])
    assert capsys.readouterr().out.splitlines()[0] == "| resnet20 on digits | test error, % | seeds |"


def test_a_page_takes_it_where_it_has_a_place(metrics, tmp_path, capsys):  # noqa: F811
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- demo -->\nold\n<!-- end -->\nafter\n")
    path = metrics([trial("bp", 0, 1.0)])
    summary.main([str(path), "--into", str(page)])
    summary.main([str(path)])
    told, printed = capsys.readouterr().out.split("\n", 1)
    assert page.read_text() == f"before\n<!-- demo -->\n{printed}<!-- end -->\nafter\n" and str(page) in told
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        summary.main([str(path), "--into", str(page)])
