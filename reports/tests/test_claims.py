"""What the definition named is tested, corrected for its number, and said in words only where five seeds allow it."""

import re

import pytest

from reports.numbers import claims, tables
from reports.tests.test_reports import metrics, page_of, trial

__all__ = ["metrics"]  # the fixture


def named(of="resnet20/fa", against="resnet20/bp", seeds=5, **more):
    parts = {"dataset": "digits", "protocols": ["repaired"], "of": of, "against": against, "metric": "test_error", "about": ""}
    return parts | {"seeds": list(range(seeds))} | more


def networks(**errors):
    return [trial(rule, seed, error) for rule, found in errors.items() for seed, error in enumerate(found)]


BP = [1.0, 2.0, 1.5, 1.0, 2.0]


def compared(metrics, trials, *comparisons):
    return claims.claims(tables.read(metrics(trials, comparisons=comparisons)))


def test_words_are_said_of_five_seeds_whose_corrected_interval_leaves_0_out(metrics):
    fa = [error + extra for error, extra in zip(BP, [4.0, 5.0, 6.0, 5.0, 5.0], strict=True)]
    (more,) = compared(metrics, networks(bp=BP, fa=fa), named())
    assert more.words == "errs more" and more.difference.mean == 5.0 and more.interval[0] > 0
    (less,) = compared(metrics, networks(bp=BP, fa=fa), named("resnet20/bp", "resnet20/fa"))
    assert less.words == "errs less" and less.difference.mean == -5.0


@pytest.mark.parametrize(
    ("seeds", "words"), [(0, "no seeds yet"), (1, "1 seed: no interval"), (2, "2 seeds: no interval"), (3, "3 seeds: no claim")]
)
def test_fewer_than_five_seeds_make_no_claim_however_far_apart_they_are(metrics, seeds, words):
    """Old: "more", from three seeds on."""
    fa = [error + 50 + seed for seed, error in enumerate(BP[:seeds])]
    (found,) = compared(metrics, networks(bp=BP, fa=fa), named())
    assert found.words == words and not found.told_apart and (found.interval is not None) == (seeds >= 3)


def test_a_difference_that_stands_alone_falls_among_many(metrics):
    """Differences 1 to 5: t = 3 / (√2.5 / √5) = 4.243, p = 0.0132 by the table of t with 4 degrees of freedom. Four of them: 0.053."""
    trials = networks(bp=BP, fa=[error + i for i, error in enumerate(BP, 1)], usf=BP, brsf=BP)
    (alone,) = compared(metrics, trials, named())
    assert alone.words == "errs more" and alone.step.p == pytest.approx(0.0132, abs=1e-4)
    first, *others = compared(metrics, trials, named(), *(named("resnet20/usf", f"resnet20/{rule}") for rule in ("bp", "brsf", "fa")))
    assert first.words == "tie: not told apart" and first.step.p == pytest.approx(4 * 0.01324, abs=1e-4)
    assert first.interval[0] < 0 < first.interval[1] and first.detectable > first.difference.mean
    assert [other.words for other in others[:2]] == ["the same in every seed: no claim"] * 2


def test_what_was_named_counts_whether_it_ran_or_not_but_for_what_never_could(metrics):
    """Otherwise the correction would be as strict as the cluster was lucky."""
    trials = networks(bp=BP, fa=[error + i for i, error in enumerate(BP, 1)])
    never_ran, one_seed = named("resnet20/usf", "resnet20/bp"), named("resnet20/dfa", "resnet20/bp", seeds=1)
    results = tables.read(metrics(trials, comparisons=[named(), never_ran, one_seed]))
    assert claims.family(results) == 2
    first, second, third = claims.claims(results)
    assert first.step.level == 0.05 / 2 and (second.words, third.words) == ("no seeds yet", "no seeds yet")


def test_other_metrics_are_higher_or_lower(metrics):
    trials = [trial("bp", seed, 1.0) for seed in range(5)] + [trial("fa", seed, 1.0) for seed in range(5)]
    for seed, (_, _, evaluation) in enumerate(trials):
        evaluation.metrics["worst_case_accuracy_linf_0.0314"] = seed * seed % 7 + (0 if seed < 5 else 40)
    (found,) = compared(metrics, trials, named(metric="worst_case_accuracy_linf_0.0314"))
    assert found.words == "is higher"


def test_the_page_says_how_many_and_asks_the_question_once(metrics):
    fa = [error + extra for error, extra in zip(BP, [4.0, 5.0, 6.0, 5.0, 5.0], strict=True)]
    comparisons = [named(about="What <b> costs"), named("resnet20/usf", about="What <b> costs")]
    page = page_of(metrics(networks(bp=BP, fa=fa, usf=[error + (i - 2) / 10 for i, error in enumerate(BP)]), comparisons=comparisons))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert page.count("What &lt;b&gt; costs") == 1 and 'href="#comparisons"' in page and 'id="comparisons"' in page
    assert "2 comparisons, all in one family" in text
    # Differences 4, 5, 6, 5, 5: sd √0.5, and t of 4 degrees of freedom at 97.5 % is 3.495; −0.2 to 0.2: sd 0.1581, at 95 % 2.776.
    assert "resnet20, FA resnet20, BP digits test error 5 +5.00 [+3.89, +6.11] 97.5 &lt; 0.001 errs more –" in text
    assert re.search(r"resnet20, uSF resnet20, BP digits test error 5 \+0.00 \[-0.20, \+0.20\] 95 1.000 tie: not told apart 0\.\d\d", text)


def test_without_comparisons_there_is_no_section_and_an_older_file_is_read(metrics):
    results = tables.read(metrics(networks(bp=BP)))
    del results.plan["comparisons"]
    assert claims.claims(results) == [] and "#comparisons" not in page_of(metrics(networks(bp=BP)))
