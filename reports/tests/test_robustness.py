"""Robust accuracy within budgets: by hand, image by image."""

import base64
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from scipy import stats

from bionas import catalog
from reports import charts, summary
from reports.numbers import attacked, claims, paper, robustness, tables
from reports.numbers.attacked import Budget
from reports.tests import pages
from reports.tests.attacked import attack, left, network
from reports.tests.test_claims import named
from reports.tests.test_reports import metrics, page_of, trial

__all__ = ["metrics"]  # the fixture

FGSM, PGD, SQUARE = attack("fgsm", "rule", "true"), attack("pgd", "rule", "true"), attack("square", "none")


def part(metrics, *trials):
    (found,) = robustness.parts(tables.read(metrics(trials)))
    return found


def text(page):
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("pgd", {"eps": 8 / 255}, "ε = 8/255 in L∞"),
        ("pgd", {"eps": 0.35}, "ε = 0.35 in L∞"),
        ("pgd", {"eps": 0.02}, "ε = 0.02 in L∞"),  # 5.1/255
        ("apgd", {"eps": 0.5, "norm": "L2"}, "ε = 0.5 in L2"),
        ("deepfool", {"budget": 0.5}, "ε = 0.5 in L2"),
        ("onepixel", {"pixels": 1}, "1 pixel"),
        ("onepixel5", {"pixels": 5}, "5 pixels"),
    ],
)
def test_a_budget_is_written_in_words(name, parameters, words):
    assert Budget.of(name, parameters).words == words


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("worst_case_accuracy_linf_0.0314", "worst case within ε = 8/255 in L∞"),
        ("worst_case_accuracy_l0_1", "worst case within 1 pixel"),
        ("robust_accuracy_pgd@standard-n_restarts5_true", "robust accuracy, pgd@standard-n_restarts5 through the true gradient"),
        ("robust_accuracy_pgd_from-usf", "robust accuracy, pgd from the uSF network"),
        ("test_error", "test error"),
    ],
)
def test_a_metric_is_written_in_words(metric, words):
    assert attacked.metric_words(metric) == words


def test_every_attack_of_the_catalog_has_a_budget_settings_and_a_source(metrics):
    """A line in the catalog is enough for the report to credit it."""
    planned, outcomes = {}, {}
    for name, spec in catalog.ATTACKS.items():
        way = "rule" if spec.uses_gradient else "none"
        planned |= attack(name, way)
        outcomes[f"{catalog.label(name, 'standard', {})}/{way}"] = left(5, 10)
    page = text(page_of(metrics([network("fa", 0, planned, outcomes)])))
    for name, spec in catalog.ATTACKS.items():
        assert re.search(rf"{name}@standard (ε = [\d/.]+ in L|\d pixel).{{0,200}}{re.escape(spec.source)}", page), name
    assert "pgd@standard ε = 8/255 in L∞ alpha 2/255, steps 10, random_start paper §3.5; parameters ours" in page
    assert "cw@standard ε = 0.5 in L2 c 1.0, kappa 0.0, steps 50, lr 0.01 Carlini & Wagner 2017 " in page


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_worst_case_is_each_images_own_over_all_attacks_of_its_budget_or_a_smaller_one(metrics):
    """Of ten images: PGD by the rule leaves 0–7, by the true gradient 2–9, Square 0–8: together 2–7. PGD at 0.35 leaves 0–2."""
    image = np.arange(10)
    planned = PGD | SQUARE | attack("pgd", "true", preset="paper")
    outcomes = {"pgd@standard/rule": image < 8, "pgd@standard/true": image > 1, "square@standard/none": image < 9, "pgd/true": image < 3}
    small, large = part(metrics, network("fa", 0, planned, outcomes)).tables()
    assert (small.budget.words, large.budget.words) == ("ε = 8/255 in L∞", "ε = 0.35 in L∞")
    (row,) = small.rows
    assert {kind: share.over.mean for kind, share in row.by_kind.items() if share.over.n} == {"own": 80, "true": 80, "none": 90}
    assert row.worst.over.mean == 60 and row.clean.over.mean == 100
    (row,) = large.rows
    assert row.by_kind["true"].over.mean == 10 and row.worst.over.mean == 10  # image 2 alone
    assert [one.label for one in small.attacks] == ["pgd@standard", "square@standard"] and len(large.attacks) == 3


def test_what_is_of_a_smaller_budget_alone_says_so_in_the_larger_ones_table(metrics):
    """Square has 8/255 alone; PGD has 0.35, too, on the first network."""
    wide = attack("pgd", "rule", preset="paper", eps=0.35, alpha=0.1)
    pgd, square = "pgd@eps0.35-alpha0.1/rule", "square@standard/none"
    trials = [
        network("fa", 0, wide | SQUARE, {pgd: left(10, 100), square: left(70, 100)}),
        network("usf", 0, wide | SQUARE, {square: left(60, 100)}),
    ]
    found = part(metrics, *trials)
    eight, large = found.tables()
    assert (eight.smaller("none"), large.smaller("none"), large.smaller("own")) == (None, eight.budget, None)
    assert [large.smaller(row=row) for row in large.rows] == [None, eight.budget]
    page = page_of(metrics(trials))
    table = pages.Page(page).tables["robustness-digits-resnet20-linf-0-35"]
    assert table.heads[1:] == ["no attack", "through its own gradient (as the paper)", "without gradient (ε ≤ 8/255)", "worst case"]
    assert [[cell.attributes["class"] for cell in row[3:]] for row in table.rows] == [["num muted", "num"], ["num muted", "num muted"]]
    assert [row[4].text.partition(" ")[0] for row in table.rows] == ["10.0", "60.0"] and table.rows[1][4].text.endswith("(ε ≤ 8/255)")
    drawn = charts.worst(found).partition("data:text/csv;base64,")[2].partition('"')[0]
    rows = [line for line in base64.b64decode(drawn).decode().splitlines() if "no gradient" in line]
    assert len(rows) == 2 and not any("0.35" in line for line in rows)
    assert "no gradient (ε ≤ 8/255)" in summary.summary(tables.read(metrics(trials)))


def test_an_attack_whose_steps_are_too_short_for_its_budget_says_so(metrics):
    short, enough = attack("pgd", "rule", preset="paper"), attack("pgd", "rule")
    outcomes = {"pgd/rule": left(30, 100), "pgd@standard/rule": left(40, 100)}
    found = {one.label: one for one in part(metrics, network("fa", 0, short | enough, outcomes)).planned}
    said = "its 10 steps of 2/255 together go no further than 0.078"  # 20/255
    assert (found["pgd"].short, found["pgd@standard"].short) == (said, "")
    assert replace(found["pgd"], parameters={"eps": 0.35, "alpha": 2 / 255}).short == "its one step is 2/255"
    assert not found["pgd"].thorough and found["pgd@standard"].thorough
    page = text(page_of(metrics([network("fa", 0, short | enough, outcomes)])))
    assert f"pgd (ε = 0.35 in L∞; {said})" in page and f"random_start; {said}" in page and f"pgd: {said}." in page


def test_norms_are_not_mixed(metrics):
    planned = PGD | attack("onepixel", "none", preset="paper") | attack("deepfool", "true")
    outcomes = {"pgd@standard/rule": left(6, 10), "onepixel/none": left(8, 10), "deepfool@standard/true": left(2, 10)}
    found = part(metrics, network("fa", 0, planned, outcomes)).tables()
    assert [(table.budget.words, table.rows[0].worst.over.mean) for table in found] == [
        ("1 pixel", 80),
        ("ε = 0.5 in L2", 20),
        ("ε = 8/255 in L∞", 60),
    ]


def test_pixels_stand_side_by_side(metrics):
    planned = {k: v for name in ("onepixel", "onepixel2", "onepixel3") for k, v in attack(name, "none", preset="paper").items()} | PGD
    outcomes = {
        "onepixel/none": left(8, 10),
        "onepixel2/none": ~left(1, 10),
        "onepixel3/none": left(9, 10),
        "pgd@standard/true": left(1, 10),
    }
    one = network("fa", 0, planned, outcomes)
    pixels, linf = part(metrics, one).grouped()
    assert [table.rows[0].worst.over.mean for table in pixels] == [80, 70, 70] and len(linf) == 1
    page = text(page_of(metrics([one])))
    assert "Within 1 pixel, 2 pixels, 3 pixels rule no attack 1 pixel 2 pixels 3 pixels FA 100.0 [69.2, 100.0] 80.0 " in page


def test_one_network_has_its_images_interval_and_several_that_of_their_seeds(metrics):
    of = [network("fa", seed, PGD, {"pgd@standard/true": left(robust, 100)}) for seed, robust in enumerate([10, 20, 60])]
    (table,) = part(metrics, of[0]).tables()
    exact = stats.binomtest(10, 100).proportion_ci(0.95, "exact")
    assert table.rows[0].worst.interval == pytest.approx((100 * exact.low, 100 * exact.high))
    (table,) = part(metrics, *of).tables()
    low, high = stats.t.interval(0.95, 2, 30, stats.sem([10, 20, 60]))
    assert low < 0 and table.rows[0].worst.interval == pytest.approx((0, high))  # no share is less than none
    (table,) = part(metrics, *of[:2]).tables()
    assert table.rows[0].worst.interval is None  # two seeds bound nothing


def test_bps_own_gradient_is_the_true_one_and_stands_once(metrics):
    trials = [
        network("bp", 0, attack("pgd", "true"), {"pgd@standard/true": left(3, 10)}),
        network("fa", 0, PGD, {"pgd@standard/rule": left(7, 10), "pgd@standard/true": left(2, 10)}),
    ]
    (table,) = part(metrics, *trials).tables()
    bp, fa = table.rows
    assert bp.plain and bp.by_kind["own"].over.mean == 30 and not bp.by_kind["true"].over.n
    assert not fa.plain and fa.by_kind["true"].over.mean == 20
    assert "BP 100.0 [69.2, 100.0] 30.0 [6.7, 65.2] = own 30.0" in text(page_of(metrics(trials)))


def test_a_seed_whose_training_diverged_counts_nowhere(metrics):
    entry, train, evaluation = trial("fa", 1, 0, status="diverged")
    whole = network("fa", 0, PGD, {"pgd@standard/true": left(3, 10)})
    entry["evaluation"] = whole[0]["evaluation"]
    (table,) = part(metrics, whole, (entry, train, evaluation)).tables()
    assert table.rows[0].worst.over.n == 1


def test_transfers_are_a_kind_of_their_own(metrics):
    planned = attack("pgd", "rule", "from-bp", "from-usf")
    outcomes = {"pgd@standard/rule": left(9, 10), "pgd@standard/from-bp": left(5, 10), "pgd@standard/from-usf": ~left(2, 10)}
    found = part(metrics, network("fa", 0, planned, outcomes))
    assert found.tables()[0].rows[0].by_kind["transfer"].over.mean == 30  # images 2, 3 and 4
    assert [(line.way, line.shares[0].over.mean) for line in found.lines()] == [("rule", 90), ("from-bp", 50), ("from-usf", 80)]


# --- curves and distances -------------------------------------------------------------------------------------------------

CURVE = PGD | attack("pgd", "rule", "true", eps=0.01) | attack("pgd", "rule", "true", eps=0.06)
SIZES = {"pgd@standard-eps0.01": 0.01, "pgd@standard": 8 / 255, "pgd@standard-eps0.06": 0.06}


def curved(rule, seed=0):
    robust = {0.01: 8, 8 / 255: 5, 0.06: 1}
    outcomes = {f"{label}/{way}": left(robust[size] + (way == "rule"), 10) for label, size in SIZES.items() for way in ("rule", "true")}
    return network(rule, seed, CURVE, outcomes, clean=left(9, 10))


def test_an_attack_at_several_sizes_is_a_curve_from_no_attack_on(metrics):
    found = part(metrics, curved("fa"))
    (curve,) = found.curves()
    assert [one.label for one in curve] == list(SIZES)
    (_, networks) = found.by_variant[0]
    drawn = found.against_size(curve, networks)
    assert drawn["true"] == (pytest.approx([0, 2.55, 8, 15.3], abs=0.01), [90, 80, 50, 10])
    assert drawn["own"][1] == [90, 90, 60, 20]


def test_points_of_a_curve_alone_have_tables_of_their_own(metrics):
    found = part(metrics, curved("fa"))
    assert [table.budget.words for table in found.tables()] == ["ε = 8/255 in L∞"]
    assert [table.budget.words for table in found.tables(points=True)] == ["ε = 0.01 in L∞", "ε = 0.06 in L∞"]
    assert "pgd@standard-eps0.06" not in charts.attacked(found) and "root scale" in charts.budgets(found)


def test_the_median_distance_is_of_images_that_were_right(metrics):
    distance = np.array([0, 0, 0.1, 0.3, 0.7, 0.9, np.inf])  # two were wrong before, one was never broken
    outcomes = {"deepfool@standard/true": distance > 0.5}
    planned = attack("deepfool", "true")
    one = network("fa", 0, planned, outcomes, clean=distance > 0, distances={"deepfool@standard/true": distance})
    found = part(metrics, one)
    (row,) = found.distances()
    assert row.median.mean == pytest.approx(0.7) and row.left.over.mean == pytest.approx(100 * 3 / 7)
    sizes, shares = found.against_size(*found.minimal(), found.by_variant[0][1])["true"]
    at = dict(zip(np.round(sizes, 3), shares, strict=True))
    assert at[0.0] == pytest.approx(100 * 5 / 7) and at[0.2] == pytest.approx(100 * 4 / 7) and at[1.0] == pytest.approx(100 / 7)
    never = network("fa", 0, planned, outcomes, distances={"deepfool@standard/true": [0.1] + [np.inf] * 6})
    assert "more than half never broken" in page_of(metrics([never]))


# --- as released ----------------------------------------------------------------------------------------------------------


def test_the_public_scripts_number_stands_apart_with_its_caveat(metrics):
    extra = {"released_accuracy_pgd@standard": 61.5}
    page = text(page_of(metrics([network("fa", 0, PGD, {"pgd@standard/rule": left(20, 100)}, **extra)])))
    assert "FA pgd@standard 100.0 [96.4, 100.0] 20.0 [12.7, 29.2] 61.5 " in page.partition("public script would have printed")[2]
    assert "inferred, not proven" in page
    assert "public script" not in page_of(metrics([network("fa", 0, PGD, {"pgd@standard/rule": left(20, 100)})]))


def test_the_mean_of_two_shares_has_no_interval_of_images(metrics):
    one = network("fa", 0, PGD, {"pgd@standard/rule": left(20, 100)}, **{"released_accuracy_pgd@standard": 61.5})
    (block,) = tables.read(metrics([one])).blocks
    assert block.variants[0].interval("released_accuracy_pgd@standard") is None


# --- elsewhere on the page ------------------------------------------------------------------------------------------------


def test_worst_cases_are_compared_by_name_over_seeds(metrics):
    worst = {"searched": [40, 41, 43, 44, 42], "shuffled": [30, 32, 31, 33, 34]}
    trials = [
        network(
            rules, seed, PGD, {"pgd@standard/true": left(found, 100)}, parent="darts", **{"worst_case_accuracy_linf_0.0314": float(found)}
        )
        for rules, by in worst.items()
        for seed, found in enumerate(by)
    ]
    asked = named("darts-bio/searched", "darts-bio/shuffled", metric="worst_case_accuracy_linf_0.0314")
    path = metrics(trials, comparisons=[asked])
    (claim,) = claims.claims(tables.read(path))
    assert claim.words == "is higher" and claim.difference.mean == 10
    page = text(page_of(path))
    assert "worst-case accuracy within ε = 8/255 in L∞ 5 +10.00" in page and "on these images under Comparisons" in page
    assert "darts-bio, searched − darts-bio, shuffled (worst case within ε = 8/255 in L∞)" in summary.summary(tables.read(path))


def test_the_papers_one_pixel_stands_beside_the_attack_that_is_alike(metrics):
    """RN56 FA, 1 pixel: 47.80 of 500 images by 30 steps and 150 individuals."""

    def on_cifar(rule, planned, outcomes):
        entry, train, evaluation = network(rule, 0, planned, outcomes)
        return entry | {"dataset": "cifar10", "network": "resnet56"}, train, evaluation

    weak, strong = (attack("onepixel", "none", preset="paper", **more) for more in ({}, {"popsize": 150, "steps": 30}))
    outcomes = {"onepixel/none": left(70, 100), "onepixel@popsize150-steps30/none": left(45, 100)}
    for planned, found, words in ((weak | strong, 45, "onepixel@popsize150-steps30 without gradient"), (weak, 70, "")):
        ran = {key: each for key, each in outcomes.items() if key.partition("/")[0] in planned}
        rows = paper.compare(tables.read(metrics([on_cifar("fa", planned, ran)])))
        (row,) = [row for row in rows if row.cited.unit == "1 pixel"]
        assert (row.cited.paper, row.ours.mean, row.interval is None) == (47.8, found, False) and words in row.label


def test_the_summary_has_the_tables_and_the_verdict(metrics):
    one = network("fa", 0, PGD, {"pgd@standard/rule": left(62, 100), "pgd@standard/true": left(3, 100)}, gradient_cosine=0.125)
    lines = summary.summary(tables.read(metrics([one]))).splitlines()
    assert (
        "| resnet20 on digits, robust within ε = 8/255 in L∞, % | no attack | own gradient | true gradient | worst case | seeds |" in lines
    )
    assert "| FA | 100.0 [96.4, 100.0] | 62.0 [51.7, 71.5] | 3.0 [0.6, 8.5] | 3.0 [0.6, 8.5] | 1 |" in lines
    assert any(line.startswith("| FA, resnet20 on digits | masked: within") and line.endswith("| 0.12 |") for line in lines)


def test_images_are_called_the_same_only_where_they_are(metrics):
    one, other = (network(rule, 0, PGD, {"pgd@standard/true": left(3, 10)}) for rule in ("fa", "usf"))
    assert "are the same for every network" in page_of(metrics([one, other]))
    other[2].arrays["attacks/image_ids"][0] = 99
    assert "do not say" in page_of(metrics([one, other]))


def test_files_of_an_earlier_version_are_refused_in_one_line(metrics):
    entry, *runs = network("fa", 0, PGD, {"pgd@standard/true": left(3, 10)})
    entry["evaluation"] |= {"attacks": [["pgd", "true"]]}
    with pytest.raises(ValueError, match="earlier version"):
        tables.read(metrics([(entry, *runs)]))
