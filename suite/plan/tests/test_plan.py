"""Plans: the cross product, ids that say what a run is, and no torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bionas import catalog
from suite import plan
from suite.definition import runs, spec
from suite.definition.tests.test_spec import GOOD
from suite.plan.__main__ import main

BENCHMARKS = sorted(Path(__file__).parents[2].glob("benchmarks/*.yaml"))


def planned(text=GOOD, **changes):
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return plan.plan(spec.parse(text))


def trials(*args, **kwargs):
    return list(planned(*args, **kwargs).trials.values())


def test_lists_mean_the_cross_product():
    many = trials(data=("[digits]", "[digits, fashion_mnist]"), models=("[resnet20]", "[resnet20, resnet56]"))
    axes = {(t.dataset, t.network, t.rules, t.seed) for t in many}
    assert len(axes) == len(many) == 2 * 2 * 2 * 2


def test_an_id_reads_and_is_the_same_every_time():
    trial = trials()[0]
    readable, _, hashed = trial.id.rpartition("-")
    # Pinned: it may change only together with NUMERICS or the format, because it names results that people have.
    assert (readable, hashed) == ("digits/resnet20/bp/seed0-epochs3", "1f77176d")


def test_ids_hash_what_shapes_numbers_and_nothing_else():
    base = {t.id for t in trials()}
    same = [
        ("name", ("name: good", "name: other")),
        ("expect", ("5}", "6}")),
    ]
    for what, change in same:
        assert {t.id for t in trials(change=change)} == base, what
    other = [
        ("threads", ("device: cpu", "device: cpu\nthreads: 4")),
        ("lr", ("epochs: 3", "epochs: 3, lr: 0.2")),
        ("device", ("device: cpu", "device: auto")),
        ("seed", ("[0, 1]", "[2, 3]")),
    ]
    for what, change in other:
        assert not {t.id for t in trials(change=change)} & base, what


def test_attacks_have_an_id_of_their_own_so_that_networks_are_shared():
    base, other = planned(), planned(images=("images: 10", "images: 20"))
    assert base.trials.keys() == other.trials.keys()
    assert {t.evaluation.id for t in base.trials.values()}.isdisjoint(t.evaluation.id for t in other.trials.values())


def test_the_order_of_attacks_and_gradients_in_a_definition_means_nothing():
    orders = ("[fgsm, pgd]\n  gradients: [rule, true]", "[pgd, fgsm]\n  gradients: [true, rule]")
    first, second = (planned(names=("[fgsm]", order)) for order in orders)
    assert [t.evaluation.params for t in first.trials.values()] == [t.evaluation.params for t in second.trials.values()]


def test_an_attacks_parameters_are_part_of_its_id(monkeypatch):
    before = {t.evaluation.id for t in trials()}
    attack = catalog.ATTACKS["fgsm"]
    monkeypatch.setitem(catalog.ATTACKS, "fgsm", replace(attack, paper={"eps": 0.3}))
    assert before.isdisjoint(t.evaluation.id for t in trials())


def test_numerics_moves_every_id(monkeypatch):
    before = {t.id for t in trials()}
    monkeypatch.setattr(runs, "NUMERICS", runs.NUMERICS + 1)
    assert not {t.id for t in trials()} & before


def test_protocols_that_mean_the_same_run_share_it():
    both = trials(protocols=("device:", "protocols: [repaired, paper]\ndevice:"), rules=("[bp, fa]", "[bp, usf]"))
    assert [(t.rules, t.seed, t.protocols, t.settings.get("scale")) for t in both] == [
        ("bp", 0, ("repaired", "paper"), None),
        ("bp", 1, ("repaired", "paper"), None),
        ("usf", 0, ("repaired",), "init_std"),
        ("usf", 1, ("repaired",), "init_std"),
        ("usf", 0, ("paper",), "none"),
        ("usf", 1, ("paper",), "none"),
    ]


def test_a_setting_overrides_its_protocol_and_is_named():
    change = {"protocols": ("device:", "protocols: [paper]\ndevice:"), "rules": ("[bp, fa]", "[usf]")}
    (trial, _) = trials(**change, settings=("epochs: 3", "epochs: 3, scale: rms, lr: 0.1"))
    assert trial.settings["scale"] == "rms" and trial.overrides == ("epochs", "scale")


def test_gradient_attacks_run_twice_others_once_and_bps_own_gradient_is_skipped_with_a_reason():
    found = planned(names=("[fgsm]", "[fgsm, onepixel]"))
    by_rule = {t.rules: t.evaluation.pairs for t in found.trials.values()}
    assert by_rule["fa"] == [("fgsm", "rule"), ("fgsm", "true"), ("onepixel", "none")]
    assert by_rule["bp"] == [("fgsm", "true"), ("onepixel", "none")]
    assert found.skipped == (("attacks on bp through the rule", "bp's own gradient is the true one, which runs"),)


def test_biotorchs_layers_are_other_runs_attacked_through_the_rule_alone():
    found = planned(settings=("epochs: 3", "epochs: 3, backend: biotorch"))
    assert {t.id for t in found.trials.values()}.isdisjoint(t.id for t in trials())
    assert [t.evaluation.pairs for t in found.trials.values()] == [[("fgsm", "rule")]] * 4
    assert found.skipped == (("attacks on biotorch's layers through the true gradient", "their feedback cannot be switched off"),)


def test_a_pattern_that_matches_nothing_is_a_mistake():
    with pytest.raises(ValueError, match=r"'trial/cifar10/\*' matches no run; runs are named like 'trial/digits"):
        planned(expect=("trial/digits/*", "trial/cifar10/*"))


@pytest.mark.parametrize("metric", ["test_errors", "val_accuracy", "robust_accuracy_fgsm_rule"])
def test_a_metric_that_a_matched_run_does_not_have_is_a_mistake(metric):
    with pytest.raises(ValueError, match=rf"expect.trial/digits/\*: '{metric}' is unknown; allowed: test_error"):
        planned(expect=("test_error", metric))  # no held-out share, and bp is not attacked through its rule


def test_tiny_keeps_every_rule_one_seed_one_epoch_and_no_bounds():
    small = plan.plan(plan.cut(spec.parse(GOOD)))
    assert small.name == "good-tiny" and not small.benchmark.expect
    found = [(t.rules, t.seed, t.settings["epochs"], t.evaluation.images) for t in small.trials.values()]
    assert found == [
        ("bp", 0, 1, 8),
        ("fa", 0, 1, 8),
    ]


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["full", "tiny"])
def test_every_definition_of_the_repository_plans(path, size):
    for file in spec.listed(path):
        found = plan.load(str(file), size)
        assert (found.searches or found.trials) and found.benchmark.name == file.stem
        assert len(list(found.files())) == len(set(found.files()))


def test_a_list_of_definitions_stands_for_them(tmp_path, capsys):
    (tmp_path / "one.yaml").write_text("name: one\nabout: x\ndatasets: [digits]\nmodels: {names: [resnet20], rules: [bp, fa]}\n")
    (tmp_path / "two.yaml").write_text("name: two\nabout: x\ndatasets: [digits]\nmodels: {names: [resnet20], rules: [fa, usf]}\n")
    (tmp_path / "both.yaml").write_text("name: both\nabout: x\ndefinitions: [one, two]\n")
    main([str(tmp_path / "both.yaml")])
    brief = capsys.readouterr().out
    assert "2 definitions, 0 searches, 3 trials" in brief  # what both ask for runs once
    assert "one: 0 searches, 2 trials\n  about " in brief and "resnet20" not in brief
    main([str(tmp_path / "both.yaml"), "--tables"])
    assert capsys.readouterr().out.count("│ trial │ digits") == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("definitions: [onne]", "did you mean 'one'"),
        ("definitions: one", "a list of names"),
        ("definitions: []", "a list of names"),
        ("definitions: [one]\nseeds: [1]", "key 'seeds' beside 'definitions'"),
    ],
)
def test_a_bad_list_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "one.yaml").write_text("")
    (tmp_path / "both.yaml").write_text(f"name: both\nabout: x\n{text}\n")
    with pytest.raises(ValueError, match=words) as error:
        spec.listed(tmp_path / "both.yaml")
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "both.yaml"))


SEARCH = """
search:
  methods: [darts, eg]
  rule_sets: {bio: [fa, usf], bp: [bp]}
  settings: {epochs: 20}
cells:
  - {rules: [searched, shuffled, bp], genotypes: [biodarts], settings: {epochs: 2}, by_method: {darts: {drop_path: 0.3}}}
  - {rules: [searched], searches: [darts-bio], train_on: [fashion_mnist]}
expect:"""


def searching(**changes):
    return planned(search=("expect:", SEARCH), **changes)


def test_searches_are_methods_times_rule_sets_and_know_their_own_settings_alone():
    found = searching()
    assert [s.name for s in found.searches.values() if s.seed == 0] == ["darts-bio", "darts-bp", "eg-bio", "eg-bp"]
    settings = {s.name: s.settings for s in found.searches.values()}
    assert "alpha_lr" in settings["darts-bio"] and "sigma" not in settings["darts-bio"]
    assert "sigma" in settings["eg-bio"] and "alpha_lr" not in settings["eg-bio"]
    assert "scale" in settings["darts-bio"] and "scale" not in settings["darts-bp"]
    assert all(id.startswith("digits/") for id in found.searches)


def test_a_list_of_searches_is_each_of_them_with_its_own_settings():
    first, second = (
        "{methods: [darts, random], rule_sets: {bio: [fa, usf]}}",
        "{methods: [darts], rule_sets: {bp: [bp]}, settings: {epochs: 3}}",
    )
    plan = planned(search=("expect:", f"search: [{first}, {second}]\nexpect:"))
    found = [s for s in plan.searches.values() if s.seed == 0]
    assert [(s.name, s.settings["epochs"]) for s in found] == [("darts-bio", 50), ("random-bio", 50), ("darts-bp", 3)]


def test_cells_are_trained_with_the_seed_of_their_search_and_skipped_where_that_makes_no_sense():
    found = searching()
    cells = [t for t in found.trials.values() if t.network != "resnet20"]
    parents = {t.parent: found.searches[t.parent] for t in cells if t.parent}
    assert all(parents[t.parent].seed == t.seed and parents[t.parent].name == t.network for t in cells if t.parent)
    own = {(t.network, t.rules) for t in cells if t.dataset == "digits"}
    bio = {(name, rules) for name in ("darts-bio", "eg-bio", "biodarts") for rules in ("searched", "shuffled", "bp")}
    assert own == bio | {("darts-bp", "searched"), ("eg-bp", "searched")}
    assert dict(found.skipped)["darts-bp shuffled"].startswith("its rule set has one rule")


CONTROLS = "rules: [searched, uninformed, random, shuffled]"


def test_controls_are_trained_like_the_searched_cell_and_only_where_a_search_has_what_they_need():
    found = searching(rules=("rules: [searched, shuffled, bp]", CONTROLS), methods=("[darts, eg]", "[darts, random]"))
    cells = [t for t in found.trials.values() if t.network != "resnet20" and t.dataset == "digits"]
    own = {(t.network, t.rules) for t in cells}
    assert own == {
        *(("darts-bio", rules) for rules in catalog.ASSIGNMENTS),
        *(("darts-bp", rules) for rules in ("searched", "uninformed", "random")),
        *(("random-bio", rules) for rules in ("searched", "shuffled", "random")),
        *(("random-bp", rules) for rules in ("searched", "random")),
        *(("biodarts", rules) for rules in ("searched", "shuffled")),
    }
    reasons = dict(found.skipped)
    assert {what for what in reasons if "uninformed" in what or " random" in what} == {
        "biodarts uninformed",
        "biodarts random",
        "random-bio uninformed",
        "random-bp uninformed",
    }
    for network in ("darts-bio", "darts-bp"):
        alike = [(t.settings, t.evaluation, t.parent) for t in cells if t.network == network and t.seed == 0]
        assert all(one == alike[0] for one in alike)  # a set of BP alone has no rule to attack through, whatever the genotype


def test_random_search_at_equal_work_is_random_search_with_more_epochs():
    found = searching(methods=("[darts, eg]", "[darts, random, random-work]")).searches.values()
    images, work = (next(s for s in found if s.name == name) for name in ("random-bio", "random-work-bio"))
    assert images.settings["epochs"] == 20 < 10 * 20 < work.settings["epochs"]
    assert {**work.settings, "epochs": 20} == images.settings


def test_a_tiny_search_at_equal_work_stays_tiny():
    text = GOOD.replace("expect:", SEARCH.replace("[darts, eg]", "[random-work]").replace("[darts-bio]", "[random-work-bio]"))
    (work,) = plan.plan(plan.cut(spec.parse(text))).searches.values()
    assert (work.method, work.settings["epochs"]) == ("random-work", 2)


def test_null_searches_are_no_more():
    with pytest.raises(ValueError, match="'darts-null' is unknown; allowed: darts, eg, random, random-work"):
        searching(methods=("[darts, eg]", "[darts, darts-null]"))


def test_transfer_is_a_trial_on_another_data_set_than_its_searchs():
    (first, _) = [t for t in searching().trials.values() if t.dataset == "fashion_mnist"]
    assert first.id.startswith("fashion_mnist/darts-bio@digits/searched/seed0-")
    assert first.parent.startswith("digits/darts-bio/seed0-")


def test_settings_by_method_override_the_sections():
    drop = {t.network: t.settings["drop_path"] for t in searching().trials.values() if t.network != "resnet20" and t.dataset == "digits"}
    assert drop["darts-bio"] == 0.3 and drop["eg-bio"] == drop["biodarts"] == 0.2


def test_another_search_is_another_trial():
    base = {t.id for t in searching().trials.values() if t.parent}
    assert base.isdisjoint(t.id for t in searching(epochs=("{epochs: 20}", "{epochs: 21}")).trials.values())


def test_the_public_eg_has_settings_of_its_own():
    # EG-NAS at d5d7e1e: batch 256, lr 0.1 → 0, sigma 1, one generation; retrained for 800 epochs, paths dropped up to 0.3
    text = GOOD.replace("device:", "protocols: [released]\ndevice:")
    text += "search: {methods: [darts, eg], rule_sets: {bio: [fa, usf]}}\ncells: {rules: [searched]}\n"
    found = planned(text)
    by_method = {s.method: s.settings for s in found.searches.values()}
    eg = {name: by_method["eg"][name] for name in ("cells", "batch_size", "lr", "lr_min", "nesterov", "sigma", "generations", "variant")}
    assert eg == dict(cells=8, batch_size=256, lr=0.1, lr_min=0.0, nesterov=False, sigma=1.0, generations=1, variant="released")
    assert by_method["darts"]["batch_size"] == 64
    trained = {t.network: t.settings for t in found.trials.values() if t.parent}
    paths = {name: tuple(s[key] for key in ("epochs", "drop_path", "drop_path_schedule")) for name, s in trained.items()}
    assert paths == {"darts-bio": (600, 0.2, "constant"), "eg-bio": (800, 0.3, "linear")}


def test_biotorchs_models_are_chosen_on_held_out_images():
    released = trials(p=("device:", "protocols: [released]\ndevice:"))
    assert {(t.settings["selection"], t.settings["holdout"]) for t in released} == {("best_val", 0.1)}


def test_a_protocol_may_have_seeds_of_its_own():
    both = trials(p=("device:", "protocols: [repaired, {name: paper, seeds: [7]}]\ndevice:"), rules=("[bp, fa]", "[usf]"))
    assert [(t.protocols, t.seed) for t in both] == [(("repaired",), 0), (("repaired",), 1), (("paper",), 7)]


@pytest.mark.parametrize(
    ("rule", "protocol", "equal"),
    [("bp", "repaired", True), ("usf", "repaired", True), ("fa", "repaired", False), ("usf", "paper", False), ("bp", "released", True)],
)
def test_a_cell_searched_with_one_rule_is_skipped_under_it_only_if_it_is_the_same_network(rule, protocol, equal):
    # fa has no skip of its own: at stride 2 the plain one learns by bp as searched, and by fa where fa rules; `paper` converts all
    text = GOOD.replace("device:", f"protocols: [{protocol}]\ndevice:")
    text += f"search: {{methods: [darts], rule_sets: {{one: [{rule}]}}}}\ncells: {{rules: [searched, {rule}]}}\n"
    found = planned(text)
    assert (("darts-one under " + rule, "that is the network as searched") in found.skipped) == equal
    assert {t.rules for t in found.trials.values() if t.parent} == ({"searched"} if equal else {"searched", rule})


def test_protocols_are_rows_of_settings():
    searches = searching(p=("device:", "protocols: [repaired, paper, released]\ndevice:")).searches.values()
    found = {s.protocols[0]: s.settings for s in searches if s.method == "darts"}
    assert [found[p]["space"] for p in ("repaired", "paper", "released")] == ["repaired", "paper", "released"]
    # the public code: 8 cells, batch 64, lr 0.025 → 0.001, no Nesterov
    released = {name: found["released"][name] for name in ("cells", "batch_size", "lr", "lr_min", "nesterov")}
    assert released == {"cells": 8, "batch_size": 64, "lr": 0.025, "lr_min": 0.001, "nesterov": False}
    # Table 4
    table4 = {"epochs": 20, "cells": 5, "nodes": 4, "channels": 16, "batch_size": 256, "lr": 0.1, "lr_min": 0.0, "weight_decay": 3e-4}
    assert {name: found["paper"][name] for name in table4} == table4 and found["paper"]["nesterov"] is True


@pytest.mark.parametrize(
    ("asked", "off"), [("precision: bfloat16", "precision: float32"), ("memory_format: channels_last", "compile: none")]
)
def test_speed_at_the_price_of_bits_is_another_run(asked, off):
    plain = planned(settings=("epochs: 3", "epochs: 3"))
    assert planned(settings=("epochs: 3", f"epochs: 3, {off}")).trials.keys() == plain.trials.keys()
    assert not planned(settings=("epochs: 3", f"epochs: 3, {asked}")).trials.keys() & plain.trials.keys()


def test_expect_may_bound_a_search():
    expect = {"expect": ('"trial/digits/*": {test_error: {at_most: 5}}', '"search/digits/darts-bio/*": {val_accuracy: {at_least: 50}}')}
    assert searching(**expect).benchmark.expect


def cli(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True)


def test_planning_imports_no_torch():
    done = cli("-X", "importtime", "-m", "suite.plan", "benchmarks/demo.yaml", "--json")
    assert "jsonschema" in done.stderr and "torch" not in done.stderr
    found = json.loads(done.stdout)
    assert found["trials"][0]["id"] and found["benchmark"] == "demo"


def test_the_table_names_every_trial_and_a_mistake_is_one_line():
    done = cli("-m", "suite.plan", "benchmarks/demo.yaml")
    resnets = [line for line in done.stdout.splitlines() if "resnet20" in line]
    assert done.returncode == 0 and len(resnets) == 5 and all("0..1" in line for line in resnets)
    assert "12 searches, 36 trials" in done.stdout
    done = cli("-m", "suite.plan", "benchmarks/dmo.yaml")
    assert (done.returncode, done.stdout) == (1, "") and "did you mean" in done.stderr and done.stderr.count("\n") == 1
    assert cli("-m", "suite.plan", "benchmarks/demo.yaml", "--size", "huge").stderr.count("\n") == 1
