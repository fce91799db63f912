"""Learning rates from one grid, and genotypes trained more than once: which trials they are, and who takes what from whom."""

import json
from dataclasses import replace

import pytest

from suite import plan
from suite.definition import spec
from suite.definition.tests.test_spec import GOOD
from suite.plan.__main__ import main
from suite.plan.tests.test_plan import planned, trials

TUNED = GOOD.replace("epochs: 3}", "epochs: 3}\n  tune: {lr: [0.3, 0.1, 0.2], holdout: 0.2}")


def test_every_rule_has_the_same_grid_with_the_same_epochs_on_a_held_out_share_and_the_test_split_plays_no_part():
    found = planned(TUNED)
    assert len(found.tuning) == 2 * 3  # two rules, three rates, the first seed alone
    tried = [(t.rules, t.settings["lr"], t.seed) for t in found.tuning.values()]
    assert tried == [(rule, rate, 0) for rule in ("bp", "fa") for rate in (0.1, 0.2, 0.3)]
    plain = trials()[0].settings  # as without `tune`, but for the rate and how it is judged
    for tuner in found.tuning.values():
        assert tuner.settings == {**plain, "lr": tuner.settings["lr"], "holdout": 0.2, "selection": "none"} and tuner.evaluation is None
    assert [(t.rules, t.seed, t.settings) for t in found.trials.values()] == [
        (rule, seed, {**plain, "lr": "tuned"}) for rule in ("bp", "fa") for seed in (0, 1)
    ]


def test_a_trial_is_what_its_grid_is_and_others_keep_their_ids():
    found, plain = planned(TUNED), planned()
    for trial in found.trials.values():
        own = [id for id, t in found.tuning.items() if t.rules == trial.rules]
        assert trial.params["tuning"] == [[rate, [id]] for rate, id in zip((0.1, 0.2, 0.3), own, strict=True)]
        assert "lrtuned" in trial.id and trial.overrides == ("epochs", "lr")
    assert not any("tuning" in t.params or "of_seed" in t.params for t in plain.trials.values())
    order = planned(TUNED, order=("[0.3, 0.1, 0.2]", "[0.1, 0.2, 0.3]"))
    assert order.trials.keys() == found.trials.keys()
    for change in (("0.3,", "0.4,"), ("holdout: 0.2", "holdout: 0.1"), ("holdout: 0.2", "holdout: 0.2, seeds: [1]")):
        assert not planned(TUNED, change=change).trials.keys() & found.trials.keys()


def test_tuning_trials_are_run_and_are_none_of_those_that_are_bounded():
    found = planned(TUNED, every=("trial/digits/*", "*"))  # test_error is bounded, which they do not have
    assert {id for _, id, _ in found.files()} == found.tuning.keys() | found.trials.keys()
    entries = found.to_dict()
    assert [e["id"] for e in entries["tuning"]] == list(found.tuning) and len(entries["trials"]) == 4
    with pytest.raises(ValueError, match="matches no run"):
        planned(TUNED, tuning=("trial/digits/*", "trial/*selectionnone*"))


CELLS = """
search: {methods: [darts, eg], rule_sets: {bio: [fa, usf]}}
cells: {rules: [searched, shuffled], retrainings: 3, settings: {epochs: 2}, tune: {lr: [0.1, 0.2], seeds: [1]}}
expect:"""


def test_a_cell_is_tuned_by_the_genotypes_of_the_tuning_seeds_and_all_seeds_take_its_rate():
    found = planned(cells=("expect:", CELLS))
    assert len(found.tuning) == 2 * 2 * 2  # searches, assignments, rates
    for tuner in found.tuning.values():
        parent = found.searches[tuner.parent]
        assert (parent.name, parent.seed, tuner.seed) == (tuner.network, 1, 1)
    cells = [t for t in found.trials.values() if t.parent]
    assert len(cells) == 2 * 2 * 2 * 3  # searches, assignments, seeds, trainings
    for trial in cells:
        assert {(t.network, t.rules) for t in trial.tuners} == {(trial.network, trial.rules)}
    assert len({json.dumps(t.params["tuning"]) for t in cells}) == 4


def test_what_one_seeds_search_found_is_trained_under_every_seed_if_asked():
    found = planned(cells=("expect:", CELLS.replace("retrainings: 3", "retrainings: 2, found_by: 1")))
    own = [t for t in found.trials.values() if t.network == "darts-bio-seed1" and t.rules == "shuffled"]
    assert [(t.unit, t.seed == t.unit) for t in own] == [(0, True), (0, False), (1, True), (1, False)]
    assert {(found.searches[t.parent].name, found.searches[t.parent].seed) for t in own} == {("darts-bio", 1)}
    assert all(t.id.startswith("digits/darts-bio-seed1/shuffled/") for t in own)
    with pytest.raises(ValueError, match=r"cells\.0\.found_by: found 5; allowed: one of the seeds 0, 1"):
        planned(cells=("expect:", CELLS.replace("retrainings: 3", "found_by: 5")))


def test_rates_may_be_tried_for_fewer_epochs_than_are_then_trained_with():
    short = planned(cells=("expect:", CELLS.replace("seeds: [1]", "seeds: [1], epochs: 1")))
    assert {t.settings["epochs"] for t in short.tuning.values()} == {1}
    assert {t.settings["epochs"] for t in short.trials.values() if t.parent} == {2}


def test_a_protocol_without_the_tuning_seeds_tunes_with_its_first():
    benchmark = spec.parse(GOOD.replace("expect:", CELLS))
    one = plan.plan(replace(benchmark, seeds=(0,)))
    assert {t.seed for t in one.tuning.values()} == {0}


def test_retrainings_are_other_seeds_of_the_same_genotype_that_no_definition_can_have():
    found = planned(cells=("expect:", CELLS))
    own = [t for t in found.trials.values() if (t.network, t.rules) == ("darts-bio", "shuffled")]
    assert [(t.seed, t.unit) for t in own] == [(s + 10_000_019 * k, s) for s in (0, 1) for k in (0, 1, 2)]
    assert all(found.searches[t.parent].seed == t.unit for t in own)
    assert [t.params.get("of_seed") for t in own] == [None, 0, 0, None, 1, 1]
    once = planned(cells=("expect:", CELLS.replace("retrainings: 3, ", "")))
    assert once.trials.keys() < found.trials.keys() and once.tuning.keys() == found.tuning.keys()
    assert own[1].id.startswith("digits/darts-bio/shuffled/seed10000019-of0-")


def test_tiny_keeps_two_rates_and_two_trainings():
    small = plan.plan(plan.cut(spec.parse(GOOD.replace("expect:", CELLS))))
    assert len(small.tuning) == 2 * 2 and {t.settings["lr"] for t in small.tuning.values()} == {0.1, 0.2}
    assert [t.seed for t in small.trials.values() if t.rules == "shuffled"] == [0, 10_000_019]


def test_the_table_shows_what_is_tuned_and_how_often_seeds_are_trained(tmp_path, capsys):
    (tmp_path / "cells.yaml").write_text(GOOD.replace("expect:", CELLS))
    main([str(tmp_path / "cells.yaml")])
    lines = capsys.readouterr().out.splitlines()
    assert sum("tuning" in line and "lr 0.1, 0.2" in line for line in lines) == 4  # a row for each network and assignment
    assert sum("0..1 × 3" in line for line in lines) == 4
    assert any("4 searches, 28 trials, 8 tuning trials" in line for line in lines)
