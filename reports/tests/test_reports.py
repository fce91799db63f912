"""The page: the numbers that are in the file, escaped, in one file, at peace with a real browser."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

from reports import charts, render
from reports.numbers import names, rates, spread, tables
from reports.numbers.statistics import Summary
from suite import store

EVIL = "<script>alert(1)</script>\"'&"


def trial(rule, seed, error, status="ok", robust=(True, True), parent=None):
    """One trial's plan entry and its two runs; robust: under fgsm, through the rule and through the true gradient."""
    network = f"{parent}-bio" if parent else "resnet20"
    id = f"digits/{network}/{rule}/seed{seed}-0000000{seed}"
    entry = {
        "id": id,
        "dataset": "digits",
        "network": network,
        "parent": parent and f"digits/{parent}-bio/seed{seed}-0",
        "rules": rule,
        "seed": seed,
        "settings": {"lr": 0.1},
        "threads": 1,
    }
    entry |= {"protocols": ["repaired"], "overrides": []}
    fgsm = {"attack": "fgsm", "parameters": {"eps": 0.35}, "gradients": ["rule", "true"]}
    onepixel = {"attack": "onepixel", "parameters": {"pixels": 1, "steps": 10, "popsize": 10}, "gradients": ["none"]}
    entry["evaluation"] = {"id": "e", "images": 2, "attacks": {"fgsm": fgsm, "onepixel": onepixel}}
    metrics = {"num_parameters": 269_034, "flops": 2_520_000, "train_accuracy": 99.0, f"layers_{rule}": 20, f"weights_{rule}": 268_000}
    metrics |= {"test_error": error} if status == "ok" else {}
    metrics |= {"genotype": "{}"} if parent else {}
    curves = {f"curves/{c}": np.array([2.0, 1.0]) for c in ("lr", "train_loss", "train_accuracy")}
    curves |= {"curves/val_accuracy": np.array([np.nan, np.nan])}
    train = store.Run("train", id, {}, status, metrics, curves, {"seconds": 60.0}, {"commit": EVIL, "device": "cpu"})
    by_rule, by_true = (np.array([True, flag]) for flag in robust)
    outcome = {"robust_accuracy_fgsm_rule": 100 * by_rule.mean(), "robust_accuracy_fgsm_true": 100 * by_true.mean()}
    outcome |= {"clean_accuracy": 100.0, "worst_case_accuracy_linf_0.35": 50.0, "robust_accuracy_onepixel_none": 50.0}
    arrays = {"attacks/fgsm/rule/robust_correct": by_rule, "attacks/fgsm/true/robust_correct": by_true}
    arrays |= {"attacks/onepixel/none/robust_correct": np.array([True, False]), "attacks/image_ids": np.array([3, 8])}
    if status != "ok":
        return entry, train, store.Run("evaluation", id, {}, f"skipped(parent {status})")
    evaluation = store.Run("evaluation", id, {}, "ok", outcome, arrays)
    return entry, train, evaluation


def search(seed, method="darts", judged=80.0):
    """One search's plan entry and its run."""
    name = f"{method}-bio"
    entry = {"id": f"digits/{name}/seed{seed}-0", "dataset": "digits", "name": name, "method": method, "rule_set": ["fa", "usf"]}
    entry |= {"protocols": ["repaired"], "settings": {"variant": "repaired"}, "seed": seed}
    cells = {
        kind: [["sep_conv_3x3:usf", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["dil_conv_5x5:fa", 1]] for kind in ("normal", "reduce")
    }
    metrics = {
        "val_accuracy": judged + seed,
        "alpha_span": 0.1,
        "candidates": 8,
        "images_trained": 10,
        "images_judged": 20,
        "multiply_adds": 3 * 10**12,
    }
    curves = {"curves/val_accuracy": np.array([50.0, 80.0]), "curves/alpha_span": np.array([0.0, 0.1])}
    run = store.Run("search", entry["id"], {}, "ok", {**metrics, "genotype": json.dumps(cells)}, curves, {"search_seconds": 90.0})
    return entry, run


@pytest.fixture
def metrics(tmp_path):
    def make(trials, verdict=(), searches=(), comparisons=()):
        path = tmp_path / "metrics.h5"
        with h5py.File(path, "w") as file:
            for entry, train, evaluation in trials:
                store.write_group(file.create_group(f"trial/{entry['id']}/train"), train)
                store.write_group(file.create_group(f"trial/{entry['id']}/evaluation"), evaluation)
            entries = [entry for entry, *_ in trials]
            for entry, run in searches:
                store.write_group(file.create_group(f"search/{entry['id']}"), run)
            plan = {"benchmark": "demo", "about": EVIL, "datasets": ["digits"], "trials": entries, "searches": [e for e, _ in searches]}
            file["plan"] = json.dumps(plan | {"skipped": [{"what": EVIL, "reason": "r"}], "comparisons": list(comparisons)})
            file["definition"], file["verdict"] = f"about: {EVIL}", json.dumps(list(verdict))
        return path

    return make


TRIALS = [
    *(trial("bp", seed, error) for seed, error in enumerate([1.0, 2.0])),
    *(trial("fa", seed, error, robust=(True, False)) for seed, error in enumerate([5.0, 8.0])),
]


def test_summaries_by_hand():
    assert f"{Summary.of([1.0, 2.0, 6.0]):.2f}" == "3.00 ± 2.65"  # sd: √((4 + 1 + 9) / 2)
    assert f"{Summary.of([1.0]):.2f}" == "1.00"
    assert f"{Summary.of([]):.2f}" == "–"


def test_difference_to_bp_is_paired_by_seed_with_a_t_interval_from_three_seeds_on(metrics):
    (block,) = tables.read(metrics(TRIALS)).blocks
    bp, fa = block.variants
    assert block.difference(bp, "test_error") == "–"
    assert block.difference(fa, "test_error") == "+5.00"  # of 4 and 6
    (block,) = tables.read(metrics([*TRIALS, trial("bp", 2, 1.0), trial("fa", 2, 6.0)])).blocks
    # differences 4, 6 and 5: mean 5, sd 1, half-width 4.3027 / √3
    assert block.difference(block.variants[1], "test_error") == "+5.00 [+2.52, +7.48]"


def test_what_a_search_computed_stands_beside_how_many_images_it_saw(metrics, tmp_path):
    render.main([str(metrics(TRIALS, searches=[search(0)])), str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    cells = [("10.0", "10"), ("20.0", "20"), ("3000000000000.0", "3 T")]
    assert "".join(f'<td class="num" data-order="{full}">{shown}</td>' for full, shown in cells) in page


def test_a_diverged_seed_leaves_the_other_seeds_columns_alone(metrics):
    (block,) = tables.read(metrics([*TRIALS, trial("fa", 2, 0, status="diverged")])).blocks
    fa = block.variants[1]
    assert fa.metric("train_accuracy").n == fa.metric("test_error").n == 2 and fa.failed == ["seed 2: diverged"]


def test_a_cell_that_was_moved_is_neither_named_as_nor_compared_with_one_that_was_searched_here(metrics):
    """On CIFAR-100, two rows were called darts-bio, and one was subtracted from the other."""

    def moved(rules, seed, error):
        entry, train, evaluation = trial(rules, seed, error, parent="darts")
        entry["parent"] = entry["parent"].replace("digits/", "elsewhere/")
        entry["id"] = train_id = entry["id"].replace("darts-bio", "darts-bio@elsewhere")
        return entry, replace(train, id=train_id), replace(evaluation, id=train_id)

    own = [trial(rules, seed, error, parent="darts") for rules, error in (("searched", 4.0), ("usf", 6.0)) for seed in (0, 1)]
    (block,) = tables.read(
        metrics([*own, *(moved(rules, seed, error) for rules, error in (("searched", 9.0), ("usf", 8.0)) for seed in (0, 1))])
    ).blocks
    found = [names.name(v, block) for v in block.variants]
    assert found == ["darts-bio, searched", "darts-bio, uSF", "darts-bio@elsewhere, searched", "darts-bio@elsewhere, uSF"]
    assert [block.difference(v, "test_error") for v in block.variants] == ["–", "+2.00", "–", "-1.00"]
    svg = charts.curves(block) + charts.errors(block)
    assert all(name in svg for name in found)


def test_searches_on_two_data_sets_have_two_names_in_their_figure(metrics):
    other = search(0)
    other[0].update(dataset="elsewhere", id="elsewhere/darts-bio/seed0-1")
    svg = charts.searches(tables.read(metrics([], searches=[search(0), other])).searches)
    assert "darts-bio on digits" in svg and "darts-bio on elsewhere" in svg


def test_a_single_network_has_the_interval_of_its_test_images(metrics):
    """0 of 360 images: the upper end is 1 − 0.025^(1/360), in percent 1.02; 100 of 100 likewise from below, 100 × 0.025^(1/100)."""
    entry, train, evaluation = trial("bp", 0, 0.0)
    alone = (
        entry,
        replace(train, metrics={**train.metrics, "test_images": 360}),
        replace(evaluation, metrics={**evaluation.metrics, "images": 100}, arrays={"attacks/fgsm/true/robust_correct": np.ones(100, bool)}),
    )
    (block,) = tables.read(metrics([alone])).blocks
    (bp,) = block.variants
    assert bp.interval("test_error") == pytest.approx((0, 100 * (1 - 0.025 ** (1 / 360))))
    assert bp.interval("clean_accuracy") == pytest.approx((100 * 0.025 ** (1 / 100), 100))
    assert bp.interval("train_accuracy") is None and bp.interval("num_parameters") is None
    page = page_of(metrics([alone]))
    assert "[0.0, 1.0]" in page and "[96.4, 100.0]" in page and "[0.00, 1.02]" in page
    (block,) = tables.read(metrics([alone, trial("bp", 1, 1.0)])).blocks
    assert block.variants[0].interval("test_error") is None  # of two networks, their spread says more


def page_of(path):
    """The page without its scripts and styles, which hold no data."""
    return re.sub(r"<(script|style)>.*?</\1>", "", render.render(tables.read(path)), flags=re.DOTALL)


def without_scripts(page):
    """What stands on a page: neither scripts, nor what they read."""
    return re.sub(r"<script\b[^>]*>.*?</script>", "", page, flags=re.DOTALL)


def test_page_shows_the_numbers_of_the_file(metrics):
    text = re.sub(r"<[^>]+>", " ", page_of(metrics(TRIALS)))
    for words in (
        "6.50 ± 2.12",
        "1.50 ± 0.71",
        "269 k",
        "2.52 M",
        "FA 20 (268 k)",
        "Nothing here is judged as passed or failed",
        "Within ε = 0.35 in L∞",
    ):
        assert words in re.sub(r"\s+", " ", text), words


def test_what_a_page_does_not_show_its_captions_do_not_speak_of(metrics):
    """Two seeds of one network, no cells, no comparisons, no search: neither genotypes nor intervals of differences."""
    plain = without_scripts(page_of(metrics(TRIALS)))
    for words in ("genotype", "random search", "different protocols", "the interval of a difference", "lines 95 % intervals"):
        assert words not in plain.partition('id="robustness"')[0], words
    assert "a thick one is its 95 % interval" not in plain and "Masked”:" not in plain
    searched = without_scripts(page_of(metrics(TRIALS, searches=[search(0)])))
    assert "random search ranks" not in searched and "its cell is trained anew" not in searched


def test_searches_and_their_genotypes_are_shown(metrics):
    page = page_of(metrics(TRIALS, searches=[search(0), search(1)]))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for words in ("darts-bio", "FA, uSF", "80.50 ± 0.71", "1.5 min", "Genotypes of darts-bio on digits", "normal cell", "dil 5×5"):
        assert words in text, words
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_searches_alone_make_a_page_without_empty_sections_and_are_told_apart_by_protocol(metrics):
    other = search(0)
    other[0].update(protocols=["released"], id="digits/darts-bio/seed0-1")
    page = page_of(metrics([], searches=[search(0), other]))
    assert "darts-bio released" in page and "trained networks" not in page
    assert 'id="accuracy"' not in page and 'id="curves"' not in page and 'id="provenance"' in page


def test_a_missed_bound_and_a_diverged_run_are_seen(metrics):
    row = {"run": "trial/x", "metric": "test_error", "bound": "at_most", "limit": 1.0, "found": None, "kept": False}
    text = page_of(metrics([*TRIALS, trial("usf", 0, 0, status="diverged")], [row]))
    assert "1 of 1 bounds missed" in text and "<b>uSF</b>: training diverged, seed 0" in text and "missing" in text


def test_everything_from_data_is_escaped(metrics):
    page = page_of(metrics(TRIALS))
    assert EVIL not in page and "<script" not in without_scripts(page) and "&lt;script&gt;alert(1)" in page


class References(HTMLParser):
    """Collects everything that a page points to."""

    def __init__(self):
        super().__init__()
        self.found, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.found.append(value)
            if name == "id":
                self.ids.append(value)


def test_page_points_to_nothing_outside_itself_and_ids_are_unique(metrics):
    parser = References()
    text = page_of(metrics(TRIALS))
    parser.feed(text)
    assert [ref for ref in parser.found if not ref.startswith(("#", "data:"))] == []
    assert len(parser.ids) == len(set(parser.ids))
    assert {ref[1:] for ref in parser.found if ref.startswith("#")} <= set(parser.ids)
    assert "@import" not in text and "url(http" not in text


def test_rendering_is_a_function_of_the_file(metrics):
    path = metrics(TRIALS)
    assert page_of(path) == page_of(path)


def test_bad_input_is_one_line(tmp_path):
    path = tmp_path / "metrics.h5"
    for make in (lambda: None, lambda: path.write_bytes(b"x"), lambda: h5py.File(path, "w").close()):
        make()
        with pytest.raises(ValueError, match=r"metrics\.h5") as error:
            render.main([str(path), str(tmp_path / "r.html")])
        assert "\n" not in str(error.value)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.browser
def test_a_real_browser_finds_nothing_to_complain_about_and_fetches_nothing(metrics, tmp_path, opened):
    page_file = tmp_path / "report.html"
    render.main([str(metrics(TRIALS, searches=[search(0), search(1)])), str(page_file)])
    page = opened(page_file, width=1100)
    assert page.locator("figure .chart").count() > 5
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    boxes = [figure.bounding_box() for figure in page.locator("figure .chart:visible .panel").all()]
    assert all(box["width"] > 200 and box["height"] > 50 for box in boxes)


def tuned(rule, seed, error, grid, **own):
    """A trial of which every rate was tried once, and what the rates' runs found; None diverged."""
    entry, train, evaluation = trial(rule, seed, error, **own)
    entry["settings"] = {"lr": "tuned"}
    entry["tuning"] = [[rate, [f"digits/resnet20/{rule}/tuning-lr{rate}"]] for rate in grid]
    found = []
    for (_, (id,)), accuracy in zip(entry["tuning"], grid.values(), strict=True):
        status = "ok" if accuracy is not None else "diverged"
        found.append(({"id": id, "seed": 0}, store.Run("train", id, {}, status, {} if accuracy is None else {"val_accuracy": accuracy})))
    return (entry, train, evaluation), found


def with_tuning(path, tuning):
    with h5py.File(path, "a") as file:
        plan = json.loads(file["plan"].asstr()[()]) | {"tuning": [entry for entry, _ in tuning]}
        del file["plan"]
        file["plan"] = json.dumps(plan)
        for entry, run in tuning:
            store.write_group(file.create_group(f"trial/{entry['id']}/train"), run)
    return path


def test_rates_that_were_tried_have_a_table_of_their_own_and_are_in_no_other(metrics):
    bp, bp_tuning = tuned("bp", 0, 1.0, {0.01: 90.0, 0.1: 96.25, 0.3: None})
    fa, fa_tuning = tuned("fa", 0, 2.0, {0.01: 91.0, 0.1: 90.0, 0.3: 80.0})
    path = with_tuning(metrics([bp, fa]), bp_tuning + fa_tuning)
    results = tables.read(path)
    assert [len(v.trains) for block in results.blocks for v in block.variants] == [1, 1]
    assert [(row.variant.rules, row.rates.chosen, row.rates.on_edge) for row in rates.tried(results)] == [
        ("bp", 0.1, False),
        ("fa", 0.01, True),
    ]
    page = render.render(results)
    table = page.partition("Learning rates")[2].partition("</table>")[0]
    assert re.findall(r"<b>([\d.]+)</b>", table) == ["96.25", "91.00"]
    assert table.count("none ended well") == 1 and table.count("at the grid&#39;s edge") + table.count("at the grid's edge") == 1
    runs = page.partition('id="runs"')[2].partition("</table>")[0]
    assert page.count("tuning-lr0.01") == runs.count("tuning-lr0.01") > 0  # in the list of runs, and nowhere else
    assert "<b>2</b>trained networks" in page


def test_a_model_that_no_rate_trains_stays_among_the_models(metrics):
    bp, bp_tuning = tuned("bp", 0, 0.0, {0.1: None, 0.3: None}, status="skipped(no rate of the grid trains it)")
    results = tables.read(with_tuning(metrics([bp]), bp_tuning))
    assert [block.network for block in results.blocks] == ["resnet20"]
    assert "no rate trains it" in render.render(results)


def retrained(rule, errors):
    """Trials of seeds, {seed: [errors of its trainings]}."""
    found = []
    for seed, all_errors in errors.items():
        for again, error in enumerate(all_errors):
            entry, train, evaluation = trial(rule, seed + 1000 * again, error, parent="darts")
            entry["parent"] = f"digits/darts-bio/seed{seed}-0"
            entry |= {"of_seed": seed} if again else {}
            found.append((entry, train, evaluation))
    return found


def test_a_seed_that_was_trained_more_than_once_counts_once(metrics):
    trials = [*retrained("searched", {0: [1.0, 3.0], 1: [6.0, 8.0], 2: [4.0]}), *retrained("fa", {0: [5.0], 1: [8.0], 2: [9.0]})]
    results = tables.read(metrics(trials))
    (block,) = results.blocks
    searched, fa = block.variants
    assert searched.by_retraining("test_error") == {0: [1.0, 3.0], 1: [6.0, 8.0], 2: [4.0]}
    assert searched.by_seed("test_error") == {0: 2.0, 1: 7.0, 2: 4.0}
    assert searched.metric("test_error").n == 3 and results.seeds == {0, 1, 2}
    assert block.difference(fa, "test_error").startswith("+3.00")  # 3, 1 and 5


def test_the_spread_of_a_retrained_network_is_told_apart(metrics):
    trials = [*retrained("searched", {0: [1.0, 3.0], 1: [6.0, 8.0]}), *retrained("fa", {0: [5.0], 1: [8.0]})]
    results = tables.read(metrics(trials))
    (row,) = spread.spreads(results)  # fa was trained once
    # means 2 and 7 around 4.5: between 2 · (6.25 + 6.25) = 25 a degree of freedom, within 4 / 2 = 2
    assert row.variant.rules == "searched" and row.components.f == pytest.approx(12.5)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render.render(results).partition("Where the spread comes from")[2]))
    assert " 2 4 3.39 1.41 " in text  # seeds, trainings, √(23 / 2), √2
    assert "Where the spread" not in page_of(metrics(TRIALS)) and "Learning rates" not in page_of(metrics(TRIALS))


def test_runs_of_other_code_are_said_at_the_top_and_marked_and_so_is_what_rests_on_them(metrics):
    path = metrics([*TRIALS, trial("usf", 0, 3.0, parent="darts")], searches=[search(0)])
    assert "†" not in page_of(path)  # a file that does not say
    other = {"made": ["search/digits/darts-bio/seed0-0", "trial/digits/resnet20/fa/seed1-00000001/train"]}
    other |= {"rests": ["trial/digits/darts-bio/usf/seed0-00000000/train"], "anew": f"snakemake {EVIL}", "confirm": "c"}
    with h5py.File(path, "a") as file:
        file["provenance/other_code"] = json.dumps(other)
    results = tables.read(path)
    page = render.render(results)
    assert "2 of 11 runs were made by another version of the code" in page and "1 rest on those" in page
    assert EVIL not in page and "code>.venv/bin/snakemake &lt;script&gt;" in page
    marked = {v.rules: results.by_other_code(v.all_runs) for block in results.blocks for v in block.variants}
    usf = "1 of 2 runs resting on a search or training that another version of the code made"
    assert marked == {"bp": "", "fa": "1 of 4 runs made by another version of the code", "usf": usf}
    assert re.search(
        r"<tr><td class=.name.>darts-bio<sup class=.muted. title=.1 of 1 runs made by another version of the code.>†</sup></td>", page
    )
