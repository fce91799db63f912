"""The format: what is allowed, and one helpful line for everything else."""

import pytest
from jsonschema import Draft202012Validator

from bionas import catalog
from suite.definition import schema, spec

GOOD = """
name: good
about: a definition
datasets: [digits]
seeds: [0, 1]
device: cpu
models:
  names: [resnet20]
  rules: [bp, fa]
  settings: {epochs: 3}
attacks:
  names: [fgsm]
  images: 10
expect:
  "trial/digits/*": {test_error: {at_most: 5}}
"""

ONE_CELL = "cells: {rules: [fa], genotypes: [biodarts], "

# (what stands there, what to write instead, what the line must say)
MISTAKES = {
    "unknown key": ("seeds:", "seed:", ["unknown key 'seed'", "did you mean 'seeds'", "datasets"]),
    "unknown setting": ("epochs: 3", "epoch: 3", ["models.settings", "did you mean 'epochs'"]),
    "key of a later version": ("models:", "figures: []\nmodels:", ["unknown key 'figures'"]),
    "a number in quotes": ("epochs: 3", 'epochs: "3"', ["models.settings.epochs", "found the text '3'", "write 3, without quotes"]),
    "a whole number with a point": ("epochs: 3", "epochs: 3.0", ["models.settings.epochs", "found 3.0", "whole number; write 3"]),
    "nought with a point": ("seeds: [0, 1]", "seeds: [0.0, 1]", ["seeds.0", "found 0.0", "write 0"]),
    "a truth for a number": ("seeds: [0, 1]", "seeds: [true]", ["seeds.0", "found true", "a whole number"]),
    "a GPU by another name": ("device: cpu", "device: gpu", ["device", "'gpu' is unknown", "did you mean 'cuda'"]),
    "more images than there are": ("images: 10", "images: 5000", ["attacks.0.images", "found 5000", "at most 364", "digits"]),
    "a key that is out of line": ("device: cpu", "  device: cpu", ["line 6", "does not line up"]),
    "a colon too many": ("device: cpu", "device: cpu: 3", ["line 6", "a second ':' in one line"]),
    "no space after a colon": ("name: good", "name:good", ["line 3"]),
    "a bracket that stays open": ("[bp, fa]", "[bp, fa", ["a bracket that is not closed"]),
    "a quote that stays open": ('"trial/digits/*"', '"trial/digits/*', ["a quote that is not closed"]),
    "unknown analysis": ("models:", "analyses: [weight]\nmodels:", ["analyses.0", "did you mean 'weights'"]),
    "unknown method": (
        "models:",
        "search: {methods: [dart], rule_sets: {a: [fa]}}\nmodels:",
        ["search.0.methods.0", "did you mean 'darts'"],
    ),
    "empty rule set": ("models:", "search: {methods: [darts], rule_sets: {a: []}}\nmodels:", ["search.0.rule_sets.a", "empty"]),
    "no rule sets": ("models:", "search: {methods: [darts], rule_sets: {}}\nmodels:", ["search.0.rule_sets", "empty"]),
    "unknown rule in a set": ("models:", "search: {methods: [darts], rule_sets: {a: [fb]}}\nmodels:", ["search.0.rule_sets.a.0", "fa"]),
    "a search twice": (
        "models:",
        "search: [{methods: [darts, eg], rule_sets: {a: [fa]}}, {methods: [darts], rule_sets: {a: [bp]}}]\nmodels:",
        ["search", "'darts-a' stands twice"],
    ),
    "unknown genotype": ("models:", "cells: {rules: [searched], genotypes: [darts]}\nmodels:", ["cells.0.genotypes.0", "darts_v1"]),
    "unknown assignment": ("models:", "cells: {rules: [shufled], genotypes: [biodarts]}\nmodels:", ["cells.0.rules.0", "shuffled"]),
    "cells of nothing": ("models:", "cells: {rules: [searched]}\nmodels:", ["cells.0", "no genotype"]),
    "unknown search": ("models:", "cells: {rules: [fa], searches: [darts-bio]}\nmodels:", ["cells.0.searches", "darts-bio"]),
    "too few cells": (
        "models:",
        ONE_CELL + "settings: {cells: 2}}\nmodels:",
        ["cells.0.settings.cells", "3"],
    ),
    "by an unknown method": (
        "models:",
        ONE_CELL + "by_method: {dart: {}}}\nmodels:",
        ["by_method", "darts"],
    ),
    "warm-up without end": ("models:", "search: {methods: [eg], rule_sets: {a: [fa]}, settings: {epochs: 9}}\nmodels:", ["warmup", "15"]),
    "biotorch beyond its means": ("epochs: 3", "backend: biotorch, scale: rms", ["models.settings.backend", "init_std"]),
    "a network's rule from biotorch": (
        "[bp, fa]\n  settings: {epochs: 3}",
        "[dfa]\n  settings: {backend: biotorch}",
        ["models.settings.backend", "'dfa'", "native"],
    ),
    "biotorch in bfloat16": ("epochs: 3", "backend: biotorch, precision: bfloat16", ["models.settings.precision", "allowed: float32"]),
    "graphs without a GPU": ("epochs: 3", "compile: cudagraphs", ["models.settings.compile", "device: cuda", "found cpu"]),
    "compiled, drawing in every step": ("epochs: 3", "compile: inductor, brsf_redraw: forward", ["brsf_redraw: update"]),
    "compiled, listening at the output": (
        "[bp, fa]\n  settings: {epochs: 3}",
        "[dfa]\n  settings: {compile: inductor}",
        ["models.settings.compile", "'dfa'"],
    ),
    "compiled, dropping paths": (
        "models:",
        "cells: {genotypes: [biodarts], rules: [searched], settings: {compile: inductor}}\nmodels:",
        ["cells.0.settings.compile", "set drop_path: 0"],
    ),
    "a network's rule in a search": (
        "models:",
        "search: {methods: [darts], rule_sets: {a: [dfa]}}\nmodels:",
        ["search.0.rule_sets.a.0", "'dfa'", "bp, fa, usf, brsf, frsf"],
    ),
    "missing key": ("about: a definition", "", ["'about' is missing: one sentence for plan and report"]),
    "unknown rule": ("[bp, fa]", "[bp, uSF]", ["models.rules.1", "'uSF'", "bp, fa, usf, brsf, frsf", "did you mean 'usf'"]),
    "unknown model": ("resnet20", "resnet21", ["models.names.0", "resnet20, resnet56"]),
    "unknown data set": ("[digits]", "[mnist]", ["datasets.0", "fashion_mnist"]),
    "unknown attack": ("fgsm", "fgms", ["attacks.0.names.0", "did you mean 'fgsm'"]),
    "unknown attack with a parameter": ("[fgsm]", "[{name: fgms, eps: 0.1}]", ["attacks.0.names.0.name", "did you mean 'fgsm'"]),
    "attack without a name": ("[fgsm]", "[{eps: 0.1}]", ["attacks.0.names.0", "'name' is missing"]),
    "attack of no kind": ("[fgsm]", "[3]", ["attacks.0.names.0", "found 3", "a mapping"]),
    "unknown parameter": ("[fgsm]", "[pgd, {name: pgd, step: 3}]", ["attacks.0.names.1: pgd", "'step' is unknown", "did you mean 'steps'"]),
    "another attack's parameter": ("[fgsm]", "[{name: fgsm, n_queries: 3}]", ["attacks.0.names.0", "'n_queries'", "eps"]),
    "parameter of the wrong kind": ("[fgsm]", "[{name: pgd, eps: [0.1, much]}]", ["attacks.0.names.0", "eps", "'much'", "a number"]),
    "half a step": ("[fgsm]", "[{name: pgd, steps: 2.5}]", ["attacks.0.names.0", "steps", "2.5", "a whole number"]),
    "a curve without points": ("[fgsm]", "[{name: pgd, eps: []}]", ["attacks.0.names.0.eps", "empty"]),
    "an attack twice": (
        "[fgsm]",
        "[{name: pgd, eps: 0.1}, {name: pgd, eps: [0.2, 0.10]}]",
        ["attacks.0.names.1", "'pgd@eps0.1' stands twice"],
    ),
    "an attack twice, by another entry": (
        "attacks:\n  names: [fgsm]\n  images: 10",
        "attacks: [{names: [fgsm]}, {names: [pgd, fgsm], gradients: [rule]}]",
        ["attacks.1.names.1", "'fgsm' stands twice"],
    ),
    "attacks on other images": (
        "attacks:\n  names: [fgsm]\n  images: 10",
        "attacks: [{names: [fgsm]}, {names: [pgd], images: 10}, {names: [tpgd], images: 20}]",
        ["attacks.2.images: found 20", "allowed: 10", "attacks.1.images"],
    ),
    "attacks of nothing": ("attacks:\n  names: [fgsm]\n  images: 10", "attacks: []", ["attacks", "empty"]),
    "images from an unknown rule": ("images: 10", "transfer_from: [dpf]", ["attacks.0.transfer_from.0", "did you mean 'dfa'"]),
    "an attack on a seed that there is not": (
        "images: 10",
        "seeds: [0, 2]",
        ["attacks: fgsm: seeds: found 2", "allowed: the definition's 0, 1"],
    ),
    "unknown protocol": ("device:", "protocols: [papers]\ndevice:", ["protocols.0.name", "did you mean 'paper'"]),
    "unknown device": ("device: cpu", "device: gpu", ["device", "auto, cpu, cuda"]),
    "bounds that exclude each other": ("at_most: 5", "at_most: 5, at_least: 6", ["expect.trial/digits/*.test_error", "above"]),
    "a number beyond all": ("epochs: 3", "lr: 1" + "0" * 400, ["at most"]),
    "no milestones": ("epochs: 3", "milestones: []", ["milestones", "empty"]),
    "name with a newline": ("name: good", r'name: "good\n"', ["name", "lower-case"]),
    "name like an option": ("name: good", "name: --cores", ["name", "lower-case"]),
    "unknown bound": ("at_most", "atmost", ["did you mean 'at_most'"]),
    "wrong type": ("epochs: 3", "epochs: many", ["models.settings.epochs", "'many'", "a whole number"]),
    "text for a list": ("[digits]", "digits", ["datasets", "a list; write [digits]"]),
    "number for a list": ("[0, 1]", "3", ["seeds: found 3", "a list; write [3]"]),
    "boolean for a number": ("images: 10", "images: true", ["attacks.0.images", "found true"]),
    "number read as text": ("epochs: 3", "lr: 3e-4", ["models.settings.lr", "3e-4", "write 0.0003"]),
    "number in quotes": ("epochs: 3", "epochs: '3'", ["write 3"]),
    "not finite": ("epochs: 3", "lr: .inf", ["line 10", "finite"]),
    "out of range": ("epochs: 3", "epochs: 0", ["models.settings.epochs", "at least 1"]),
    "duplicate key": ("epochs: 3", "epochs: 3, epochs: 4", ["line 10", "'epochs' stands twice"]),
    "duplicate top key": ("device:", "seeds: [3]\ndevice:", ["'seeds' stands twice"]),
    "duplicate entry": ("[bp, fa]", "[bp, fa, bp]", ["models.rules", "'bp' stands twice"]),
    "negative seed": ("[0, 1]", "[0, -1]", ["seeds.1", "-1", "at least 0"]),
    "fractional seed": ("[0, 1]", "[0.5]", ["seeds.0", "0.5"]),
    "empty list": ("[bp, fa]", "[]", ["models.rules", "empty"]),
    "bad name": ("name: good", "name: Good Name", ["name", "lower-case"]),
    "reserved name": ("name: good", "name: runs", ["reserved"]),
    "best_val without a holdout": ("epochs: 3", "selection: best_val", ["selection", "holdout"]),
    "a rate beside its grid": (
        "epochs: 3}",
        "lr: 0.1}\n  tune: {lr: [0.1, 0.2]}",
        ["models.settings.lr: 0.1", "models.tune", "one of the two"],
    ),
    "a rule's rate beside its grid": (
        "epochs: 3}",
        "epochs: 3}\n  tune: {lr: [0.1, 0.2]}\n  by_rule: {fa: {lr: 0.1}}",
        ["models.by_rule.fa.lr: 0.1", "models.tune"],
    ),
    "a method's rate beside its grid": (
        "models:",
        ONE_CELL + "tune: {lr: [0.1, 0.2]}, by_method: {eg: {lr: 0.3}}}\nmodels:",
        ["cells.0.by_method.eg.lr: 0.3", "cells.0.tune"],
    ),
    "a grid of one rate": ("epochs: 3}", "epochs: 3}\n  tune: {lr: [0.1]}", ["models.tune.lr: has 1", "at least 2"]),
    "a grid with a rate twice": ("epochs: 3}", "epochs: 3}\n  tune: {lr: [0.1, 0.10]}", ["models.tune.lr", "stands twice"]),
    "a grid without rates": ("epochs: 3}", "epochs: 3}\n  tune: {holdout: 0.1}", ["models.tune", "'lr' is missing"]),
    "rates judged on nothing": ("epochs: 3}", "epochs: 3}\n  tune: {lr: [0.1, 0.2], holdout: 0}", ["models.tune.holdout", "more than 0"]),
    "rates tried with a foreign seed": (
        "epochs: 3}",
        "epochs: 3}\n  tune: {lr: [0.1, 0.2], seeds: [0, 2]}",
        ["models.tune.seeds: found 2", "allowed: the definition's 0, 1"],
    ),
    "a selection that only tuning has": ("epochs: 3", "selection: none", ["models.settings.selection", "last, best_val"]),
    "no retrainings": ("models:", ONE_CELL + "retrainings: 0}\nmodels:", ["cells.0.retrainings", "at least 1"]),
    "retrainings that might meet a seed": (
        "[0, 1]",
        "[0, 10000019]\ncells: {rules: [fa], genotypes: [biodarts], retrainings: 2}",
        ["seeds: found 10000019", "cells.0.retrainings", "below 10000019"],
    ),
    "not YAML": ("[digits]", "[digits", ["line"]),
    "another YAML document": (GOOD, "[1, 2]", ["a mapping"]),
    "empty": (GOOD, "", ["nothing"]),
    "python object": ("a definition", "!!python/object/apply:os.system [true]", ["line 3", "python/object"]),
    "abyss": (GOOD, "[" * 9999, ["deep"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_where_and_what_is_allowed(mistake, tmp_path):
    old, new, words = MISTAKES[mistake]
    assert old in GOOD
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ValueError) as error:
        spec.read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    assert [word for word in words if word not in line] == []


def test_a_missing_file_is_guessed(tmp_path):
    (tmp_path / "demo.yaml").write_text(GOOD)
    with pytest.raises(ValueError, match=r"no such definition; did you mean .*demo\.yaml"):
        spec.read(tmp_path / "dmo.yaml")
    with pytest.raises(ValueError, match="not a readable text file"):
        spec.read(tmp_path)


def test_defaults_are_filled_in_but_settings_stay_as_written():
    benchmark = spec.parse(GOOD)
    assert ([(p.name, p.seeds) for p in benchmark.protocols], benchmark.threads) == ([("repaired", ())], 1)
    (attack,) = benchmark.attacks.each
    assert (attack.label, attack.parameters, attack.gradients, attack.transfer_from) == ("fgsm", {"eps": 0.35}, ("rule", "true"), ())
    assert benchmark.models.settings == {"epochs": 3}


def test_a_grid_is_in_order_and_has_a_holdout():
    tune = spec.parse(GOOD.replace("epochs: 3}", "epochs: 3}\n  tune: {lr: [1, 0.01, 0.1]}")).models.tune
    assert (tune.lr, tune.holdout, tune.seeds) == ((0.01, 0.1, 1.0), 0.1, None)


def test_the_gradient_true_needs_no_quotes():
    (attack,) = spec.parse(GOOD.replace("images: 10", "gradients: [rule, true]")).attacks.each
    assert attack.gradients == ("rule", "true")


def attacks(text):
    return spec.parse(GOOD.replace("attacks:\n  names: [fgsm]\n  images: 10", f"attacks: {text}")).attacks


def test_one_mapping_of_attacks_is_a_list_of_one_and_images_are_said_once():
    assert attacks("{names: [fgsm], images: 7}") == attacks("[{names: [fgsm], images: 7}]")
    assert attacks("[{names: [fgsm]}, {names: [pgd], images: 7}]").images == 7
    assert attacks("[{names: [fgsm]}]").images == 1000


def test_a_list_of_values_is_an_attack_each_and_several_lists_their_product():
    found = {a.label: a.parameters for a in attacks("{names: [{name: pgd, eps: [0.1, 1], steps: [3, 4]}]}").each}
    assert {label: (p["eps"], p["steps"]) for label, p in found.items()} == {
        "pgd@eps0.1-steps3": (0.1, 3),
        "pgd@eps0.1-steps4": (0.1, 4),
        "pgd@eps1-steps3": (1.0, 3),
        "pgd@eps1-steps4": (1.0, 4),
    }
    assert all(p["alpha"] == 2 / 255 and p["random_start"] is True for p in found.values())  # the preset's


def test_presets_stand_side_by_side_under_names_of_their_own():
    both = "[{names: [pgd, apgd]}, {names: [apgd, {name: pgd, n_restarts: 5}], preset: standard}]"
    found = {a.label: a.parameters.get("eps") for a in attacks(both).each}
    assert found == {"pgd": 0.35, "pgd@standard-n_restarts5": 8 / 255, "apgd": 8 / 255, "apgd@standard": 8 / 255}


def test_a_mapping_may_take_over_anothers_keys_and_write_some_anew():
    text = GOOD.replace("{epochs: 3}", "&short {epochs: 3, lr: 0.2}")
    text += "cells: {rules: [fa], genotypes: [biodarts], settings: {<<: *short, epochs: 4}}\n"
    assert spec.parse(text).cells[0].settings == {"lr": 0.2, "epochs": 4}


def test_numbers_have_one_spelling():
    settings = spec.parse(GOOD.replace("epochs: 3", "epochs: 3, lr: 1")).models.settings
    assert [(type(v), v) for v in settings.values()] == [(int, 3), (float, 1.0)]


def test_every_key_of_the_format_is_documented_and_every_default_allowed():
    def visit(node, path):
        for key, child in node.get("properties", {}).items():
            assert child.get("description"), f"{path}.{key}"
            if "default" in child:
                wrapped = {"type": "object", "properties": {key: child}}
                Draft202012Validator(wrapped).validate({key: child["default"]})
            visit(child, f"{path}.{key}")

    visit(schema.schema(), "")


def test_a_protocols_row_holds_settings_of_the_format_alone():
    for row in schema.protocols().values():
        for section, settings in row.items():
            known = schema.default_settings(section).keys()
            assert settings.keys() - {"by_method"} <= known
            for method, own in settings.get("by_method", {}).items():
                assert method in catalog.SEARCHERS and own.keys() <= known


def test_biotorchs_recipe_is_the_default():
    defaults = schema.default_settings("models")
    recipe = {
        "epochs": 250,
        "batch_size": 128,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "multistep",
        "init": "xavier",
    }
    assert {name: defaults[name] for name in recipe} == recipe
    assert [250 * m for m in defaults["milestones"]] == [100, 150, 200]
