"""Several metrics files as one: the same numbers, page and digest as of one file with all of it, in any order; or one line why not."""

import itertools
import json
import lzma
import re
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from scipy import stats

from reports import render, summary
from reports.numbers import claims, tables
from reports.tests.test_reports import EVIL, metrics, page_of, retrained, search, trial, tuned, with_tuning
from suite import store

__all__ = ["metrics"]  # the fixture

PUBLISHED = Path(__file__).parents[2] / "benchmarks/published"
BP, FA = [1.0, 2.0, 1.5, 1.0, 2.0], [5.0, 7.0, 7.5, 6.0, 7.0]


def networks(**errors):
    return [trial(rule, seed, error) for rule, found in errors.items() for seed, error in enumerate(found)]


def named(seeds):
    parts = {"dataset": "digits", "protocols": ["repaired"], "of": "resnet20/fa", "against": "resnet20/bp", "metric": "test_error"}
    return parts | {"about": "", "seeds": list(seeds)}


def bound(entry, found=1.0):
    row = {"run": f"trial/{entry['id']}", "metric": "test_error", "bound": "at_most", "limit": 9.0}
    return row | {"found": found, "kept": found is not None}


def change(path, **parts):
    """Put other texts into a metrics file; those that are no text, as JSON."""
    with h5py.File(path, "a") as file:
        for name, value in parts.items():
            if name in file:
                del file[name]
            file[name] = value if isinstance(value, str) else json.dumps(value)
    return path


def plan_of(path):
    with store.opened(path) as file:
        return json.loads(file["plan"].asstr()[()])


def split(path, seeds, whole_plan=False):
    """Leave some seeds alone in a copy of a metrics file: planned and run; or run, while all are planned."""
    unit = {e["id"]: e.get("of_seed", e["seed"]) for kind in ("searches", "trials") for e in plan_of(path)[kind]}
    left_out = {id for id, seed in unit.items() if seed not in seeds}
    out = path.with_name(f"{path.name.partition('.')[0]}-{'-'.join(map(str, seeds))}-{whole_plan}.h5")
    missing = []
    with store.opened(path) as file, h5py.File(out, "w") as part:
        part.attrs.update(file.attrs)
        for group in store.groups(file):
            if group.attrs["id"] not in left_out:
                file.copy(group, part, group.name)
            else:
                run = group.name[1:] if group.attrs["stage"] == "search" else group.name[1:].rpartition("/")[0]
                missing.append({"run": run, "stage": group.attrs["stage"], "reason": "not run yet"})
        verdict = json.loads(file["verdict"].asstr()[()])
        part["definition"] = file["definition"].asstr()[()]
    plan = plan_of(path)
    gone = [row for row in verdict if row["run"].partition("/")[2] in left_out]
    if whole_plan:
        rows = [{**row, "found": None, "kept": False} if row in gone else row for row in verdict]
        return change(out, plan=plan, verdict=rows, missing=missing)
    plan |= {kind: [entry for entry in plan[kind] if entry["id"] not in left_out] for kind in ("searches", "trials")}
    plan["comparisons"] = [{**c, "seeds": [seed for seed in c["seeds"] if seed in seeds]} for c in plan["comparisons"]]
    return change(out, plan=plan, verdict=[row for row in verdict if row not in gone])


@pytest.fixture
def whole(metrics):
    """Networks, some of them trained twice, searches, bounds and a comparison, with five seeds."""
    trials = [*networks(bp=BP, fa=FA), *retrained("searched", {seed: [3.0 + seed, 4.1] for seed in range(5)})]
    return metrics(trials, [bound(entry) for entry, *_ in trials], [search(seed) for seed in range(5)], [named(range(5))])


def without_sources(page):
    return re.sub(r'<section class="note" id="sources">.*?</section>', "", page, flags=re.DOTALL).split()


def facts(results):
    """Everything that a page is made from, but for the arrays, which the digest speaks for."""
    variants = [variant for block in results.blocks for variant in block.variants]
    members = [(of.name, of.all_runs) for of in (*variants, *results.searches)]
    numbers = [[(run.id, run.stage, run.metrics, dict(run.provenance), str(run.timings)) for run in runs] for _, runs in members]
    plan = {**results.plan, "only": ""}
    said = [results.digest, plan, results.definition, results.verdict, results.missing, [name for name, _ in members], numbers]
    return json.dumps(said, default=str), summary.summary(results)


@pytest.mark.parametrize("whole_plan", [False, True], ids=["a plan each", "one plan"])
@pytest.mark.parametrize("parts", [[(0, 1), (2, 3, 4)], [(1, 3), (0, 2), (4,)], [(4,), (3,), (2,), (1,), (0,)]], ids=str)
def test_a_file_that_was_split_by_seed_is_the_same_in_any_order(whole, parts, whole_plan):
    pieces = [split(whole, seeds, whole_plan) for seeds in parts]
    found = (
        {facts(tables.read(*order)) for order in itertools.permutations(pieces[:3])} if len(pieces) < 4 else {facts(tables.read(*pieces))}
    )
    assert found == {facts(tables.read(whole))}
    assert tables.read(*pieces).digest == store.digest(whole)


def test_its_page_is_the_same_too(whole):
    pieces = [split(whole, seeds) for seeds in ((1, 3), (0, 2, 4))]
    page, other = (render.render(tables.read(*order)) for order in (pieces, pieces[::-1]))
    assert page == other and without_sources(page) == render.render(tables.read(whole)).split()


def test_a_page_says_from_which_files_it_was_made_and_one_of_one_does_not(whole):
    pieces = [split(whole, seeds) for seeds in ((0, 1), (2, 3, 4))]
    page = render.render(tables.read(*pieces))
    assert "Made from 2 files" in page and all(str(piece) in page for piece in pieces)
    assert "seeds 0, 1;" in page and "seeds 2, 3, 4;" in page and EVIL not in page
    assert 'id="sources"' not in page_of(whole)


def test_a_comparison_pairs_the_seeds_of_all_files_and_counts_in_one_family(whole):
    pieces = [split(whole, seeds) for seeds in ((0, 1), (2, 3, 4))]
    assert claims.family(tables.read(pieces[0])) == 0  # two seeds bound nothing
    results = tables.read(*pieces)
    (claim,) = claims.claims(results)
    assert claims.family(results) == 1 and claim.named["seeds"] == [0, 1, 2, 3, 4]
    assert claim.step.p == pytest.approx(stats.ttest_rel(FA, BP).pvalue) and claim.words == "errs more"


@pytest.mark.parametrize("name", ["nullsearch", "likeness"])
def test_a_published_study_in_two_pieces_has_the_same_summary(tmp_path, name):
    path = tmp_path / f"{name}.h5"
    path.write_bytes(lzma.decompress((PUBLISHED / f"{name}.h5.xz").read_bytes()))
    pieces = [split(path, seeds) for seeds in ((0, 3), (1, 2, 4))]
    results = tables.read(*pieces[::-1])
    assert summary.summary(results) == summary.summary(tables.read(path)) and results.digest == store.digest(path)


def test_the_summary_takes_several_files(whole, capsys):
    summary.main([str(whole)])
    of_one = capsys.readouterr().out
    summary.main([str(split(whole, seeds)) for seeds in ((0, 1), (2, 3, 4))])
    assert capsys.readouterr().out == of_one


def test_what_is_missing_in_one_file_and_there_in_another_is_not_missing(metrics):
    whole = metrics(networks(bp=[1.0, 2.0, 3.0]))
    two, one = split(whole, (0, 1), True), split(whole, (1,), True)
    results = tables.read(two, one)
    assert {(row["run"], row["stage"]) for row in results.missing} == {
        ("trial/digits/resnet20/bp/seed2-00000002", stage) for stage in ("train", "evaluation")
    }
    assert results.counts["trials"] == "2 of 3"


def test_what_no_file_has_says_every_files_reason(metrics):
    whole = metrics(networks(bp=[1.0, 2.0, 3.0]))
    parts = [split(whole, (0,), True), split(whole, (1,), True)]
    row = {"run": "trial/digits/resnet20/bp/seed2-00000002", "stage": "train"}
    for part, reason in zip(parts, (EVIL, "not run yet"), strict=True):
        change(part, missing=[{**row, "reason": reason}])
    results = tables.read(*parts)
    assert [row["reason"] for row in results.missing] == [f"{EVIL}; elsewhere: not run yet"]
    assert EVIL not in render.render(results)


def test_a_bound_is_of_the_file_that_found_a_number(metrics):
    trials = networks(bp=[1.0, 2.0])
    whole = metrics(trials, [bound(entry) for entry, *_ in trials])
    first, second = split(whole, (0,), True), split(whole, (1,), True)
    assert [row["kept"] for row in tables.read(first).verdict] == [True, False]
    assert [(row["found"], row["kept"]) for row in tables.read(second, first).verdict] == [(1.0, True)] * 2


def made_on(trials, **provenance):
    return [(entry, *(replace(run, provenance={"device": "cpu", **provenance}) for run in runs)) for entry, *runs in trials]


def as_file(metrics, name, *args, **more):
    path = metrics(*args, **more)
    return path.rename(path.with_name(f"{name}.h5"))


def test_a_run_that_two_files_have_counts_once_and_shows_both_its_machines(metrics):
    one = as_file(metrics, "one", made_on(networks(bp=[1.0, 2.0]), processor="AMD <EPYC>"))
    other = as_file(metrics, "other", made_on(networks(bp=[1.0]), processor="Intel Xeon"))
    results = tables.read(other, one)
    assert results.blocks[0].variants[0].metric("test_error").n == 2 and len(results.again) == 2
    page = render.render(results)
    (processors,) = re.findall("<dt>processor</dt><dd>(.*?)</dd>", page)
    assert set(processors.split(", ")) == {"AMD &lt;EPYC&gt;", "Intel Xeon"} and "2 runs are in several of them" in page
    assert facts(results) == facts(tables.read(one, other))


def refusal(*paths):
    with pytest.raises(ValueError) as error:
        tables.read(*paths)
    with pytest.raises(ValueError) as again:
        tables.read(*paths[::-1])
    assert str(error.value) == str(again.value) and "\n" not in str(error.value)
    return str(error.value)


def test_other_numbers_of_one_run_are_refused_with_the_way_to_compare_them(metrics):
    one = as_file(metrics, "one", made_on(networks(bp=[1.0]), processor="AMD"))
    other = as_file(metrics, "other", made_on(networks(bp=[1.1]), processor="Intel"))
    said = refusal(one, other)
    assert said.startswith("trial/digits/resnet20/bp/seed0-00000000/train: ") and "other numbers of it" in said
    assert str(one) in said and str(other) in said and "AMD" in said and "Intel" in said and "--against" in said


def on(device, trials, suffix):
    """The same on another device: other ids."""
    found = []
    for entry, *runs in trials:
        id = entry["id"] + suffix
        found.append(({**entry, "id": id, "device": device}, *(replace(run, id=id) for run in runs)))
    return found


def test_one_seed_on_two_devices_is_refused_and_two_seeds_are_not(metrics):
    here = as_file(metrics, "here", on("cpu", networks(bp=[1.0, 2.0]), ""))
    there = as_file(metrics, "there", on("cuda", networks(bp=[1.0, 2.0]), "f"))
    said = refusal(here, there)
    assert "digits/resnet20/bp seed 0: " in said and "device cpu" in said and "device cuda" in said and "--against" in said
    pieces = split(here, (0,)), split(there, (1,))
    assert tables.read(*pieces).blocks[0].variants[0].metric("test_error").n == 2
    planned = split(here, (0,), True), split(there, (1,), True)  # each machine planned both
    results = tables.read(*planned)
    assert results.blocks[0].variants[0].metric("test_error").n == 2 and not results.missing and results.counts["trials"] == "2"


DEFINITION = "name: demo\nseeds: [0]\nthreads: 1\nmodels: {names: [resnet20], tune: {seeds: [0]}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEFINITION.replace("[0]", "[1, 2]").replace("1\n", "4\n") + "device: cpu # another machine's\n", None),
        (DEFINITION.replace("resnet20", "resnet56"), ["models.names is ", '["resnet20"]', '["resnet56"]']),
        (DEFINITION + "about: <b>\n", ["about is ", "not there", '"<b>"']),
        ("name: [", ["text is ", '"name: ["']),
    ],
)
def test_definitions_agree_but_for_seeds_device_and_threads(metrics, text, said):
    one = change(as_file(metrics, "one", networks(bp=[1.0])), definition=DEFINITION)
    other = change(as_file(metrics, "other", networks(bp=[1.0, 2.0])[1:]), definition=text)
    if said is None:
        shown = tables.read(one, other).definition
        assert DEFINITION in shown and text in shown and f"# ---- {other}" in shown
    else:
        line = refusal(one, other)
        assert "differ in their definitions" in line and "seeds, device and threads" in line
        assert all(word in line for word in said)


def test_what_else_has_to_agree(metrics):
    one = as_file(metrics, "one", networks(bp=[1.0]))
    other = as_file(metrics, "other", networks(bp=[1.0, 2.0])[1:])
    plan = plan_of(other)
    change(other, plan={**plan, "benchmark": "demo-tiny"})
    assert "no one benchmark" in refusal(one, other) and "'demo-tiny'" in refusal(one, other)
    change(other, plan={**plan, "trials": [{**entry, "settings": {"lr": 0.1, "nesterov": True}} for entry in plan["trials"]]})
    assert re.search(
        "differ in how they made digits/resnet20/bp: settings.nesterov is (not there and true|true and not there);", refusal(one, other)
    )
    change(other, plan={**plan, "trials": [{**entry, "numerics": 8} for entry in plan["trials"]]})
    change(one, plan={**plan_of(one), "trials": [{**entry, "numerics": 7} for entry in plan_of(one)["trials"]]})
    assert "other numerics, 7 and 8" in refusal(one, other)
    assert "stands twice" in refusal(one, one)


def test_rates_that_other_runs_chose_are_refused(metrics):
    files = []
    for seed in (0, 1):
        (entry, *runs), found = tuned("bp", seed, 1.0, {0.1: 96.0, 0.3: 90.0})
        entry["tuning"] = [[rate, [f"{id}-of{seed}" for id in ids]] for rate, ids in entry["tuning"]]
        found = [({**of, "id": f"{of['id']}-of{seed}"}, replace(run, id=f"{run.id}-of{seed}")) for of, run in found]
        files.append(with_tuning(as_file(metrics, f"of{seed}", [(entry, *runs)]), found))
    assert "other runs chose the learning rate of digits/resnet20/bp" in refusal(*files)


def test_parts_of_a_benchmark_are_joined_and_say_both(metrics):
    whole = metrics(networks(bp=[1.0, 2.0]))
    pieces = [split(whole, (seed,)) for seed in (0, 1)]
    for seed, piece in enumerate(pieces):
        change(piece, plan={**plan_of(piece), "only": f"seed={seed}"})
    assert tables.read(*pieces).plan["only"] == "seed=0 or seed=1"


def test_runs_of_other_code_are_those_of_every_file(metrics):
    whole = metrics(networks(bp=[1.0, 2.0]))
    pieces = [split(whole, (seed,)) for seed in (0, 1)]
    for seed, piece in enumerate(pieces):
        made = [f"trial/digits/resnet20/bp/seed{seed}-0000000{seed}/train"]
        other = {"made": made, "rests": [], "anew": f"snakemake {seed}", "confirm": "c"}
        change(piece, **{"provenance/other_code": other})
    results = tables.read(*pieces)
    assert len(results.other_code["made"]) == 2 and results.other_code["anew"] == "snakemake 0; snakemake 1"


def test_a_page_never_replaces_the_metrics_that_it_would_be_made_from(whole, tmp_path):
    one, other = split(whole, (0, 1)), split(whole, (2, 3, 4))
    before = store.digest(other)
    for words in ([one, other], [one, tmp_path / "new.h5"], [one, other, "--against", tmp_path / "x.html", tmp_path / "x.html"]):
        with pytest.raises(ValueError, match="would replace metrics by their report"):
            render.main([str(word) for word in words])
    assert store.digest(other) == before
