"""The loop: schedules by hand, and the same bits however often it is interrupted."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from torch import nn

from bionas.dataset import Augment
from bionas.networks import parts
from bionas.rules import RuleConv2d, RuleLinear
from bionas.training.data import Split, TrainingData
from bionas.training.loop import LoopState, TrainSettings, measure, train

SETTINGS = TrainSettings(
    epochs=3,
    batch_size=8,
    lr=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=1e-4,
    schedule="cosine",
    milestones=(),
    label_smoothing=0.0,
    grad_clip=0.0,
    selection="last",
)


def with_(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def problem():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = rng.integers(0, 100, (30, 1, 5, 5)).astype(np.uint8) + (labels * 70).astype(np.uint8)[:, None, None, None]
    return Split.of(images, labels, torch.device("cpu"))


def start(settings=SETTINGS, rule="brsf"):
    model = nn.Sequential(
        RuleConv2d(1, 4, 3, rule=rule),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        RuleConv2d(4, 4, 3, rule=rule),
        nn.Flatten(),
        nn.Dropout(0.2),  # draws from the global stream
        RuleLinear(4, 3, rule=rule),
    )
    torch.manual_seed(0)
    return LoopState.start(parts.initialise(model, 0), settings)


def run(state, settings=SETTINGS, held_out=None, steps=None):
    loop = train(state, TrainingData(problem(), Augment(crop=1), settings.batch_size, seed=0), held_out, settings)
    for taken, _ in enumerate(loop, 1):
        if taken == steps:
            break
    return state


def bits(state):
    return {name: value.numpy().tobytes() for name, value in state.model.state_dict().items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("rule", ["brsf", "kp"])
@pytest.mark.parametrize("stop", range(1, 15))  # four steps and an epoch's end, three times
def test_interrupted_anywhere_it_ends_with_the_same_bits(stop, rule):
    whole = run(start(rule=rule))
    interrupted = run(start(rule=rule), steps=stop)
    saved = io.BytesIO()
    torch.save(interrupted.state_dict(), saved)
    saved.seek(0)
    resumed = start(rule=rule)
    torch.rand(5)  # a stranger draws in between
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    run(resumed)
    assert bits(resumed) == bits(whole)
    np.testing.assert_equal(resumed.curves, whole.curves)


def test_it_learns():
    state = run(start(with_(epochs=15)), with_(epochs=15))
    assert state.status == "ok" and measure(state.model, problem())[1] > 90
    assert all(len(column) == 15 for column in state.curves.values())


# lr 0.1 over 10 epochs, by hand
@pytest.mark.parametrize(
    ("schedule", "milestones", "expected"),
    [
        ("constant", (), [0.1] * 10),
        ("cosine", (), {0: 0.1, 5: 0.05}),
        ("multistep", (0.4, 0.6, 0.8), [0.1] * 4 + [0.01] * 2 + [0.001] * 2 + [0.0001] * 2),
    ],
)
def test_learning_rate_by_epoch(schedule, milestones, expected):
    settings = with_(epochs=10, schedule=schedule, milestones=milestones)
    for epoch, lr in enumerate(expected) if isinstance(expected, list) else expected.items():
        assert settings.lr_at(epoch) == pytest.approx(lr)


def test_a_loss_that_is_no_number_ends_the_loop_as_a_result():
    settings = with_(lr=1e30, epochs=5)
    state = run(start(settings), settings)
    assert state.status == "diverged" and state.epoch < 5


def test_divergence_in_the_very_last_update_is_seen():
    settings = with_(lr=1e38, epochs=1, batch_size=30, momentum=0.0, weight_decay=1000.0)
    state = run(start(settings), settings)
    assert state.curves["train_loss"][0] < 10 and state.status == "diverged"


def test_best_val_keeps_the_best_epochs_weights():
    settings = with_(epochs=6, selection="best_val")
    state = run(start(settings), settings, held_out=problem())
    best = max(state.curves["val_accuracy"])
    assert state.best["accuracy"] == best == state.curves["val_accuracy"][state.best["epoch"]]
    assert measure(state.model, problem())[1] == best


def test_gradients_are_clipped():
    settings = with_(epochs=1, momentum=0.0, weight_decay=0.0, grad_clip=1e-6, schedule="constant")
    state = start(settings)
    before = [p.detach().clone() for p in state.model.parameters()]
    run(state, settings, steps=1)
    moved = sum((p.detach() - b).square().sum() for p, b in zip(state.model.parameters(), before, strict=True)) ** 0.5
    assert 0 < moved <= 1.1e-7  # lr × the clipped norm, and float32's rounding


def test_measure_leaves_mode_and_random_state():
    model = start().model.train()
    before = torch.get_rng_state()
    first, second = measure(model, problem(), batch_size=7), measure(model, problem())
    assert model.training and torch.equal(before, torch.get_rng_state())
    assert first == pytest.approx(second)
