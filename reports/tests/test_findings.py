"""Findings: what the statistics allow to be said, by scipy on the raw numbers; and nothing that they do not."""

import random
import re
from dataclasses import replace
from html import unescape

import h5py
import numpy as np
import pytest
from scipy import stats

from reports import render
from reports.numbers import claims, findings, masking, paper, robustness, tables
from reports.numbers.sentences import CLAIM, DESCRIBES, DETAIL, NOTHING, TIE, Finding
from reports.tests.attacked import attack, left, network
from reports.tests.test_claims import named, networks
from reports.tests.test_improvement import cell
from reports.tests.test_met import BP as LENET_BP
from reports.tests.test_met import FA as LENET_FA
from reports.tests.test_met import lenet
from reports.tests.test_reports import EVIL, metrics, retrained, search, trial

__all__ = ["metrics"]  # the fixture

BP = [1.0, 2.0, 1.5, 1.0, 2.0]
FA = [5.0, 7.0, 7.5, 6.0, 7.0]
USF = [1.1, 1.9, 1.6, 0.9, 2.0]


def found(path, robust=False):
    """All findings; what attacks found, which every trial here has some of, alone or left out."""
    results = tables.read(path)
    verdicts = masking.verdicts(robustness.parts(results))
    told = findings.findings(results, claims.claims(results), verdicts, paper.compare(results))
    return [finding for finding in told if (finding.kind == "Robust or masked") == robust]


def texts(path, *tones):
    return [plain(str(finding)) for finding in found(path) if not tones or finding.tone in tones]


def plain(text):
    return text.replace("\xa0", " ")


def interval(ours, theirs, level):
    """The paired t-interval, by scipy, as a sentence has it."""
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(1 - level)
    return f"[{low:+.2f}, {high:+.2f}]".replace("-", "−")


# --- named comparisons ------------------------------------------------------------------------------------------------


def test_a_claim_has_its_sign_in_words_its_interval_at_its_level_its_seeds_and_what_it_is_about(metrics):
    more = metrics(networks(bp=BP, fa=FA), comparisons=[named()])
    ends = interval(FA, BP, 0.05)
    assert texts(more) == [f"ResNet-20 on digits: under FA it errs 5.00 points more than under BP {ends}, 95 %, 5 seeds"]
    less = metrics(networks(bp=BP, fa=FA), comparisons=[named("resnet20/bp", "resnet20/fa")])
    (claim,) = found(less)
    ends = interval(BP, FA, 0.05)
    assert plain(claim.text) == f"under BP it errs 5.00 points less than under FA {ends}, 95 %, 5 seeds"
    assert (claim.tone, claim.n, claim.link, claim.kind) == (CLAIM, 5, "comparisons", "Rules beside BP")
    assert claim.interval == pytest.approx(tuple(stats.ttest_rel(BP, FA).confidence_interval(0.95)))


def test_levels_are_those_of_the_correction_and_a_tie_is_said_as_one_with_what_would_have_been_seen(metrics):
    """Two comparisons: the surer one is tested at 0.05 / 2 and so has a 97.5 % interval, the other then at 0.05."""
    path = metrics(networks(bp=BP, fa=FA, usf=USF), comparisons=[named(), named("resnet20/usf")])
    claim, tie = found(path)
    assert interval(FA, BP, 0.025) in plain(claim.text) and "97.5 %" in plain(claim.text) and claim.tone == CLAIM
    sd = np.std(np.subtract(USF, BP), ddof=1)
    power = stats.nct.sf(stats.t.isf(0.025, 4), 4, float(re.search(r"([\d.]+) points would", tie.text)[1]) / (sd / np.sqrt(5)))
    assert tie.tone == TIE and tie.text.startswith("a tie: under uSF it errs 0.00 points") and interval(USF, BP, 0.05) in plain(tie.text)
    assert power == pytest.approx(0.8, abs=0.03)  # 0.20 has two digits


def test_several_ties_are_named_together_and_folded_one_by_one(metrics):
    """−0.1 and 0.1 in turn, and that mirrored: nobody can tell these apart."""
    frsf = [error - extra for error, extra in zip(BP, [0.2, -0.3, 0.1, -0.1, 0.2], strict=True)]
    comparisons = [named(), named("resnet20/usf"), named("resnet20/frsf")]
    path = metrics(networks(bp=BP, fa=FA, usf=USF, frsf=frsf), comparisons=comparisons)
    shown, folded = findings.split(found(path))
    assert [finding.tone for finding in shown] == [CLAIM, TIE] and [finding.tone for finding in folded] == [DETAIL, DETAIL]
    assert "2 of 3 named comparisons are ties: 5 seeds do not tell" in shown[1].text
    assert all(finding.text.startswith("a tie: under ") for finding in folded)


@pytest.mark.parametrize(("seeds", "why"), [(0, "no seeds yet"), (1, "1 seed"), (2, "2 seeds"), (3, "3 seeds"), (4, "4 seeds")])
def test_with_fewer_than_five_seeds_nothing_is_claimed_and_why_is_said(metrics, seeds, why):
    trials = networks(bp=BP[:seeds], fa=[error + 50 + i for i, error in enumerate(BP[:seeds])])
    told = found(metrics([*trials, trial("brsf", 0, 1.0)], comparisons=[named()]))
    assert not any(finding.tone in (CLAIM, TIE) for finding in told)
    (nothing,) = [finding for finding in told if finding.tone == NOTHING]
    assert nothing.text == f"1 of 1 named comparison allows no claim: {why} (an interval takes 3, a claim 5 seeds)"
    details = [plain(finding.text) for finding in told if finding.tone == DETAIL]
    assert len(details) == (seeds >= 3) and all(text.startswith("no claim: ") and f"{seeds} seeds" in text for text in details)


def test_a_single_network_without_comparisons_says_why_nothing_is_claimed(metrics):
    (nothing,) = texts(metrics([trial("bp", 0, 1.0)]))
    assert nothing.startswith("Nothing is claimed: 1 seed at most (intervals need 3, claims 5), and the definition named no comparison")


def test_a_number_that_is_none_is_no_claim_and_no_nan(metrics):
    path = metrics(networks(bp=BP, fa=[5.0, float("nan"), 7.5, 6.0, 7.0]), comparisons=[named()])
    (finding,) = found(path)
    assert finding.tone == NOTHING and "not a number in every seed" in finding.text
    section = render.render(tables.read(path)).partition('<section class="findings"')[2].partition("</section>")[0]
    assert "not a number" in section and not re.search(r"\bnan\b", section, re.IGNORECASE)


def test_of_nothing_nothing_is_found_and_the_page_has_no_such_section(metrics):
    assert found(metrics([])) == []
    page = render.render(tables.read(metrics([])))
    assert 'id="findings"' not in page and "#findings" not in page


def test_what_is_the_same_in_every_seed_is_no_claim(metrics):
    (finding,) = found(metrics(networks(bp=BP, fa=[error + 5 for error in BP]), comparisons=[named()]))
    assert finding.tone == NOTHING and "the same in every seed" in finding.text


@pytest.mark.parametrize(
    ("of", "against", "kind"),
    [
        ("darts-bio/searched", "darts-bio/shuffled", "Mixed against shuffled rules"),
        ("darts-bio/searched", "darts-bio/uninformed", "Searched against controls"),
        ("darts-bio/searched", "random-bio/searched", "Searched against controls"),
        ("darts-bio/searched", "eg-bio/searched", "Search against search"),
        ("darts-bio/searched", "darts-bio/usf", "Mixed against one rule"),
    ],
)
def test_what_a_comparison_is_of_is_said(metrics, of, against, kind):
    trials = [
        trial(side.rpartition("/")[2], seed, error + (seed % 2 + 3 if side == of else 0), parent=side.partition("-")[0])
        for side in (of, against)
        for seed, error in enumerate(BP)
    ]
    searches = [search(0, method) for method in ("darts", "random", "eg")]
    (claim,) = (f for f in found(metrics(trials, searches=searches, comparisons=[named(of, against)])) if f.link == "comparisons")
    assert claim.kind == kind and claim.tone == CLAIM


def test_protocols_and_other_metrics_are_named(metrics):
    worst = "worst_case_accuracy_linf_0.0314"
    trials = networks(bp=BP, fa=FA)
    for entry, _, evaluation in trials:
        evaluation.metrics[worst] = {"bp": 10.0, "fa": 40.0}[entry["rules"]] + entry["seed"] ** 2 % 7 * (entry["rules"] == "fa")
    path = metrics(trials, comparisons=[named(metric=worst), named("resnet20/fa", "resnet20/bp", protocols=["released"])])
    (claim,) = texts(path, CLAIM)
    # 0, 1, 4, 2, 2 more than 30
    head = "ResNet-20 on digits, repaired: under FA, its worst-case accuracy within ε = 8/255 in L∞ is 31.80 points higher than under BP ["
    assert claim.startswith(head)


# --- labels ------------------------------------------------------------------------------------------------------------


def relabelled(path, swap):
    """Swap the trainings of BP and FA in the file, for these seeds."""
    with h5py.File(path, "a") as file:
        for seed in swap:
            one, other = (f"trial/digits/resnet20/{rule}/seed{seed}-0000000{seed}/train" for rule in ("bp", "fa"))
            file.move(one, "kept")
            file.move(other, one)
            file.move("kept", other)
    return path


@pytest.mark.parametrize("draw", range(8))
def test_with_labels_permuted_in_the_file_a_difference_is_no_longer_told(metrics, draw):
    """A real difference of 5 points: swapped in some seeds it is none, swapped in all of them it has the other sign."""
    swap = random.Random(draw).sample(range(5), 1 + draw % 4)
    path = metrics(networks(bp=BP, fa=FA), comparisons=[named()])
    (before,) = texts(path, CLAIM)
    ours = [BP[i] if i in swap else FA[i] for i in range(5)]
    theirs = [FA[i] if i in swap else BP[i] for i in range(5)]
    relabelled(path, swap)
    assert stats.ttest_rel(ours, theirs).pvalue > 0.05 and texts(path, CLAIM) == []
    (tie,) = texts(path, TIE)
    assert interval(ours, theirs, 0.05) in tie and before not in tie
    relabelled(path, set(range(5)) - set(swap))
    (turned,) = texts(path, CLAIM)
    assert "under FA it errs 5.00 points less than under BP" in turned and "5.00 points more" in before


# --- rules beside BP that nobody named ----------------------------------------------------------------------------------


def test_what_rules_cost_beside_bp_describes_with_intervals_by_scipy_and_leaves_named_pairs_to_the_comparison(metrics):
    (described,) = (text for text in texts(metrics(networks(bp=BP, fa=FA, usf=USF))) if "beside BP" in text)
    assert f"ResNet-20 on digits: beside BP, FA errs 5.00 points more {interval(FA, BP, 0.05)}; uSF errs 0.00 points" in described
    assert f"{interval(USF, BP, 0.05)} (0 lies inside); 95 % each and not corrected, 5 seeds; not named beforehand" in described
    path = metrics(networks(bp=BP, fa=FA, usf=USF), comparisons=[named()])
    (described,) = texts(path, DESCRIBES)
    assert "FA" not in described and "uSF" in described
    assert texts(metrics(networks(bp=BP[:2], fa=FA[:2])), DESCRIBES) == []  # two seeds: no interval, no sentence


# --- robust or masked ------------------------------------------------------------------------------------------------------


PGD = attack("pgd", "rule", "true")


def outcomes(own, true, of=100):
    return {"pgd@standard/rule": left(own, of), "pgd@standard/true": left(true, of)}


def test_a_masked_network_is_named_with_the_attack_that_broke_it_and_its_worst_case(metrics):
    told = found(metrics([network("fa", 0, PGD, outcomes(62, 3)), network("usf", 0, PGD, outcomes(50, 49))]), robust=True)
    (masked,) = [finding for finding in told if finding.tone == CLAIM]
    assert stats.binomtest(59, 59).pvalue < 0.05 / 2  # 59 images that only the true gradient breaks
    low, high = stats.binomtest(3, 100).proportion_ci(method="exact")
    words = "masked: within ε = 8/255 in L∞ its own gradient leaves 62.0 %, pgd@standard through the true gradient 3.0 %. "
    words += "The worst case over all attacks within ε = 8/255 in L∞ leaves 3.0 % of images "
    words += f"[{100 * low:.1f}, {100 * high:.1f}], 95 %, 100 images"
    assert plain(str(masked)) == f"ResNet-20 under FA on digits: {words}" and masked.link == "masking"
    (unmasked,) = [finding for finding in told if finding.tone == DESCRIBES]
    assert "1 of 2 attacked networks shows no sign of masking, which is no proof that there is none: ResNet-20 under uSF" in unmasked.text


def test_outcomes_that_swap_their_labels_are_no_longer_masked(metrics):
    assert not [f for f in found(metrics([network("fa", 0, PGD, outcomes(3, 62))]), robust=True) if f.tone == CLAIM]


def test_several_masked_networks_are_named_together_first(metrics):
    told = found(metrics([network(rule, 0, PGD, outcomes(62, i)) for i, rule in enumerate(("fa", "usf", "brsf", "frsf"))]), robust=True)
    assert "4 of 4 attacked networks (1 seed each) are masked: ResNet-20 under FA, uSF, brSF, frSF." in told[0].text
    assert [finding.about for finding in told if finding.tone == CLAIM][1:] == [
        f"ResNet-20 under {rule} on digits" for rule in ("FA", "uSF")
    ]


def test_what_cannot_be_judged_says_why(metrics):
    (judged,) = found(metrics([network("fa", 0, PGD, outcomes(4, 2, of=4))]), robust=True)
    assert "1 of 1 attacked network cannot be judged: 4 images are too few" in judged.text


# --- against the paper --------------------------------------------------------------------------------------------------------


def test_a_printed_number_outside_is_told_without_blame_and_inside_is_counted(metrics):
    """FA selected: 14.1 ± 4.3027 · 0.1 · √(4/3); 13.06 is printed. BP's 9.20 lies inside."""
    told = [finding for finding in found(metrics([*LENET_BP, *LENET_FA])) if finding.kind == "Against a published table"]
    assert "1 of 2 printed numbers lies inside where one more of ours would (95 %, 3 seeds), 1 outside" in plain(told[0].text)
    words = (
        "ours errs 1.04 points more than the printed 13.06 (test error of the best epoch), which lies outside where one more of ours would "
    )
    assert plain(told[1].text).startswith(words + "[13.60, 14.60], 95 %, 3 seeds") and "LeNet FA" in told[1].about
    assert all(finding.link == "paper" and finding.tone == DESCRIBES for finding in told)


def test_too_few_seeds_are_said_once_for_all_tables(metrics):
    (told,) = [f for f in found(metrics([lenet("bp", 0, 9.0, 9.5), lenet("fa", 0, 13.0, 14.0)])) if f.kind == "Against a published table"]
    assert "2 printed numbers with ours beside; 1 seed cannot say" in told.text


# --- what searches moved --------------------------------------------------------------------------------------------------------


def test_improvement_over_random_genotypes_has_its_sign_in_words_and_describes(metrics):
    """Accuracies 90, 89, 89 over 80: 12.5, 11.25, 11.25 %: mean 11.67, sd 0.7217, half-width 4.3027 · 0.7217 / √3 = 1.79."""
    trials = [cell("searched", seed, error) for seed, error in enumerate((10.0, 11.0, 11.0))] + [cell("random", s, 20.0) for s in range(3)]
    (told,) = [t for t in texts(metrics(trials, searches=[search(seed) for seed in range(3)])) if "random genotypes" in t]
    assert told.startswith("darts-bio as searched on digits: 11.67 % better in accuracy than random genotypes of its space")
    assert "[+9.87, +13.46], 95 %, 3 seeds; describes, claims nothing" in told


def test_where_the_spread_comes_from_is_told_from_three_groups_on(metrics):
    errors = {0: [1.0, 1.2], 1: [6.0, 6.4], 2: [4.0, 4.1], 3: [9.0, 9.3], 4: [2.0, 2.4]}
    (told,) = [t for t in texts(metrics(retrained("searched", errors))) if "variance" in t]
    p = stats.f_oneway(*errors.values()).pvalue
    assert p < 0.001 and "5 searches, 10 trainings, p < 0.001; told apart: the search moves the error" in told
    assert not [t for t in texts(metrics(retrained("searched", {s: errors[s] for s in (0, 1)}))) if "variance" in t]


# --- which are shown, and the page ----------------------------------------------------------------------------------------------


def made(tone, kind="k"):
    return Finding(kind, "", tone, tone, 5, "accuracy")


def test_eight_are_shown_claims_first_with_room_for_other_kinds_and_no_detail():
    claims_of_one_kind = [made(CLAIM, "a") for _ in range(9)]
    found = [*claims_of_one_kind, made(TIE, "b"), made(DESCRIBES, "c"), *(made(DETAIL, "d") for _ in range(9))]
    shown, folded = findings.split(found)
    assert [finding.kind for finding in shown] == [*"aaaaaa", "b", "c"] and len(shown) + len(folded) == len(found)
    few, folded = findings.split([made(CLAIM), made(DETAIL)])
    assert [finding.tone for finding in few] == [CLAIM] and [finding.tone for finding in folded] == [DETAIL]


def test_words_that_findings_take_for_known_are_explained_where_they_are_used(metrics):
    def explained(*told, trials=()):
        return [word for word, _ in findings.words(tables.read(metrics(list(trials))), told)]

    assert explained(made(CLAIM)) == ["Told apart"] and explained(made(TIE)) == ["Told apart", "A tie"]
    assert explained(replace(made(CLAIM), text="1 of 2 networks is masked")) == ["Told apart", "Masked"]
    assert explained(made(CLAIM), trials=[trial("uninformed", 0, 1.0)]) == ["Told apart", "Uninformed, permuted α"]


def test_the_page_shows_them_after_the_verdict_escaped_and_every_link_has_its_target(metrics):
    trials = networks(bp=BP, fa=FA, usf=USF)
    for entry, *_ in trials:
        entry["dataset"] = EVIL
    path = metrics(trials, comparisons=[named(dataset=EVIL)])
    page = render.render(tables.read(path))
    section = page.partition('<section class="findings"')[2].partition("</section>")[0]
    assert page.index("Nothing here is judged") < page.index('id="findings"') < page.index('id="comparisons"')
    assert "under FA it errs 5.00 points more than under BP" in section and "&lt;script&gt;" in section and "<script" not in section
    assert "Told apart</b>: the interval of the difference leaves 0 out" in section
    ids = set(re.findall(r'\bid="?([^"\s>]+)', page))
    links = re.findall(r'href="#([^"]+)"', section)
    assert len(links) == section.count("<li") >= 2 and {unescape(link) for link in links} <= ids
