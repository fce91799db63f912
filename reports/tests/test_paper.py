"""The paper's numbers: that the list is the paper's, and how ours are set beside them."""

import re
from collections import Counter
from types import SimpleNamespace

import pytest
from scipy import stats

from reports.numbers import paper
from reports.numbers.statistics import Summary
from reports.numbers.tables import SearchGroup, Variant
from suite.store import Run


def test_the_list_has_as_many_numbers_as_the_paper():
    """Counted by hand in the paper; the published genotype and Figure 4's other reading are ours and repeat numbers."""
    rows = [c for c in paper.cited() if "published genotype" not in c.row and "read as" not in c.row]
    found = Counter(c.table for c in rows)
    assert found["Table 1"] == 34 + 19
    assert found["Table 2"] == 60 and found["Figure 4"] == 8 and found["Abstract"] == 1
    assert found["Table 3"] == 15 + 15 + 14 + 10
    assert found["arXiv 2507.13485"] == 4


def test_headlines_stand_where_the_paper_has_them():
    by = {(c.table, c.row, c.dataset, c.unit): c.paper for c in paper.cited()}
    assert by["Table 1", "BioNAS-DARTS", "cifar10", "test error"] == 5.14
    assert by["Figure 4", "BioNAS-DARTS", "cifar10", "top-1 accuracy"] == pytest.approx(100 - 5.14)
    assert by["Figure 4", "BioNAS-EG", "cifar10", "top-1 accuracy"] == pytest.approx(100 - 7.16)
    assert by["Table 3", "BioNAS-EG (Bio)", "cifar100", "supernet's accuracy"] == pytest.approx(100 - 29.76)
    assert by["Table 2", "RN56 FA", "cifar10", "APGD"] == 33.59


def test_caveats_are_careful():
    """What was found, and how sure: read, run or inferred, or an equality that anyone can check."""
    for caveat in {c.caveat for c in paper.cited() if c.caveat}:
        assert re.search(r"\(run|\(read|inferred|[Ee]quals|NAS-Bench-201|biotorch|abstract|less Table 1", caveat), caveat
        assert not re.search(r"wrong|fake|fraud|cheat", caveat)


def variant(network, rules, **metrics):
    run = Run(stage="train", id="x", params={}, status="ok", metrics=metrics)
    return Variant("cifar10", network, None, rules, ("repaired",), (), {}, trains={0: run}, evaluations={})


def test_ours_is_put_in_the_papers_unit():
    assert paper.measured(variant("darts-bio", "searched", test_error=6.0), "test_accuracy") == pytest.approx(
        Summary.of([94.0]), nan_ok=True
    )
    bp = variant("resnet20", "bp", robust_accuracy_pgd_true=3.0)  # bp's own gradient is the true one
    assert paper.measured(bp, "robust_accuracy_pgd_rule").mean == 3.0
    fa = variant("resnet20", "fa", robust_accuracy_pgd_true=3.0)
    assert paper.measured(fa, "robust_accuracy_pgd_rule").n == 0


def searched(*devices):
    """A search on each of some devices, of a day each."""
    runs = {
        seed: Run("search", "x", {}, "ok", {}, {}, timings={"search_seconds": 86_400.0}, provenance={"device": device})
        for seed, device in enumerate(devices)
    }
    return SearchGroup("cifar10", "eg-bio", "eg", ("fa",), ("repaired",), {}, runs)


def test_gpu_days_are_a_gpus():
    assert paper.measured(searched("cpu"), "gpu_days").n == 0
    found = paper.measured(searched("cpu", "NVIDIA H100 80GB HBM3"), "gpu_days")
    assert (found.mean, found.n) == (1.0, 1)
    old = searched("cpu")
    old.runs[0].provenance.clear()
    assert paper.measured(old, "gpu_days").n == 0  # nobody knows


def test_a_number_has_the_interval_of_the_images_that_it_is_a_share_of():
    """514 of 10,000 and 32 of 128 images by scipy; none where nobody knows how many, or where it is no share of test images."""
    by = {(c.table, c.row, c.dataset, c.unit): c for c in paper.cited()}
    for key, wrong, images in (
        (("Table 1", "BioNAS-DARTS", "cifar10", "test error"), 514, 10_000),
        (("Table 2", "RN56 FA", "cifar10", "APGD"), 43, 128),
        (("Table 2", "RN56 FA", "cifar10", "1 pixel"), 239, 500),
        (("Abstract", "BioNAS-EG", "imagenet16_120", "top-1 accuracy"), 2605, 6_000),
    ):
        exact = stats.binomtest(wrong, images).proportion_ci(0.95, "exact")
        assert by[key].interval == pytest.approx((100 * exact.low, 100 * exact.high)), key
    for key in (
        ("Table 2", "BioNAS-DARTS", "cifar10", "PGD"),
        ("Table 3", "BioNAS-EG (Bio)", "cifar10", "supernet's accuracy"),
        ("Table 3", "BioNAS-EG (Bio)", "cifar10", "search time in GPU-days"),
    ):
        assert by[key].interval is None


def test_ours_has_one_where_it_is_one_networks():
    results = SimpleNamespace(
        blocks=[SimpleNamespace(variants=[variant("darts-bio", "searched", test_error=6.0, test_images=100)])], searches=(), attacks={}
    )
    rows = {row.cited.unit: row for row in paper.compare(results) if row.cited.table in ("Table 1", "Figure 4")}
    exact = stats.binomtest(6, 100).proportion_ci(0.95, "exact")
    assert rows["test error"].interval == pytest.approx((100 * exact.low, 100 * exact.high))
    assert rows["top-1 accuracy"].interval == pytest.approx((100 - 100 * exact.high, 100 - 100 * exact.low))
