"""What a plan does to its trials: attacks by several presets, on images that other networks make, and analyses."""

import pytest

from suite import plan
from suite.definition import spec
from suite.plan.outdated import Outdated, resting

MODELS = "models: {names: [resnet20], rules: [bp, fa, usf], settings: {epochs: 3}}"
SEARCH = "search: {methods: [darts], rule_sets: {bio: [fa, usf], bp: [bp]}}"


def planned(attacks="", body=MODELS, more="", seeds="[0]"):
    text = f"name: toy\nabout: x\ndatasets: [digits]\nseeds: {seeds}\n{body}\n" + (f"attacks: {attacks}\n" if attacks else "") + more
    return plan.plan(spec.parse(text))


def ways(found, label):
    """By trial: through what an attack goes."""
    return {t.name: [way for one, way in t.evaluation.pairs if one == label] for t in found.trials.values() if t.evaluation}


def sources(found):
    """By trial: whose images it is given."""
    return {
        t.name: {rule: found.trials[id].name for rule, id in t.evaluation.sources.items()} for t in found.trials.values() if t.evaluation
    }


def test_an_evaluation_is_its_attacks_by_label_with_every_parameter():
    found = planned("[{names: [fgsm, onepixel], images: 7}, {names: [{name: fgsm, eps: 0.1}], gradients: [true]}]")
    (fa,) = [t.evaluation.params for t in found.trials.values() if t.rules == "fa"]
    assert {key: value for key, value in fa.items() if key != "numerics"} == {
        "attacks": {
            "fgsm": {"attack": "fgsm", "parameters": {"eps": 0.35}, "gradients": ["rule", "true"]},
            "fgsm@eps0.1": {"attack": "fgsm", "parameters": {"eps": 0.1}, "gradients": ["true"]},
            "onepixel": {"attack": "onepixel", "parameters": {"pixels": 1, "steps": 10, "popsize": 10}, "gradients": ["none"]},
        },
        "images": 7,
    }


def test_the_worst_case_has_a_number_for_every_budget_over_what_lies_within():
    found = planned("{names: [onepixel2, {name: pgd, eps: [0.1, 0.35]}, fgsm, apgd, onepixel, deepfool, {name: apgd, norm: L2, eps: 2}]}")
    trial = next(t for t in found.trials.values() if t.rules == "fa")
    worst = [name.removeprefix("worst_case_accuracy_") for name in trial.metrics if name.startswith("worst_case_accuracy_")]
    assert worst == ["l0_1", "l0_2", "l2_0.5", "l2_2", "linf_0.0314", "linf_0.1", "linf_0.35"]
    from suite.definition.runs import budgets

    within = {budget: set(labels) for budget, labels in budgets(trial.evaluation.params["attacks"]).items()}
    assert within["l0_1"] == {"onepixel"} and within["l0_2"] == {"onepixel", "onepixel2"}
    assert within["linf_0.0314"] == {"apgd"} and within["linf_0.1"] == {"apgd", "pgd@eps0.1"}
    assert within["linf_0.35"] == {"apgd", "pgd@eps0.1", "pgd@eps0.35", "fgsm"}
    assert within["l2_0.5"] == {"deepfool"} and within["l2_2"] == {"deepfool", "apgd@norm-L2-eps2"}


def test_sizes_that_are_written_alike_are_one_budget():
    found = planned("{names: [{name: fgsm, eps: 0.0314}, {name: pgd, eps: 0.03138}]}")
    names = next(t for t in found.trials.values() if t.rules == "fa").metrics
    assert [name for name in names if name.startswith("worst_case")] == ["worst_case_accuracy_linf_0.0314"]


# ------------------------------------------------------------------------------------------- images of other networks


def test_images_are_made_on_the_network_that_is_the_same_but_for_its_rules():
    found = planned("{names: [fgsm, square], transfer_from: [bp, usf]}", seeds="[0, 1]")
    assert ways(found, "fgsm") == {
        "resnet20/bp": ["from-usf", "true"],
        "resnet20/fa": ["from-bp", "from-usf", "rule", "true"],
        "resnet20/usf": ["from-bp", "rule", "true"],
    }
    assert set(map(tuple, ways(found, "square").values())) == {("none",)}  # it has no gradient to be led astray
    for id, trial in found.trials.items():
        assert all(found.trials[source].seed == trial.seed for source in trial.evaluation.sources.values())
        assert set(found.sources(f"trial/{id}")) == {f"trial/{source}" for source in trial.evaluation.sources.values()}
    assert dict(found.skipped)["attacks on bp with images made on bp"] == "that is the network itself, and its true gradient"


def test_whose_images_they_are_is_part_of_an_evaluations_id_and_of_no_other():
    base, other, fa_alone = (
        planned("{names: [fgsm], transfer_from: [bp]}", body=MODELS.replace("settings", f"{by_rule}settings"))
        for by_rule in ("", "by_rule: {bp: {lr: 0.2}}, ", "by_rule: {usf: {lr: 0.2}}, ")
    )
    of = [{t.rules: (t.id, t.evaluation.id) for t in found.trials.values()} for found in (base, other, fa_alone)]
    assert of[0]["fa"][0] == of[1]["fa"][0] and of[0]["fa"][1] != of[1]["fa"][1]
    assert of[0]["fa"] == of[2]["fa"] and of[0]["usf"][0] != of[2]["usf"][0]
    assert "sources" not in next(t for t in planned("{names: [fgsm]}").trials.values()).evaluation.params


def test_a_definition_without_such_a_network_says_so():
    found = planned("{names: [fgsm], transfer_from: [frsf]}")
    assert ways(found, "fgsm")["resnet20/fa"] == ["rule", "true"]
    reasons = dict(found.skipped)
    assert reasons["attacks on resnet20/fa with images made on frsf"] == "the definition has no trial that is the same but under frsf"


def test_cells_find_their_twins_in_another_entry_of_the_same_settings_and_in_none_of_others():
    cells = """cells:
  - {rules: [searched, uninformed, random], settings: {epochs: 2}}
  - {rules: [shuffled, usf, bp], searches: [darts-bio], settings: {epochs: EPOCHS}}"""
    found = planned("{names: [fgsm], transfer_from: [bp]}", body=f"{SEARCH}\n{cells.replace('EPOCHS', '2')}")
    assert sources(found) == {
        "darts-bio/searched": {"bp": "darts-bio/bp"},
        "darts-bio/shuffled": {"bp": "darts-bio/bp"},
        "darts-bio/usf": {"bp": "darts-bio/bp"},
        "darts-bio/bp": {},
        **{f"{network}/{control}": {} for network in ("darts-bio", "darts-bp") for control in ("uninformed", "random")},
        "darts-bp/searched": {},
    }
    reasons = dict(found.skipped)
    assert "genotype is its own" in reasons["attacks on darts-bio/random with images made on bp"]
    assert "the network itself" in reasons["attacks on darts-bp/searched with images made on bp"]
    others = planned("{names: [fgsm], transfer_from: [bp]}", body=f"{SEARCH}\n{cells.replace('EPOCHS', '3')}")
    assert sources(others)["darts-bio/searched"] == {} and sources(others)["darts-bio/usf"] == {"bp": "darts-bio/bp"}


def test_a_retraining_takes_the_images_of_its_own_seed_or_else_of_the_definitions():
    cells = "cells: [{rules: [fa], genotypes: [biodarts], retrainings: 2}, {rules: [bp], genotypes: [biodarts]RETRAININGS}]"
    for more, same in ((", retrainings: 2", True), ("", False)):
        found = planned("{names: [fgsm], transfer_from: [bp]}", body=cells.replace("RETRAININGS", more), seeds="[3]")
        pairs = [(t.seed, found.trials[t.evaluation.sources["bp"]].seed) for t in found.trials.values() if t.rules == "fa"]
        assert len(pairs) == 2 and [one == other for one, other in pairs] == [True, same] and pairs[0][0] == 3


def test_biotorchs_layers_make_no_images_and_are_analysed_by_their_weights_alone():
    text = MODELS.replace("settings: {", "settings: {backend: biotorch, ")
    found = planned("{names: [fgsm], transfer_from: [bp]}", body=text, more="analyses: [weights, gradients, alignment]\n")
    assert {(way, t.evaluation.analyses, t.track) for t in found.trials.values() for _, way in t.evaluation.pairs} == {
        ("rule", ("weights",), ())
    }
    assert not any("gradient_cosine" in t.metrics for t in found.trials.values())
    reasons = dict(found.skipped)
    assert reasons["attacks on resnet20/fa with images made on bp"] == "the feedback of biotorch's layers cannot be switched off"
    assert reasons["analysis of biotorch's layers: gradients"] == "their feedback cannot be switched off"


def test_a_network_as_a_whole_may_be_attacked_through_both_gradients_and_make_images():
    found = planned("{names: [fgsm], transfer_from: [dfa]}", body=MODELS.replace("[bp, fa, usf]", "[bp, dfa]"))
    assert ways(found, "fgsm") == {"resnet20/bp": ["from-dfa", "true"], "resnet20/dfa": ["rule", "true"]}


def test_protocols_that_share_a_network_share_what_is_done_to_it():
    found = planned("{names: [fgsm], transfer_from: [bp, usf]}", more="protocols: [repaired, paper]\n")
    (fa,) = [t for t in found.trials.values() if t.rules == "fa"]
    assert fa.protocols == ("repaired", "paper")
    assert found.trials[fa.evaluation.sources["usf"]].protocols == ("repaired",)  # two usf nets, of two scales: the first one's


# ------------------------------------------------------------------------------------------- some networks alone, and analyses


def test_an_attack_may_be_for_some_networks_and_seeds_alone():
    body = f"{MODELS.replace('[resnet20]', '[resnet20, resnet56]')}"
    found = planned("[{names: [fgsm]}, {names: [square], networks: [resnet20], seeds: [1]}]", body=body, seeds="[0, 1]")
    squares = {(t.network, t.seed) for t in found.trials.values() if ("square", "none") in t.evaluation.pairs}
    assert squares == {("resnet20", 1)}
    with pytest.raises(ValueError, match="attacks: square: networks: 'resnet65' is unknown; allowed: resnet20, resnet56; did you mean"):
        planned("[{names: [square], networks: [resnet65]}]", body=body)


def test_analyses_need_no_attacks_and_are_no_other_network_unless_they_watch_its_training():
    plain, after, during = (planned(more=f"analyses: [{names}]\n") for names in ("", "weights, gradients", "alignment"))
    assert plain.trials.keys() == after.trials.keys()
    assert plain.trials.keys().isdisjoint(during.trials)
    assert {t.evaluation for t in plain.trials.values()} == {None}
    assert [{k: v for k, v in t.evaluation.params.items() if k != "numerics"} for t in after.trials.values()] == [
        {"attacks": {}, "images": 0, "analyses": ["gradients", "weights"]}
    ] * 3
    assert [(t.evaluation, t.params["track"]) for t in during.trials.values()] == [(None, ["alignment"])] * 3
    assert all("track" not in t.params for t in plain.trials.values())


def test_what_chooses_a_rate_is_not_watched():
    tuned = MODELS.replace("settings: {epochs: 3}", "settings: {epochs: 3}, tune: {lr: [0.1, 0.2]}")
    plain, watched = planned(body=tuned), planned(body=tuned, more="analyses: [alignment]\n")
    assert plain.tuning.keys() == watched.tuning.keys() and plain.trials.keys().isdisjoint(watched.trials)


def test_tiny_attacks_are_all_there_and_short():
    text = "name: toy\nabout: x\ndatasets: [digits]\n" + MODELS
    text += "\nattacks: [{names: [apgd, onepixel, {name: pgd, n_restarts: 5}]}, {names: [square], networks: [resnet20], seeds: [0]}]\n"
    (attacks, *others) = [t.evaluation.params["attacks"] for t in plan.plan(plan.cut(spec.parse(text))).trials.values()]
    assert all(other.keys() == attacks.keys() for other in others)
    assert attacks.keys() == {"apgd", "onepixel", "pgd@n_restarts5", "square"}
    assert max(p.get(key, 0) for a in attacks.values() for p in [a["parameters"]] for key in ("steps", "n_restarts", "n_queries")) == 20
    assert attacks["apgd"]["parameters"]["steps"] == 3


def test_claims_attacks_the_networks_of_lenet():
    lenet, claims = (plan.load(f"benchmarks/{name}.yaml") for name in ("lenet", "claims"))
    assert lenet.trials.keys() == claims.trials.keys() and lenet.tuning.keys() == claims.tuning.keys()
    for trial in claims.trials.values():
        assert {a.name for a in trial.evaluation.attacks} == {"fgsm", "pgd", "apgd", "apgd_dlr", "apgd_t", "fab", "square"}
        assert {way for _, way in trial.evaluation.pairs} == {"true", "none"} | ({"rule", "from-bp"} if trial.rules != "bp" else set())
        assert trial.evaluation.images >= 1000 and trial.evaluation.analyses == ("gradients", "weights")


def test_every_cell_of_table_2_stands_beside_single_shuffled_and_bp_nets():
    rules = {}
    for trial in plan.load("benchmarks/robustness.yaml").trials.values():
        rules.setdefault((trial.network, trial.protocols), set()).add(trial.rules)
    cells = {name for name, _ in rules if not name.startswith("resnet")}
    assert cells == {"biodarts", "darts-bio", "eg-bio"}
    assert all(rules[key] == {"searched", "shuffled", "fa", "usf", "brsf", "frsf", "bp"} for key in rules if key[0] in cells)


# ------------------------------------------------------------------------------------------- what such a trial takes


def test_a_selection_brings_along_who_makes_its_images_and_everything_that_that_takes():
    (found,) = plan.select([planned("{names: [fgsm], transfer_from: [bp]}", seeds="[0, 1]")], "rules=fa seed=1")
    assert {(t.rules, t.seed) for t in found.trials.values()} == {("fa", 1), ("bp", 1)}


def test_attacks_rest_on_the_training_of_whoever_makes_their_images():
    found = planned("{names: [fgsm], transfer_from: [bp]}")
    bp = next(id for id, t in found.trials.items() if t.rules == "bp")
    anew = resting(found, [Outdated("", f"trial/{bp}/train", "a", "b")])
    assert set(anew) == {f"trial/{id}/evaluation" for id in found.trials}
    alone = planned("{names: [fgsm]}")
    assert resting(alone, [Outdated("", f"trial/{bp}/train", "a", "b")]) == [f"trial/{bp}/evaluation"]
