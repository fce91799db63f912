"""The paper's numbers: that the list is the paper's, and how ours are set beside them."""

import re
from collections import Counter

import pytest

from reports import against
from reports.statistics import Summary
from reports.tables import Variant
from suite.store import Run


def test_the_list_has_as_many_numbers_as_the_paper():
    """Counted by hand in the paper; the published genotype and Figure 4's other reading are ours and repeat numbers."""
    rows = [c for c in against.cited() if "published genotype" not in c.row and "read as" not in c.row]
    found = Counter(c.table for c in rows)
    assert found["Table 1"] == 34 + 19
    assert found["Table 2"] == 60 and found["Figure 4"] == 8 and found["Abstract"] == 1
    assert found["Table 3"] == 15 + 15 + 14 + 10
    assert found["arXiv 2507.13485"] == 4


def test_headlines_stand_where_the_paper_has_them():
    by = {(c.table, c.row, c.dataset, c.unit): c.paper for c in against.cited()}
    assert by["Table 1", "BioNAS-DARTS", "cifar10", "test error"] == 5.14
    assert by["Figure 4", "BioNAS-DARTS", "cifar10", "top-1 accuracy"] == pytest.approx(100 - 5.14)
    assert by["Figure 4", "BioNAS-EG", "cifar10", "top-1 accuracy"] == pytest.approx(100 - 7.16)
    assert by["Table 3", "BioNAS-EG (Bio)", "cifar100", "supernet's accuracy"] == pytest.approx(100 - 29.76)
    assert by["Table 2", "RN56 FA", "cifar10", "APGD"] == 33.59


def test_caveats_are_careful():
    """What was found, and how sure: read, run or inferred, or an equality that anyone can check."""
    for caveat in {c.caveat for c in against.cited() if c.caveat}:
        assert re.search(r"\(run|\(read|inferred|[Ee]quals|NAS-Bench-201|biotorch|abstract|less Table 1", caveat), caveat
        assert not re.search(r"wrong|fake|fraud|cheat", caveat)


def variant(network, rules, **metrics):
    run = Run(stage="train", id="x", params={}, status="ok", metrics=metrics)
    return Variant("cifar10", network, None, rules, ("repaired",), (), {}, trains={0: run}, evaluations={})


def test_ours_is_put_in_the_papers_unit():
    assert against.measured(variant("darts-bio", "searched", test_error=6.0), "test_accuracy") == pytest.approx(
        Summary.of([94.0]), nan_ok=True
    )
    bp = variant("resnet20", "bp", robust_accuracy_pgd_true=3.0)  # bp's own gradient is the true one
    assert against.measured(bp, "robust_accuracy_pgd_rule").mean == 3.0
    fa = variant("resnet20", "fa", robust_accuracy_pgd_true=3.0)
    assert against.measured(fa, "robust_accuracy_pgd_rule").n == 0
