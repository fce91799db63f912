"""The paper as definitions: each of its numbers that is ours to answer has its run; archives are believed by others' checksums."""

import re
from pathlib import Path

import pytest

from bionas import catalog
from data_prep import cifar
from reports.numbers import paper
from suite import plan
from suite.definition import spec

PAPER = Path(__file__).parents[2] / "benchmarks" / "paper.yaml"


@pytest.fixture(scope="module")
def runs():
    """What paper.yaml would run: (data set, network, rules) of trials, and (data set, name) of searches."""
    trials, searches = set(), set()
    for file in spec.listed(PAPER):
        planned = plan.load(str(file))
        trials |= {(t.dataset, t.network, t.rules) for t in planned.trials.values()}
        searches |= {(s.dataset, s.name) for s in planned.searches.values()}
    return trials, searches


def test_every_row_of_bionas_and_of_the_resnets_has_its_run(runs):
    trials, searches = runs
    ours = [c for c in paper.cited() if re.search(r"BioNAS|ResNet-|RN56|ResNet20|Mixed", c.row) and c.dataset != "imagenet"]
    assert len(ours) > 90
    for c in ours:
        found = (c.dataset, c.search) in searches if c.search else (c.dataset, c.network, c.rules) in trials
        assert found, f"{c.table}, {c.row} on {c.dataset}: no run answers it"


def test_every_published_genotype_that_is_trained_answers_a_row():
    trained = {t.network for t in plan.load(str(PAPER.with_name("cifar10.yaml"))).trials.values() if t.network in catalog.GENOTYPES}
    assert trained == set(catalog.GENOTYPES)
    assert trained <= {c.network for c in paper.cited() if c.rules == "searched" and c.dataset == "cifar10"}


def test_cifars_checksums_are_torchvisions():
    from torchvision.datasets import CIFAR10, CIFAR100

    assert cifar.ARCHIVES["cifar10"].md5 == CIFAR10.tgz_md5 and cifar.ARCHIVES["cifar100"].md5 == CIFAR100.tgz_md5
