"""A plan's price, held against networks that were built, and against counts by hand."""

import json

import pytest

from bionas import account, cost
from bionas.network import Network
from bionas.resnet import resnet20, resnet56
from bionas.space import PUBLISHED, SearchSpace, random_genotype
from bionas.supernet import Supernet
from data_prep import DATASETS, SIZES, Variant
from suite import plan, price, spec

BIO = ("fa", "usf", "brsf", "frsf")


@pytest.mark.parametrize("images", [cost.Images(3, 32, 10), cost.Images(1, 8, 100)], ids=str)
@pytest.mark.parametrize(("make", "n"), [(resnet20, 3), (resnet56, 9)])
def test_a_resnets_multiply_adds_are_those_of_the_built_one(make, n, images):
    model = make("bp", images.classes, images.channels)
    assert cost.resnet(n, images) == account.flops(model, (images.channels, images.side, images.side))


def test_resnet20_at_32_has_the_published_41_million():
    assert cost.resnet(3, cost.Images(3, 32, 10)) == pytest.approx(40.8e6, rel=0.01)  # Idelbayev's table: 40.81 M


@pytest.mark.parametrize("genotype", [*PUBLISHED.values(), random_genotype(SearchSpace(BIO), 4, 0)], ids=lambda g: g.to_json()[:30])
@pytest.mark.parametrize("cells", [3, 8])
def test_a_derived_networks_multiply_adds_are_those_of_the_built_one(genotype, cells):
    images = cost.Images(3, 16, 10)
    assert cost.network(genotype, images, 8, cells) == account.flops(Network(genotype, 3, 10, 8, cells, 16), (3, 16, 16))


@pytest.mark.parametrize("protocol", ["repaired", "released"])
def test_a_supernets_multiply_adds_are_those_of_the_plain_one(protocol):
    space, images = SearchSpace(BIO, protocol), cost.Images(3, 8, 10)
    assert cost.supernet(space, images, 4, 3, 2) == account.flops(Supernet(space, 3, 10, 4, 3, 2, fused=False), (3, 8, 8))


def test_an_unknown_genotype_costs_the_mean_of_many():
    space, images = SearchSpace(BIO), cost.Images(3, 16, 10)
    drawn = [cost.network(random_genotype(space, 4, seed), images, 8, 5) for seed in range(2000)]
    assert cost.mean_network(space, 4, images, 8, 5) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)


def test_at_one_pixel_a_layer_costs_its_weights():
    images, genotype = cost.Images(3, 1, 10), PUBLISHED["biodarts"]
    built = Network(genotype, 3, 10, 8, 5, 16)
    assert cost.network(genotype, images, 8, 5) == sum(weights for _, weights in account.layers_by_rule(built).values())


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
    each = cost.resnet(3, cost.Images(3, 32, 10))
    passes = 3 * 2 * 45_000 + 2 * 5_000 + 10_000 + 100 * 2 * (3 * 10 + 2)  # train, validate, test; PGD by 10 steps, through two gradients
    assert found.epochs == 2 and found.images == 2 * 50_000 + 10_000 + 200 and found.flops == passes * each
    assert found.disk == 60_000 * 3 * 32 * 32 + 2 * price.RUN_FILE + 4 * 268_336 + 0  # weights of convs and linear, without biases


def test_darts_learns_twice_as_many_images_as_it_trains_on():
    text = "name: toy\nabout: x\ndatasets: [digits]\nsearch: {methods: [darts], rule_sets: {bio: [usf]}, settings: {epochs: 3}}\n"
    planned = plan.plan(spec.parse(text))
    assert price.of(planned.searches, planned.trials).images == 3 * 719 * 3  # weights, α, validation


def test_a_calibration_is_read_and_another_file_refused(tmp_path):
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"flops_per_second": 3.6e9, "device": "toy"}))
    speed = price.throughput(file)
    assert "1 device-hours at 3.6e+09 a second (measured on toy)" in price.say(price.Price(1, 1, 3600 * 3_600_000_000, 1), speed)
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json: not a calibration"):
        price.throughput(file)
