"""ResNet-20 and a derived network: each rule against plain backpropagation, and against biotorch's layers; PGD on them."""

import peers
import pytest
import torchattacks
from torch import nn

from bionas import catalog
from bionas.attacks import evaluate
from bionas.networks import Network, parts, resnet20
from bionas.rules import RULES, RuleConv2d
from bionas.space import SearchSpace, random_genotype


def resnet(rule):
    return parts.initialise(resnet20(rule), 0)


def plain_resnet():
    """ResNet-20 of nn.Conv2d itself."""
    net = resnet("bp")

    def visit(module):
        for name, child in module._modules.items():
            if isinstance(child, RuleConv2d):
                new = nn.Conv2d(child.in_channels, child.out_channels, 3, child.stride, 1, bias=False)
                new.weight = child.weight
                module._modules[name] = new
            elif child is not None:
                visit(child)

    visit(net)
    assert not any(isinstance(m, RuleConv2d) for m in net.modules())
    return net


@pytest.mark.parametrize("rule", RULES)
def test_resnet20_step_against_plain_backpropagation(compare, rule):
    batch = peers.batch(32, 64)
    contenders = {"ours": peers.training_step(resnet(rule), *batch), "nn.Conv2d": peers.training_step(plain_resnet(), *batch)}
    compare(f"ResNet-20 step, batch 64 of 32×32, {rule} ÷ BP of nn.Conv2d", contenders, 31, 1.05)


@pytest.mark.parametrize("rule", [rule for rule in catalog.BIOTORCH if rule != "bp"])
def test_resnet20_step_against_biotorch(compare, rule):
    batch = peers.batch(32, 64)
    theirs = peers.training_step(peers.with_biotorch(resnet(rule)), *batch)
    contenders = {"ours": peers.training_step(resnet(rule), *batch), "biotorch": theirs}
    compare(f"ResNet-20 step, batch 64 of 32×32, {rule} ÷ biotorch", contenders, 31, 0.95 if rule == "brsf" else 1.0)


def test_derived_network_step_against_biotorch(compare):
    genotype = random_genotype(SearchSpace(peers.BIO, none=False), 4, 6)
    assert {gene.rule for _, genes in genotype.cells() for gene, _ in genes} >= set(peers.BIO)

    def network():
        return parts.initialise(Network(genotype, 3, 10, 16, 8, 32), 0)

    batch = peers.batch(32, 32)
    contenders = {
        "ours": peers.training_step(network(), *batch),
        "biotorch": peers.training_step(peers.with_biotorch(network()), *batch),
    }
    compare("derived network step, C=16, 8 cells, batch 32 of 32×32, four rules ÷ biotorch", contenders, 15, 0.9)


def test_pgd_against_torchattacks_on_biotorch(compare):
    """How many images stay right: ours looks at them before and after the attack, and so does who calls torchattacks."""
    images, _ = peers.batch(32, 64)
    ours, theirs = resnet("usf").eval(), peers.with_biotorch(resnet("usf")).eval()
    labels = ours(images).argmax(1)  # what is wrong already is left alone by ours, and attacked by theirs
    pgd = torchattacks.PGD(theirs, **catalog.parameters("pgd", "paper"))

    def judged():
        attacked = pgd(images, labels)
        return [(pgd.get_output_with_eval_nograd(x).argmax(1) == labels).sum() for x in (images, attacked)]

    contenders = {"ours": lambda: evaluate(ours, images, labels, "pgd"), "torchattacks": judged}
    compare("PGD-10 on ResNet-20, 64 of 32×32, usf ÷ torchattacks on biotorch", contenders, 5, 0.75)
