"""A plan's price, held against networks that were built, and against counts by hand."""

import pytest

from bionas import catalog, space
from bionas.networks import Network, account, ops
from bionas.space import PUBLISHED, Candidate, SearchSpace, random_genotype
from bionas.supernet import Supernet
from data_prep import DATASETS, SIZES, Variant
from suite import plan
from suite.definition import cost, price, schema, spec
from suite.definition.runs import Search

BIO = ("fa", "usf", "brsf", "frsf")


# Idelbayev's table: 40.81 M and 0.27 M, 125.49 M and 0.85 M.
@pytest.mark.parametrize(("name", "flops", "parameters"), [("resnet20", 40.81e6, 0.27e6), ("resnet56", 125.49e6, 0.85e6)])
def test_a_resnet_has_the_published_multiply_adds_and_parameters(name, flops, parameters):
    found = account.of_model(catalog.MODELS[name], 10, (3, 32, 32))
    assert (found[0][0], found[1]) == (pytest.approx(flops, rel=0.01), pytest.approx(parameters, rel=0.01))


@pytest.mark.parametrize("genotype", [*PUBLISHED.values(), random_genotype(SearchSpace(BIO), 4, 0)], ids=lambda g: g.to_json()[:30])
@pytest.mark.parametrize("cells", [3, 8])
def test_a_derived_networks_multiply_adds_are_those_of_the_built_one(genotype, cells):
    images = cost.Images(3, 16, 10)
    flops, numbers, layers = account.counted(Network(genotype, 3, 10, 8, cells, 16), (3, 16, 16))
    pools = [c for _, genes in genotype.cells() for c, _ in genes if c.operation.endswith("pool_3x3")]  # no layer with weights
    found = cost.network(genotype, images, 8, cells)
    assert found.flops == flops
    assert (found.numbers, found.layers) == (numbers, layers) if not pools else (found.numbers > numbers and found.layers > layers)


@pytest.mark.parametrize("protocol", ["repaired", "released"])
def test_a_supernets_multiply_adds_are_those_of_the_plain_one(protocol):
    space, images = SearchSpace(BIO, protocol), cost.Images(3, 8, 10)
    assert cost.supernet(space, images, 4, 3, 2).flops == account.flops(Supernet(space, 3, 10, 4, 3, 2, fused=False), (3, 8, 8))


def test_an_unknown_genotype_costs_the_mean_of_many():
    space, images = SearchSpace(BIO), cost.Images(3, 16, 10)
    drawn = [cost.network(random_genotype(space, 4, seed), images, 8, 5) for seed in range(2000)]
    mean = cost.mean_network(space, 4, images, 8, 5)
    for what in ("flops", "numbers", "layers"):
        assert getattr(mean, what) == pytest.approx(sum(getattr(one, what) for one in drawn) / len(drawn), rel=0.01)


def test_at_one_pixel_a_layer_costs_its_weights():
    images, genotype = cost.Images(3, 1, 10), PUBLISHED["biodarts"]
    built = Network(genotype, 3, 10, 8, 5, 16)
    assert cost.network(genotype, images, 8, 5).flops == sum(weights for _, weights in account.layers_by_rule(built).values())


@pytest.mark.parametrize("released", [False, True])
def test_weights_by_gene_are_those_of_the_built_network(released):
    """A single gene under FA in a network of BP: what the built network has under FA is what the gene was said to have."""
    for genotype in (PUBLISHED["biodarts"], random_genotype(SearchSpace(BIO), 3, 5)):
        found, plain = cost.weights_by_gene(genotype, 8, 5), genotype.assigned("bp")
        for carrier in genotype.carriers(released):
            built = Network(plain.with_rules({carrier: "fa"}), 3, 10, 8, 5, 16, released=released)
            assert account.layers_by_rule(built)["fa"][1] == found[carrier] > 0


def test_every_data_set_has_a_size():
    assert SIZES.keys() == DATASETS.keys()
    assert Variant.parse("fashion_mnist-16px-rgb-n100").size == type(SIZES["digits"])(100, 10_000, 3, 16, 10)


def test_a_definitions_price_by_hand():
    planned = plan.plan(
        spec.parse("""
name: toy
about: a price by hand
datasets: [cifar10]
models: {names: [resnet20], rules: [fa], settings: {epochs: 2, holdout: 0.1, selection: best_val}}
attacks: {names: [pgd], images: 100}
""")
    )
    found = price.of(planned.searches, planned.trials)
    stages = 6 * 16 * 16 * 9 * 32**2 + (16 * 32 + 5 * 32 * 32) * 9 * 16**2 + (32 * 64 + 5 * 64 * 64) * 9 * 8**2
    each = 3 * 16 * 9 * 32**2 + stages + 64 * 10
    passes = 3 * 2 * 45_000 + 2 * 5_000 + 10_000  # train, validate, test
    passes += 100 * (2 * (3 * 10 + 2) + 2 * 3)  # PGD by 10 steps through two gradients, and their cosine
    assert found.epochs == 2 and found.images == 2 * 50_000 + 10_000 + 200 and found.flops == passes * each
    assert found.numbers == passes * (7 * 16 * 32**2 + 6 * 32 * 16**2 + 6 * 64 * 8**2 + 10)  # what each layer puts out for an image
    steps, looks = 2 * 352, 2 * 10 + 20  # batches of 128 to learn from, of 512 to validate and test
    assert found.calls == 20 * (3 * steps + looks + 2 * (3 * 10 + 2) + 2 * 3)  # of 20 layers; the attacked images are one batch
    assert found.disk == 60_000 * 3 * 32 * 32 + 2 * price.RUN_FILE + 4 * 269_722  # float32


def test_choosing_a_rate_is_part_of_the_price_and_looks_at_no_test_image():
    text = "name: toy\nabout: x\ndatasets: [cifar10]\nseeds: [0, 1]\nmodels: {names: [resnet20], rules: [fa], settings: {epochs: 2}TUNE}\n"
    plain, tuned = (plan.plan(spec.parse(text.replace("TUNE", tune))) for tune in ("", ", tune: {lr: [0.1, 0.2, 0.3], holdout: 0.2}"))
    before, found = price.of(plain.searches, plain.trials), price.of(tuned.searches, tuned.trials)
    each = before.flops // (2 * (3 * 2 * 50_000 + 10_000))
    assert found.epochs - before.epochs == 3 * 2
    assert found.images - before.images == 3 * 2 * (40_000 + 10_000)  # what trains, and what is held out
    assert found.flops - before.flops == 3 * 2 * (3 * 40_000 + 10_000) * each


@pytest.mark.parametrize(
    ("written", "forward"),
    [  # of an image, before and after included; a step is a pass forward and one back, which counts as two
        ("fgsm", 3 + 2),
        ("{name: pgd, n_restarts: 5, eot: 4}", 5 * 4 * 3 * 10 + 2),
        ("{name: apgd, steps: 7}", 3 * 7 + 2),
        ("{name: apgd_t, steps: 7}", 9 * 3 * 7 + 2),  # towards each of the 9 other digits
        ("{name: fab, steps: 7}", 7 * (2 + 10 * 2) + 2),  # the gradient of each class, and a look at where that led
        ("square", 1000 + 2),
        ("{name: square, n_queries: 5000}", 5000 + 2),
        ("onepixel", 11 * 10 + 2),  # ten children of ten after the first ten
        ("{name: onepixel3, steps: 30, popsize: 150}", 31 * 150 + 2),
        ("{name: onepixel4, steps: 30, popsize: 150}", 31 * 140 + 2),  # whole multiples of the 20 numbers that four pixels are
    ],
)
def test_what_an_attack_costs_by_hand(written, forward):
    text = f"name: toy\nabout: x\ndatasets: [digits]\nmodels: {{names: [resnet20], rules: [fa]}}\nattacks: {{names: [{written}]}}\n"
    (trial,) = plan.plan(spec.parse(text)).trials.values()
    (attacked,) = trial.evaluation.attacks
    assert price.passes(attacked, 10) == forward


def test_a_population_is_judged_in_one_call_and_a_wrong_image_is_looked_at_alone():
    text = "name: toy\nabout: x\ndatasets: [digits]\nmodels: {names: [resnet20], rules: [fa]}\nattacks: {names: [onepixel], images: 10}\n"
    (trial,) = plan.plan(spec.parse(text)).trials.values()
    one = cost.Forward(1000, 100, 1)
    found, half, none = (price.of_evaluation(trial.evaluation, trial, one, right) for right in (1.0, 0.5, 0.0))
    assert found.calls == 11 + 1 + 6  # eleven generations of ten, a look before and after, and the cosine of two gradients
    assert (found.flops, half.flops, none.flops) == (10 * (112 + 6) * 1000, 10 * (56 + 6) * 1000, 10 * 6 * 1000)
    assert half.calls == found.calls and none.calls == 6


def test_transfers_released_numbers_and_analyses_are_part_of_the_price():
    text = "name: toy\nabout: x\ndatasets: [digits]\nmodels: {names: [resnet20], rules: [fa, bp], settings: {epochs: 2}}\n"

    def flops(more=""):
        planned = plan.plan(spec.parse(text + more))
        found = [price.of_trial(trial, None).flops for trial in planned.trials.values() if trial.rules == "fa"]
        return found[0] / each

    each = 1
    each = flops() / (3 * 2 * 1433 + 364)  # epochs of 1,433 images and 364 to test on
    attack, cosine = 3 + 2, 2 * 3
    assert flops("attacks: {names: [fgsm], images: 10}") - flops() == 10 * (2 * attack + cosine)
    assert flops("attacks: {names: [fgsm], images: 10, transfer_from: [bp], released: true}") - flops() == 10 * (4 * attack + cosine)
    assert flops("analyses: [weights, gradients]") - flops() == 2 * 3 * 1433  # all of digits, by two gradients
    assert flops("analyses: [alignment]") - flops() == (2 + 1) * 2 * 3 * 128  # before the first epoch and after each of two


def one_model(name):
    planned = plan.plan(spec.parse(f"name: toy\nabout: x\ndatasets: [digits]\nmodels: {{names: [{name}], rules: [fa]}}\n"))
    return price.of(planned.searches, planned.trials)


def test_a_network_of_ones_own_is_priced_by_what_it_is(monkeypatch):
    monkeypatch.setitem(catalog.MODELS, "cnn3", "bionas.networks.resnet:resnet20")  # no depth in its name
    schema.schema.cache_clear()
    assert one_model("cnn3") == one_model("resnet20") and one_model("cnn3").flops > 0
    schema.schema.cache_clear()


def test_a_network_that_cannot_be_counted_is_named_and_the_rest_is_priced(monkeypatch):
    monkeypatch.setitem(catalog.MODELS, "cnn3", "suite.definition.tests.test_price:_only_on_wednesdays")
    schema.schema.cache_clear()
    found = one_model("cnn3")
    assert found.flops == 0 and found.epochs == 250
    assert price.say(found + found).splitlines()[1:] == ["not counted: cnn3 on 8×8 (closed today)"]
    schema.schema.cache_clear()


def _only_on_wednesdays(rule, num_classes, in_channels):
    raise RuntimeError("closed today")


def test_darts_learns_twice_as_many_images_as_it_trains_on():
    text = "name: toy\nabout: x\ndatasets: [digits]\nsearch: {methods: [darts], rule_sets: {bio: [usf]}, settings: {epochs: 3}}\n"
    planned = plan.plan(spec.parse(text))
    assert price.of(planned.searches, planned.trials).images == 3 * 716 * 3  # half of 1,433; weights, α, validation


def test_random_search_at_equal_work_makes_the_multiply_adds_of_darts_and_at_equal_images_a_fraction():
    search = "{methods: [darts, random, random-work], rule_sets: {bio: [fa, usf, brsf, frsf]}}"
    text = f"name: toy\nabout: x\ndatasets: [cifar10]\nsearch: {search}\n"
    found = plan.plan(spec.parse(text))
    darts, images, work = found.searches.values()
    assert (images.settings["epochs"], work.name) == (50, "random-work-bio")
    flops = [price.of_search(search).flops for search in (darts, images, work)]
    assert flops[2] == pytest.approx(flops[0], rel=0.01) and flops[1] < flops[0] / 15
    # By hand: DARTS passes a half three times forward and back for weights, three for α, and once to validate; a path costs 3 a step.
    space, cifar = SearchSpace(BIO), cost.Images(3, 32, 10)
    ratio = cost.supernet(space, cifar, 16, 5, 4).flops / cost.mean_network(SearchSpace(BIO, none=False), 4, cifar, 16, 5).flops
    assert work.settings["epochs"] == round((50 * 7 * ratio - 100) / 3)
    assert {**work.settings, "epochs": 50} == images.settings


def test_epochs_at_equal_work_are_never_fewer_than_asked_for():
    settings = "{epochs: 1, channels: 4, cells: 3, nodes: 1, candidates: 100000}"
    text = f"name: toy\nabout: x\ndatasets: [digits]\nsearch: {{methods: [random-work], rule_sets: {{bp: [bp]}}, settings: {settings}}}\n"
    assert [s.settings["epochs"] for s in plan.plan(spec.parse(text)).searches.values()] == [1]


@pytest.mark.parametrize("rules", ["uninformed", "random"])
def test_a_control_costs_what_a_genotype_not_known_yet_costs(rules):
    text = "name: toy\nabout: x\ndatasets: [digits]\nsearch: {methods: [darts], rule_sets: {bio: [usf]}}\ncells: {rules: [searched]}\n"
    one, other = (plan.plan(spec.parse(text.replace("[searched]", f"[{word}]"))) for word in ("searched", rules))
    assert price.of(one.searches, one.trials) == price.of(other.searches, other.trials)


def test_a_search_method_of_ones_own_costs_what_every_search_does(monkeypatch):
    monkeypatch.setitem(catalog.SEARCHERS, "noise", catalog.Searcher("bionas.search.noise", ()))
    size = {"images": 1000, "space": "repaired", "channels": 4, "cells": 3, "nodes": 1, "epochs": 3, "batch_size": 64}
    common = {"dataset": "digits", "seed": 0, "device": "cpu", "threads": 1, "protocols": (), "overrides": (), "rule_set": ("usf",)}
    search = Search(name="noise-sf", method="noise", settings=size, **common)
    assert price.of_search(search).images == 3 * (500 + 500)  # weights, validation


def test_the_search_that_needs_most_memory_is_named_unless_all_insist_on_a_cpu():
    settings = "{epochs: 1, channels: 4, cells: 3, nodes: 2, batch_size: 64}"
    searches = f"{{methods: [darts, random], rule_sets: {{one: [usf], two: [usf, fa]}}, settings: {settings}}}"
    text = f"name: toy\nabout: x\ndatasets: [digits]\nsearch: {searches}\n"
    search, needed, recomputed = price.memory(plan.plan(spec.parse(text)).searches)
    assert search.name == "darts-two" and needed > recomputed > 1e6
    assert "darts-two on digits, batches of 64" in price.say_memory(search, needed, recomputed)
    assert price.memory(plan.plan(spec.parse(text + "device: cpu\n")).searches) is None
    assert price.memory(plan.plan(spec.parse(text.replace("darts, ", ""))).searches) is None


def test_an_operation_that_has_no_case_yet_is_said_in_one_line(monkeypatch):
    """What a word in the space alone comes to: the plan names the file where it is missing, the network the other."""
    monkeypatch.setattr(space, "CONVS", (*space.CONVS, "conv_1x1"))
    with pytest.raises(ValueError, match=r"^operation: nobody knows what 'conv_1x1' costs; allowed: what suite/definition/cost.py has"):
        cost.mean_network(SearchSpace(BIO), 2, cost.Images(1, 8, 10), 4, 3)
    with pytest.raises(ValueError, match=r"^operation: 'conv_1x1' is in the space, and not in bionas/networks/ops.py; allowed"):
        ops.build(Candidate("conv_1x1", "fa"), 4, 1, affine=True)
