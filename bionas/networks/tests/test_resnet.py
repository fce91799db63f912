"""The networks are the field's: counts from the literature and by hand."""

import pytest
import torch

from bionas.networks import Options, account, parts, resnet20, resnet56
from bionas.rules import RULES


# 0.27 M and 0.85 M in He et al. 2016; to the unit, the known counts of the option-A networks.
@pytest.mark.parametrize(("make", "count"), [(resnet20, 269_722), (resnet56, 853_018)])
@pytest.mark.parametrize("rule", ["bp", "fa"])
def test_parameter_counts(make, count, rule):
    assert account.num_parameters(make(rule)) == count


def test_flops_of_resnet20_by_hand():
    stem = 3 * 16 * 9 * 32**2
    stages = 6 * 16 * 16 * 9 * 32**2 + (16 * 32 + 5 * 32 * 32) * 9 * 16**2 + (32 * 64 + 5 * 64 * 64) * 9 * 8**2
    assert account.flops(resnet20("bp"), (3, 32, 32)) == stem + stages + 64 * 10


@pytest.mark.parametrize("rule", RULES)
def test_every_layer_follows_the_rule(rule):
    counts = account.layers_by_rule(resnet20(rule))
    assert {r: layers for r, (layers, _) in counts.items() if layers} == {rule: 20}
    assert counts[rule][1] == 269_722 - 10 - 2 * (7 * 16 + 6 * 32 + 6 * 64)  # less the bias and BatchNorm's two per channel


def test_feedback_that_learns_is_counted_apart_from_the_parameters():
    assert account.num_parameters(resnet20("kp")) == account.num_parameters(resnet20("bp"))
    assert account.num_feedback(resnet20("kp")) == 269_722 - 10 - 2 * (7 * 16 + 6 * 32 + 6 * 64)  # a number for every weight
    assert not any(account.num_feedback(resnet20(rule)) for rule in ("bp", "fa", "brsf", "dfa"))


def test_a_rule_that_came_later_is_counted_where_it_is_followed_so_that_older_files_stay_as_they_are():
    paper = {"bp", "fa", "usf", "brsf", "frsf", "dfa"}
    assert set(account.layers_by_rule(resnet20("fa"))) == paper and set(account.layers_by_rule(resnet20("kp"))) == {*paper, "kp"}


def test_rules_start_from_the_same_weights_and_seeds_from_others():
    def weights(rule, seed):
        return parts.initialise(resnet20(rule), seed).blocks[3].conv1.weight

    assert torch.equal(weights("bp", 0), weights("brsf", 0))
    assert not torch.equal(weights("bp", 0), weights("bp", 1))


def test_initial_weights_are_xavier():
    network = parts.initialise(resnet20("bp"), 0)
    weight = network.blocks[8].conv2.weight
    bound = (6 / (64 * 9 * 2)) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert network.linear.bias.abs().max() == 0


def test_normalisation_is_the_first_layer():
    first = next(iter(resnet20("bp", options=Options(mean=[0.5], std=[0.25])).children()))
    torch.testing.assert_close(first(torch.full((1, 1, 2, 2), 0.75)), torch.ones(1, 1, 2, 2))
