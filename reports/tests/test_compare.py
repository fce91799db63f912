"""Results against earlier ones: paired by seed, tested as scipy does, said in words, and what differs is named."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports import render
from reports.numbers import compare, pairing, tables
from reports.tests.test_merging import as_file, change, networks, plan_of, split
from reports.tests.test_reports import EVIL, metrics, retrained, search, trial
from suite import store

__all__ = ["metrics"]  # the fixture

BP = [1.0, 2.0, 1.5, 1.0, 2.0]
BEFORE = {"bp": BP, "fa": [5.0, 7.0, 7.5, 6.0, 7.0], "usf": [4.0, 4.0, 5.0, 4.5, 4.5]}
AFTER = {"bp": BP, "fa": [4.0, 5.5, 7.0, 5.0, 5.0], "usf": [4.5, 3.5, 5.5, 4.0, 4.75]}


def compared(before, after):
    return compare.compare(tables.read(before), tables.read(after))


def rows_of(found, metric="test_error"):
    return {row.member.label: row for table in found.tables for row in table.rows if row.metric.name == metric}


def text_of(page):
    """The section's text."""
    section = page.partition('<h2 id="against">')[2].partition("<h2 ")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))


def made(trials, seconds=60.0, **provenance):
    """Trials as made somewhere, in some time."""
    recorded = {"commit": "abc", "device": "cpu", "machine": "Linux", "processor": "P", "instructions": "avx2", "threads": 1, **provenance}
    return [(entry, *(replace(run, provenance=recorded, timings={"seconds": seconds}) for run in runs)) for entry, *runs in trials]


@pytest.fixture
def both(metrics):
    return as_file(metrics, "before", networks(**BEFORE)), as_file(metrics, "after", networks(**AFTER))


def test_differences_are_paired_by_seed_and_corrected_over_the_tables_rows(both):
    """p-values by scipy's paired t-test; Holm's correction of two by hand: the smaller one doubled, the other no less than that."""
    found = compared(*both)
    rows = rows_of(found)
    assert list(rows) == ["FA", "uSF"] and found.tables[0].same == ("BP",)
    tests = {rule: stats.ttest_rel(AFTER[rule], BEFORE[rule]) for rule in ("fa", "usf")}
    assert tests["fa"].pvalue < 0.025 < 0.05 < tests["usf"].pvalue
    assert rows["FA"].step.p == pytest.approx(2 * tests["fa"].pvalue)
    assert rows["uSF"].step.p == pytest.approx(tests["usf"].pvalue)
    assert rows["FA"].interval == pytest.approx(tuple(tests["fa"].confidence_interval(1 - 0.05 / 2)))
    assert rows["uSF"].interval == pytest.approx(tuple(tests["usf"].confidence_interval(0.95)))
    assert (rows["FA"].mark, rows["uSF"].mark) == ("better", "not told apart")
    assert rows["FA"].words == "errs 1.20 points less" and rows["uSF"].words == "errs 0.05 points more"
    assert (rows["FA"].before.mean, rows["FA"].after.mean) == pytest.approx((np.mean(BEFORE["fa"]), np.mean(AFTER["fa"])))


def test_the_other_way_round_it_is_worse(both):
    rows = rows_of(compared(*both[::-1]))
    assert rows["FA"].mark == "worse" and rows["FA"].words == "errs 1.20 points more"


def with_worst_cases(trials, values):
    for (_, _, evaluation), value in zip(trials, values, strict=True):
        evaluation.metrics["worst_case_accuracy_linf_0.35"] = value
    return trials


def test_of_accuracies_more_is_better(metrics):
    before, after = [30.0, 32.0, 31.0, 29.0, 30.0], [36.0, 37.5, 37.0, 34.0, 36.5]
    files = [as_file(metrics, f"of{i}", with_worst_cases(networks(bp=BP), values)) for i, values in enumerate((before, after))]
    found = compared(*files)
    row = rows_of(found, "worst_case_accuracy_linf_0.35")["BP"]
    test = stats.ttest_rel(after, before)
    assert len(found.tables[0].rows) == 1  # trainings are the same to the bit
    assert row.metric.words == "worst case within ε = 0.35 in L∞, %"
    assert row.step.p == pytest.approx(test.pvalue) and row.mark == "better" and row.words == "5.80 points higher"


def test_searches_are_compared_by_what_they_judged(metrics):
    judged = [80.0, 82.0, 79.0, 81.0, 83.0], [77.0, 80.0, 76.0, 77.0, 80.0]
    files = [
        as_file(metrics, f"of{i}", [], (), [search(seed, judged=value - seed) for seed, value in enumerate(values)])
        for i, values in enumerate(judged)
    ]
    (table,) = compared(*files).tables
    assert table.title == "searches on digits"
    (row,) = table.rows
    assert row.step.p == pytest.approx(stats.ttest_rel(*judged).pvalue) and row.mark == "worse" and row.words == "3.00 points lower"


FEW = [
    (1, "1 seed: no interval", False),
    (2, "2 seeds: no interval", False),
    (3, "3 seeds: no claim", True),
    (4, "4 seeds: no claim", True),
]


@pytest.mark.parametrize(("seeds", "mark", "interval"), FEW)
def test_fewer_than_five_seeds_say_so_and_from_three_on_have_an_interval(metrics, seeds, mark, interval):
    before, after = ([error + shift * (1 + seed / 100) for seed, error in enumerate(BP[:seeds])] for shift in (0, 40))
    files = [as_file(metrics, side, networks(bp=errors)) for side, errors in (("before", before), ("after", after))]
    found = compared(*files)
    row = rows_of(found)["BP"]
    assert (row.mark, row.interval is not None, row.difference.n) == (mark, interval, seeds)
    assert found.counts == {"with too few seeds to tell": 1}
    text = text_of(render.render(*map(tables.read, files[::-1])))
    said = f"{2 * seeds} runs are in both (one network or search, seed and stage): {seeds} with the same numbers, to the bit, and {seeds}"
    assert f"{said} with others. Of the numbers below: 1 with too few seeds to tell." in text  # attacks found the same


def test_the_same_results_are_said_in_a_line_and_no_table(both):
    found = compared(both[0], both[0])
    assert found.same == len(found.shared) == 30 and not found.differing and not any(table.rows for table in found.tables)
    path = both[0].with_name("copy.h5")
    path.write_bytes(both[0].read_bytes())
    page = render.render(tables.read(both[0]), tables.read(path))
    text = text_of(page)
    assert "All 30 runs that are in both hold the same numbers , to the bit, and took the same time: they are the same runs" in text
    assert "Nothing differs that is recorded" in text and 'id="against-' not in page


def test_numbers_are_the_same_to_the_bit_or_not_at_all():
    run = store.Run(
        "train", "x", {}, "ok", {"a": float("nan"), "b": 1.0, "c": "text"}, {"d": np.array([1.0, np.nan]), "e": np.array(["f"], object)}
    )
    assert pairing.same_numbers(run, replace(run, id="y", params={"threads": 4}, provenance={"commit": "z"}, timings={"seconds": 1}))
    for other in (
        replace(run, status="diverged"),
        replace(run, metrics={**run.metrics, "b": 1.0000000000000002}),
        replace(run, metrics={**run.metrics, "b": 1}),
        replace(run, metrics={"a": float("nan"), "b": 1.0}),
        replace(run, arrays={**run.arrays, "d": np.array([1.0, 2.0])}),
        replace(run, arrays={**run.arrays, "e": np.array(["g"], object)}),
    ):
        assert not pairing.same_numbers(run, other)


def changed(trials, suffix="f", **settings):
    """The same with other settings, and so with other ids."""
    found = []
    for entry, *runs in trials:
        id = entry["id"] + suffix
        found.append(({**entry, "id": id, "settings": {**entry["settings"], **settings}}, *(replace(run, id=id) for run in runs)))
    return found


def test_a_changed_setting_is_named_and_its_runs_are_matched(metrics):
    before = as_file(metrics, "before", networks(**BEFORE))
    now = networks(**AFTER)
    after = as_file(metrics, "after", now[:5] + changed(now[5:10], lr=0.05, nesterov=True) + now[10:])
    found = compared(before, after)
    assert [(row.what, row.before, row.after, row.places) for row in found.differing] == [
        ("lr", "0.1", "0.05", "FA (resnet20 on digits)"),
        ("nesterov", "–", "yes", "FA (resnet20 on digits)"),
    ]
    assert rows_of(found)["FA"].difference.n == 5 and rows_of(found)["FA"].mark == "better"


def test_a_changed_attack_and_other_seeds_are_named(metrics):
    before, after = as_file(metrics, "before", networks(bp=BP)), as_file(metrics, "after", networks(bp=BP[:3]))
    plan = plan_of(after)
    for entry in plan["trials"]:
        entry["evaluation"]["attacks"]["fgsm"]["parameters"]["eps"] = 0.1
        del entry["evaluation"]["attacks"]["onepixel"]
    found = compared(before, change(after, plan=plan))
    said = {row.what: (row.before, row.after) for row in found.differing}
    assert said["seeds"] == ("0, 1, 2, 3, 4", "0, 1, 2") and said["attacks.fgsm.parameters.eps"] == ("0.35", "0.1")
    assert said["attacks.onepixel"][1] == "–" and json.loads(said["attacks.onepixel"][0])["parameters"]["pixels"] == 1


def test_of_one_network_with_several_settings_each_is_matched_with_the_nearest(metrics):
    base = networks(bp=BP)
    before = as_file(metrics, "before", changed(base, "a", epochs=10, lr=0.1) + changed(base, "b", epochs=50, lr=0.1))
    after = as_file(metrics, "after", changed(base, "c", epochs=50, lr=0.3) + changed(base, "d", epochs=10, lr=0.3))
    assert {row.what for row in compared(before, after).differing} == {"lr"}


def test_what_has_no_counterpart_is_listed(metrics):
    before = as_file(metrics, "before", networks(bp=BP, fa=BEFORE["fa"]))
    after = as_file(metrics, "after", networks(bp=BP, usf=AFTER["usf"]))
    rows = rows_of(compared(before, after))
    assert {label: row.mark for label, row in rows.items()} == {"uSF": "only here", "FA": "only there"}
    assert (rows["uSF"].after.n, rows["uSF"].before.n, rows["FA"].before.n, rows["FA"].after.n) == (5, 0, 5, 0)


def test_seeds_that_one_side_lacks_are_in_no_mean(metrics):
    before, after = as_file(metrics, "before", networks(fa=BEFORE["fa"])), as_file(metrics, "after", networks(fa=AFTER["fa"][:3]))
    row = rows_of(compared(before, after))["FA"]
    assert (row.difference.n, row.before.mean, row.after.mean) == (3, pytest.approx(6.5), pytest.approx(5.5))
    other = split(before, (3, 4))
    found = compared(other, after)
    row = rows_of(found)["FA"]
    assert (row.difference.n, row.before.n, row.after.n, row.mark) == (0, 2, 3, "no seed in common") and not found.shared
    assert "No seed of any network or search is in both" in text_of(render.render(tables.read(after), tables.read(other)))


def test_a_retrained_seed_counts_once(metrics):
    before = as_file(metrics, "before", retrained("searched", {0: [1.0, 3.0], 1: [6.0, 8.0], 2: [4.0, 4.0]}))
    after = as_file(metrics, "after", retrained("searched", {0: [2.0, 3.0], 1: [6.0, 9.0], 2: [4.0, 6.0]}))
    (row,) = rows_of(compared(before, after)).values()
    test = stats.ttest_rel([2.5, 7.5, 5.0], [2.0, 7.0, 4.0])
    assert row.difference.n == 3 and row.interval == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_a_run_that_diverged_is_said_and_leaves_its_seed_out(metrics):
    before = as_file(metrics, "before", networks(fa=BEFORE["fa"]))
    after = as_file(metrics, "after", [*networks(fa=AFTER["fa"][:4]), trial("fa", 4, 0, status="diverged")])
    found = compared(before, after)
    assert found.statuses[0] == ("FA (resnet20 on digits), seed 4, train", "ok", "diverged")
    assert rows_of(found)["FA"].difference.n == 4
    assert "seed 4, train: ok before, diverged after" in text_of(render.render(tables.read(after), tables.read(before)))


def test_no_number_is_none(metrics):
    before = as_file(metrics, "before", networks(fa=BEFORE["fa"]))
    after = as_file(metrics, "after", networks(fa=[float("nan"), *AFTER["fa"][1:]]))
    row = rows_of(compared(before, after))["FA"]
    assert row.difference.n == 4 and row.after.mean == pytest.approx(np.mean(AFTER["fa"][1:]))
    page = render.render(tables.read(after), tables.read(before))
    assert "nan" not in page.partition('id="against"')[2].partition("<h2 ")[0].lower()


def test_time_is_a_ratio_on_one_machine(metrics):
    seconds = [[10.0, 11.0, 12.0, 10.5, 11.5], [8.0, 9.0, 9.5, 8.7, 9.1]]
    files = []
    for i, side in enumerate(seconds):
        trials = [made([one], took)[0] for one, took in zip(networks(bp=BP), side, strict=True)]
        files.append(as_file(metrics, f"of{i}", trials))
    found = compared(*files)
    assert found.same == 10 and found.took == (pytest.approx(2 * sum(seconds[0])), pytest.approx(2 * sum(seconds[1])))
    row = found.tables[0].seconds[0]
    test = stats.ttest_rel(np.log(seconds[1]), np.log(seconds[0]))
    assert row.ratio == pytest.approx(stats.gmean(np.divide(seconds[1], seconds[0])))
    assert row.mark == "better" and row.step.p == pytest.approx(2 * test.pvalue)  # train and evaluation took as long
    assert row.interval == pytest.approx(tuple(np.exp(test.confidence_interval(1 - row.step.level))))
    text = text_of(render.render(*(tables.read(path) for path in files[::-1])))
    assert "times as long" in text and "not comparable where" not in text


@pytest.mark.parametrize("provenance", [{"processor": "Q"}, {"device": "NVIDIA H100"}, {"threads": 2}, {"processor": ""}], ids=str)
def test_time_on_two_machines_or_on_who_knows_which_is_not_comparable(metrics, provenance):
    before = as_file(metrics, "before", made(networks(bp=BP), 10.0, **({} if any(provenance.values()) else provenance)))
    after = as_file(metrics, "after", made(networks(bp=BP), 5.0, **provenance))
    found = compared(before, after)
    assert {row.mark for table in found.tables for row in table.seconds} == {"not comparable"}
    assert all(row.interval is None for table in found.tables for row in table.seconds)
    assert "not comparable where the machine differs" in text_of(render.render(tables.read(after), tables.read(before)))


def test_what_differs_in_code_and_machine_is_named(metrics):
    before = as_file(metrics, "before", made(networks(bp=BP), commit="a" * 40, image="i", version_torch="2.10"))
    after = as_file(metrics, "after", made(networks(bp=BP), commit="b" * 40, image="j", version_torch="2.11", processor="Q"))
    said = [(row.what, row.before, row.after, row.places) for row in compared(before, after).differing]
    assert said == [
        ("commit", "a" * 10, "b" * 10, "everywhere"),
        ("image", "i", "j", "everywhere"),
        ("processor", "P", "Q", "everywhere"),
        ("torch", "2.10", "2.11", "everywhere"),
    ]
    code = as_file(metrics, "code", made(networks(bp=BP), commit="a" * 40, image="i", version_torch="2.10", code="edited"))
    assert [row.what for row in compared(before, code).differing] == ["code, of one commit"]


def test_nothing_in_common_is_one_line(metrics, tmp_path):
    before, after = as_file(metrics, "before", networks(bp=BP)), as_file(metrics, "after", networks(fa=BP))
    with pytest.raises(ValueError, match="nothing in common") as error:
        render.main([str(after), str(tmp_path / "page.html"), "--against", str(before)])
    assert str(before) in str(error.value) and str(after) in str(error.value) and "\n" not in str(error.value)
    (tmp_path / "text.h5").write_text("x")
    with pytest.raises(ValueError, match=r"text\.h5: not a readable results file"):
        render.main([str(after), str(tmp_path / "page.html"), "--against", str(tmp_path / "text.h5")])
    assert not (tmp_path / "page.html").exists()


def test_the_command_takes_several_files_on_both_sides_in_any_place(both, tmp_path):
    pieces = [[split(path, (0, 1)), split(path, (2, 3, 4))] for path in both]
    before, after, out = (*map(str, pieces[0]),), (*map(str, pieces[1]),), str(tmp_path / "page.html")
    render.main([*after, "--against", before[0], "--against", before[1], out])
    page = (tmp_path / "page.html").read_text()
    assert "errs 1.20 points less" in page and all(name in page for name in (*before, *after))
    render.main(["--against", before[1], "--against", before[0], *after[::-1], out])
    assert (tmp_path / "page.html").read_text() == page


def test_texts_are_escaped_and_tables_sort_by_full_numbers(metrics):
    name = f"{EVIL}{'x' * 200}"
    before, after = (
        as_file(metrics, side, made(networks(**errors), commit=name, processor=side + EVIL))
        for side, errors in (("a", BEFORE), ("b", AFTER))
    )
    for path in (before, after):
        plan = plan_of(path)
        for entry in plan["trials"]:
            entry.update(network=name, settings={"lr": f"{path.stem}{EVIL}"})
        change(path, plan=plan)
    results = tables.read(after)
    page = render.render(results, tables.read(before))
    assert EVIL not in page and "<script>alert" not in page
    (row,) = [row for row in rows_of(compare.compare(tables.read(before), results)).values() if row.member.rules == "fa"]
    assert f'data-order="{row.difference.mean!r}" data-sd="{row.difference.sd!r}">errs 1.20 points less' in page
    section = page.partition('id="against"')[2].partition("<h2 ")[0]
    for table in re.findall("<table.*?</table>", section, re.DOTALL):
        columns = table.count("<th") - table.count("<thead")
        rows = re.findall("<tr>.*?</tr>", table, re.DOTALL)[1:]
        assert "colspan" not in table and {len(re.findall("<td", each)) for each in rows} == {columns}
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page == render.render(tables.read(after), tables.read(before))
    assert 'id="against"' not in render.render(results)
