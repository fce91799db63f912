"""A published table that was selected on its test images: ours, selected and last, beside what is printed; intervals by hand."""

import re
from dataclasses import replace

import pytest

from reports import render, summary
from reports.numbers import met, paper, tables
from reports.tests.test_reports import metrics, trial  # noqa: F401  # a fixture

DATA = "fashion_mnist-32px"


def lenet(rule, seed, selected, last):
    entry, train, _ = trial(rule, seed, selected)
    id = f"{DATA}/lenet/{rule}/seed{seed}-0"
    entry |= {"id": id, "dataset": DATA, "network": "lenet", "evaluation": None}
    found = {**train.metrics, "test_error": selected, "test_error_last": last, "test_error_of": "best test epoch (selected on test)"}
    return entry, replace(train, id=id, metrics=found), replace(train, stage="evaluation", id=id, metrics={}, arrays={})


BP = [lenet("bp", seed, selected, last) for seed, (selected, last) in enumerate([(9.0, 9.5), (9.2, 9.6), (9.4, 9.7)])]
FA = [lenet("fa", seed, selected, last) for seed, (selected, last) in enumerate([(14.0, 14.5), (14.1, 14.6), (14.2, 14.7)])]


def test_both_numbers_by_hand(metrics):  # noqa: F811
    """t of two degrees of freedom is 4.3027. BP selected: 9.2 ± 4.3027 · 0.2 · √(4/3) = 0.9937; last: 9.6 ± 0.4968; so both of FA's."""
    rows, others = met.split(paper.compare(tables.read(metrics([*BP, *FA]))))
    assert others == [] and [row.selected.cited.row for row in rows] == ["LeNet BP", "LeNet FA"]
    bp, fa = rows
    assert bp.selected.ours.one_more == pytest.approx((8.2063, 10.1937), abs=1e-3)
    assert bp.last.ours.one_more == pytest.approx((9.1032, 10.0968), abs=1e-3)
    assert [met.where(c) for c in bp.both] == ["inside", "inside"] and bp.selected.cited.paper == 9.2  # 9.2 lies in both
    assert fa.selected.ours.one_more == pytest.approx((13.6032, 14.5968), abs=1e-3)
    assert [met.where(c) for c in fa.both] == ["outside", "outside"] and fa.selected.cited.paper == 13.06


def text_of(path):
    page = render.render(tables.read(path)).partition(": printed, and ours")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("<h2")[0]))


def test_page_has_one_row_a_rule_and_the_caveat(metrics):  # noqa: F811
    text = text_of(metrics([*BP, *FA]))
    assert "LeNet BP 9.20 9.20 ± 0.20 [8.21, 10.19] inside 9.60 ± 0.10 [9.10, 10.10] inside 3 1 " in text
    assert "LeNet FA 13.06 14.10 ± 0.10 [13.60, 14.60] outside 14.60 ± 0.10 [14.10, 15.10] outside 3 1 " in text
    assert "selected on the images that they report" in text and "of the epoch that did best on the 10,000 images" in text
    assert text.count("LeNet BP") == 1


def test_summary_has_the_same_table(metrics, capsys):  # noqa: F811
    summary.main([str(metrics([*BP, *FA]))])
    out = capsys.readouterr().out
    assert (
        "| biotorch, Fashion-MNIST, LeNet BP | 9.20 | 9.20 ± 0.20 | [8.21, 10.19] | inside | 9.60 ± 0.10 | [9.10, 10.10] | inside | 3 |"
        in out
    )
    assert out.count("LeNet BP") == 1 and "biotorch's published benchmark: one run, of the epoch that did best on the 10,000" in out
    assert "| lenet on fashion_mnist-32px | test error, %, of epochs selected on test | seeds |" in out


def test_fewer_than_three_seeds_bound_nothing(metrics):  # noqa: F811
    path = metrics(BP[:2])
    (row,) = met.split(paper.compare(tables.read(path)))[0]
    assert [met.where(c) for c in row.both] == ["too few seeds"] * 2
    assert "LeNet BP 9.20 9.10 ± 0.14 – too few seeds 9.55 ± 0.07 – too few seeds 2 1" in text_of(path)


def test_other_numbers_stand_where_they_stood(metrics):  # noqa: F811
    """A ResNet of Table 1 has one number; a LeNet whose last epoch is not known has none to set beside."""
    resnet, train, evaluation = trial("fa", 0, 30.0)
    resnet = {**resnet, "id": "cifar10/resnet20/fa/seed0-0", "dataset": "cifar10"}
    alone = lenet("bp", 0, 9.0, 9.5)
    alone[1].metrics.pop("test_error_last")
    rows, others = met.split(
        paper.compare(tables.read(metrics([(resnet, replace(train, id=resnet["id"]), replace(evaluation, id=resnet["id"])), alone])))
    )
    assert rows == [] and {c.cited.row for c in others} >= {"ResNet-20 FA", "LeNet BP"}
