"""Who forgets `advance` under brSF or KP is told, once; who does not is left alone."""

import copy
import shutil
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas.rules import advance, convert, true_gradient
from bionas.rules.forgotten import MOVES


def net(rule="brsf", **kwargs):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)]
    return convert(nn.Sequential(*layers), rule, **kwargs)[0]


IMAGES, LABELS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def backward(model):
    F.cross_entropy(model(IMAGES), LABELS).backward()


def said(do, times):
    """What is said while something is done so many times, each time of it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(times):
            do()
    return [str(warning.message) for warning in found]


def training(model, counts, optimiser=torch.optim.SGD):
    """A step of a training loop, that counts its updates or does not."""
    steps = optimiser(model.parameters(), lr=0.01)

    def step():
        steps.zero_grad()
        backward(model)
        steps.step()
        if counts:
            advance(model)

    return step


@pytest.mark.parametrize(("rule", "optimiser"), [("brsf", torch.optim.SGD), ("brsf", torch.optim.Adam), ("kp", torch.optim.SGD)])
def test_who_forgets_is_told_once_in_one_line_that_says_what_to_do(rule, optimiser):
    step = training(net(rule), counts=False, optimiser=optimiser)
    assert said(step, MOVES) == []  # the first pass has seen no move yet
    (line,) = said(step, 1)
    assert "bionas.advance(model, optimiser) after every optimiser step" in line and "\n" not in line
    assert said(step, 3 * MOVES) == []


def test_another_model_is_told_of_too():
    for _ in range(2):
        assert len(said(training(net(), counts=False), 2 * MOVES)) == 1


def test_a_copy_of_a_model_is_a_model_of_its_own():
    told = net()
    other = copy.deepcopy(told)
    assert [len(said(training(model, counts=False), 2 * MOVES)) for model in (told, other)] == [1, 1]


def test_layers_that_were_never_seeded_are_watched():
    from bionas.rules import RuleLinear

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), RuleLinear(8, 3, rule="brsf"))
    assert len(said(training(model, counts=False), 2 * MOVES)) == 1


def test_who_counts_updates_is_not():
    assert said(training(net(), counts=True), 5 * MOVES) == []


def test_who_starts_to_forget_later_is():
    model = net()
    said(training(model, counts=True), 2 * MOVES)
    assert len(said(training(model, counts=False), 2 * MOVES)) == 1


@pytest.mark.parametrize("rule", ["bp", "fa", "usf", "frsf"])
def test_other_rules_need_no_count(rule):
    assert said(training(net(rule), counts=False), 3 * MOVES) == []


def test_neither_does_brsf_that_draws_at_every_forward():
    from bionas.rules import RuleConv2d

    first, second = nn.Conv2d(1, 4, 3), RuleConv2d(4, 4, 3, rule="brsf", brsf_redraw="forward")
    model = nn.Sequential(first, second, nn.Flatten(), nn.Linear(64, 3))
    assert said(training(model, counts=False), 3 * MOVES) == []


def test_accumulated_gradients_say_nothing():
    model = net()
    step = training(model, counts=True)

    def accumulated():
        for _ in range(2 * MOVES):
            backward(model)
        step()

    assert said(accumulated, 3) == []


def test_weights_that_move_there_and_back_within_an_update_say_nothing():
    """Sharpness-aware minimisation: gradients where the loss is highest nearby, then a step from where the weights were."""
    model = net()
    step = training(model, counts=True)

    def sharpness_aware():
        backward(model)
        with torch.no_grad():
            for sign in (1, -1):
                for weight in model.parameters():
                    weight.add_(weight.grad, alpha=sign * 0.01)
        step()

    assert said(sharpness_aware, 3 * MOVES) == []


def test_evaluation_and_attacks_say_nothing_whatever_becomes_of_the_weights():
    from bionas.attacks import evaluate

    model = net()

    def moved(do):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.01)
        do()

    assert said(lambda: moved(lambda: evaluate(model.eval(), IMAGES, LABELS, "fgsm")), 2 * MOVES) == []
    assert said(lambda: moved(lambda: evaluate(model.train(), IMAGES, LABELS, "pgd", steps=2)), 2 * MOVES) == []
    with torch.no_grad():
        assert said(lambda: moved(lambda: model.train()(IMAGES)), 2 * MOVES) == []
    with true_gradient(model):
        assert said(lambda: moved(lambda: backward(model)), 2 * MOVES) == []


def test_a_restored_model_that_goes_on_says_nothing():
    model, other = net(), net()
    step = training(model, counts=True)

    def restore():
        step()
        other.load_state_dict(model.state_dict())
        backward(other)

    assert said(restore, 3 * MOVES) == []


COMPILER = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler")


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=COMPILER)])
def test_a_compiled_model_is_one_graph_that_is_not_made_anew_when_weights_move(backend):
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend(backend)
    model = net()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=False)
    steps = torch.optim.SGD(model.parameters(), lr=0.01)

    def step():
        F.cross_entropy(compiled(IMAGES), LABELS).backward()
        steps.step()
        advance(model)

    assert said(step, 2 * MOVES) == []
    assert counter.frame_count == 1


@pytest.mark.parametrize("method", ["darts", "random"])
def test_our_own_searches_say_nothing(method):
    from bionas.tests import helpers

    _, step = helpers.search(method, rules=["brsf", "fa"], side=8, device="cpu")
    assert said(step, 2 * MOVES) == []


def test_our_own_training_says_nothing():
    from bionas.tests import helpers

    _, step = helpers.training("cells", "brsf", side=8, device="cpu")
    assert said(step, 2 * MOVES) == []


@pytest.mark.parametrize("fused", [True, False])
def test_a_supernets_user_is_told_too(fused):
    from bionas.space import SearchSpace
    from bionas.supernet import Supernet

    supernet = Supernet(SearchSpace(["brsf", "usf"]), 1, 3, channels=2, cells=3, nodes=1, fused=fused)

    def step_of(counts):
        steps = torch.optim.SGD(supernet.parameters(), lr=0.01)

        def step():
            steps.zero_grad()
            backward(supernet)
            steps.step()
            if counts:
                advance(supernet)

        return step

    assert said(step_of(True), 2 * MOVES) == []
    assert len(said(step_of(False), 2 * MOVES)) == 1
