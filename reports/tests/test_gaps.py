"""What is missing in its place, with a clear word and why; and what is added to the catalog, shown like ours."""

import json
import re
from html import unescape
from itertools import pairwise

import h5py
import pytest

from bionas import catalog
from reports.numbers import attacked, gaps, names, tables
from reports.tests.attacked import attack, left, network
from reports.tests.test_reports import EVIL, TRIALS, metrics, page_of, search, trial

__all__ = ["metrics"]  # the fixture


def without(path, *absent):
    """Take (run's path, stage, reason) out of a file, as a partial one has it."""
    with h5py.File(path, "a") as file:
        for run, stage, _ in absent:
            name = run if stage == "search" else f"{run}/{stage}"
            if name in file:
                del file[name]
        file["missing"] = json.dumps([{"run": run, "stage": stage, "reason": reason} for run, stage, reason in absent])
    return path


def run(rule, seed):
    return f"trial/digits/resnet20/{rule}/seed{seed}-0000000{seed}"


def both(rule, seed, reason):
    return [(run(rule, seed), "train", reason), (run(rule, seed), "evaluation", "its training is missing")]


def text(page):
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def section(page, title):
    return page.partition(f">{title}")[2].partition("<h2")[0]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("not run yet", "missing (not run yet)"),
        ("failed: ValueError: red: hot", "failed (ValueError: red: hot)"),
        ("its search is missing", "missing (its search is missing)"),
        ("running: pid 7 on gpu1", "missing (running: pid 7 on gpu1)"),
    ],
)
def test_a_reason_is_a_status_in_clear_words_in_its_tables_place(metrics, reason, status):
    path = without(metrics(TRIALS), *both("fa", 1, reason))
    results = tables.read(path)
    (gap,) = gaps.gaps(results).of_block(results.blocks[0])
    assert (gap.what, gap.stage, gap.status, gap.seed_words) == ("FA", "training", status, "seed 1")
    page = page_of(path)
    place = section(page, "Accuracy by learning rule")
    assert f"<b>FA</b>: training {status}, seed 1" in unescape(place) and "2 of 8 results missing" in page
    assert "ResNet-20 on digits: 2 rules × 1 to 2 of 2 seeds" in place


def test_what_ended_otherwise_than_well_has_its_word_and_what_follows_from_it_is_not_said_twice(metrics):
    trials = [*TRIALS, trial("usf", 0, 0, status="diverged"), trial("usf", 1, 0, status="skipped(parent diverged)")]
    results = tables.read(metrics(trials))
    found = [(gap.what, gap.stage, gap.status, gap.seeds) for gap in gaps.gaps(results).of_block(results.blocks[0])]
    assert found == [("uSF", "training", "diverged", (0,)), ("uSF", "training", "skipped (parent diverged)", (1,))]


def test_a_missing_evaluation_stands_under_its_robustness(metrics):
    path = without(metrics(TRIALS), (run("bp", 0), "evaluation", "failed: OutOfMemoryError"))
    robustness = text(section(page_of(path), "Robustness</h2"))
    assert "Not attacked: BP : attacks and analyses failed (OutOfMemoryError), seed 0" in robustness
    assert "of 2 rules × 1 to 2 of 2 seeds, 2 images each" in robustness


def test_a_table_of_which_nothing_has_been_attacked_stands_with_why(metrics):
    path = without(metrics(TRIALS), *((run(rule, seed), "evaluation", "not run yet") for rule in ("bp", "fa") for seed in (0, 1)))
    page = page_of(path)
    assert "ResNet-20 on digits: robust accuracy No network here has been attacked: missing (not run yet)." in text(page)
    assert 'href="#robustness"' in page and "masking" not in re.findall(r'id="([^"]+)"', page)


def test_with_zero_runs_every_block_stands_and_nothing_is_drawn_or_claimed(metrics):
    absent = [gap for rule in ("bp", "fa") for seed in (0, 1) for gap in both(rule, seed, "not run yet")]
    path = without(metrics(TRIALS, searches=[search(0)]), *absent, ("search/digits/darts-bio/seed0-0", "search", "not run yet"))
    page = page_of(path)
    words = text(page)
    assert "9 of 9 results missing" in words and "5 not run yet, 4 waiting for another" in words
    assert (
        "ResNet-20 on digits: 2 rules × 0 of 2 seeds" in words
        and "Not run yet: BP, FA : training missing (not run yet), all seeds" in words
    )
    assert "Searches that are not here: darts-bio : search missing (not run yet), seed 0" in words
    assert "Nothing has been trained yet, so nothing is found" in words
    assert not re.search(r"\bnan\b", words.partition("Findings")[2].partition("Provenance")[0]) and "Traceback" not in words


def test_reasons_are_escaped_and_a_long_list_is_cut_at_the_top_and_joined_below(metrics):
    trials = [trial("fa", seed, 1.0) for seed in range(5)]
    rules = [f"x{i}" for i in range(130)]
    more = [trial(rule, 0, 1.0) for rule in rules]
    absent = [(run("fa", 0), "train", f"failed: {EVIL}"), *(gap for rule in rules for gap in both(rule, 0, "not run yet"))]
    page = page_of(without(metrics([*trials, *more]), *absent))
    assert "<script>alert" not in page and "failed (&lt;script&gt;" in page
    assert page.partition('id="missing"')[2].partition("</section>")[0].count("<tr>") == 1 + gaps.MOST
    assert "And 61 more" in page and "130 networks, from x0 to x129" in page


def test_a_whole_benchmark_says_nothing_of_gaps(metrics):
    page = page_of(metrics(TRIALS))
    assert 'class="gaps"' not in page and 'id="missing"' not in page
    assert "ResNet-20 on digits: 2 rules × 2 seeds" in page


# --- headlines ---------------------------------------------------------------------------------------------------------


def test_every_headline_names_network_data_and_n(metrics):
    page = page_of(
        metrics([*TRIALS, *(trial("searched", seed, 3.0, parent="darts") for seed in range(2))], searches=[search(0), search(1)])
    )
    heads = re.findall(r"<h[23][^>]*>([^<]*)<", page)
    assert "ResNet-20 on digits: 2 rules × 2 seeds" in heads and "Networks from genotypes on digits: 1 network × 2 seeds" in heads
    assert "ResNet-20 on digits: robust accuracy, %, of 2 rules × 2 seeds, 2 images each" in heads
    assert "Searches: 1 × 2 seeds on digits" in heads
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_attacks_stand_with_their_budget_where_those_of_several_meet(metrics):
    """ε = 0.35 and 8/255 in one table."""
    planned = attack("fgsm", "rule", preset="paper") | attack("tpgd", "rule")
    trials = [network("fa", 0, planned, {"fgsm/rule": left(3, 20), "tpgd@standard/rule": left(9, 20)})]
    words = text(page_of(metrics(trials)))
    assert "Attacks that count: fgsm (ε = 0.35 in L∞), tpgd@standard (ε = 8/255 in L∞), each from its own budget on." in words
    results = tables.read(metrics(trials))
    known = attacked.metric_in_full("robust_accuracy_fgsm_rule", results.attacks)
    assert known == "robust accuracy, fgsm (ε = 0.35 in L∞) through its own gradient"


# --- what is added to the catalog ---------------------------------------------------------------------------------------


def test_an_added_rule_has_its_layers_its_name_and_its_findings(metrics, monkeypatch):
    monkeypatch.setitem(catalog.RULES, "wm", "bionas.rules.table:WM")
    monkeypatch.setitem(catalog.SPELLING, "wm", "Weight Mirrors")
    trials = [*(trial("bp", s, e) for s, e in enumerate([1.0, 2.0, 1.5])), *(trial("wm", s, e) for s, e in enumerate([4.0, 6.0, 5.0]))]
    page = page_of(metrics(trials))
    assert "Weight Mirrors 20 (268 k)" in page and "beside BP, Weight Mirrors errs 3.50 points more" in page
    assert names.spell("wm") == "Weight Mirrors" and names.colour("wm").startswith("#")


def test_a_rule_that_the_catalog_does_not_know_has_its_layers_all_the_same(metrics):
    (block,) = tables.read(metrics([trial("gone", 0, 4.0)])).blocks
    assert [(rule, layers.mean) for rule, (layers, _) in block.variants[0].layers.items()] == [("gone", 20)]


def test_an_added_attack_is_credited_to_whoever_the_catalog_says(metrics, monkeypatch):
    monkeypatch.setitem(catalog.ATTACKS, "mine", catalog.Attack("x:Mine", "linf", "Doe 2031", standard={"eps": 8 / 255, "steps": 10}))
    page = text(page_of(metrics([network("fa", 0, attack("mine", "rule"), {"mine@standard/rule": left(3, 20)})])))
    assert re.search(r"mine@standard ε = 8/255 in L∞ steps 10 Doe 2031 ", page)
    assert "paper §3.5" not in page.partition("Attack by attack")[2].partition("Learning curves")[0]
    assert "Attacks that count: mine@standard (ε = 8/255 in L∞)." in page


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"norm": "linf", "source": "Doe 2031", "minimal": False}, r"gone ε = 8/255 in L∞ steps 10 Doe 2031 "),  # a plugin's
        ({}, r"gone ε = 8/255 in unknown steps 10 not known here "),
    ],
)
def test_an_attack_that_the_catalog_does_not_know_is_shown_as_its_run_says(metrics, said, words):
    gone = {"gone": {"attack": "gone", "parameters": {"eps": 8 / 255, "steps": 10}, "gradients": ["rule"], **said}}
    page = text(
        page_of(
            metrics([network("fa", 0, {**gone, **attack("fgsm", "rule")}, {"gone/rule": left(3, 20), "fgsm@standard/rule": left(4, 20)})])
        )
    )
    assert re.search(words, page)
    assert page.index("fgsm@standard ε") < page.index("gone ε")  # behind those that are known


def test_a_rule_that_the_catalog_does_not_know_has_its_name_a_colour_of_no_other_and_the_last_place(metrics):
    page = page_of(metrics([trial("bp", 0, 1.0), trial("gone", 0, 4.0)]))
    assert "gone" in page and names.colour("gone") not in names.COLOURS.values()
    assert (
        names.spell("gone") == "gone" and names.colour("gone") == names.colour("lost") and names.ordered(["gone", "bp", "fa"])[-1] == "gone"
    )
