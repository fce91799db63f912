"""What trades the last bits for speed: near the exact numbers, one graph, and nothing at all when it is not asked for."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bionas.catalog import RULES, SPEED
from bionas.dataset import Augment
from bionas.networks import Network, Options, parts
from bionas.rules import RuleConv2d, RuleLinear
from bionas.space import PUBLISHED
from bionas.training.data import Split, TrainingData
from bionas.training.loop import LoopState, TrainSettings, train
from bionas.training.speed import training_forward


def net(rule="fa"):
    layers = (RuleConv2d(3, 8, 3, padding=1, rule=rule), nn.BatchNorm2d(8), nn.ReLU())
    layers += (RuleConv2d(8, 8, 3, stride=2, rule=rule), nn.Flatten(), RuleLinear(72, 5, rule=rule))
    return parts.initialise(nn.Sequential(*layers), 0)


def cell():
    size = {"channels": 4, "cells": 3, "image_size": 8, "auxiliary": False, "options": Options((0.5,) * 3, (0.25,) * 3)}
    return parts.initialise(Network(PUBLISHED["biodarts"], 3, 5, **size), 0)


def batch(size=8):
    stream = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, size, size, generator=stream), torch.randint(5, (6,), generator=stream)


def step(model, forward):
    """Return logits and the gradient of everything, flat."""
    images, labels = batch()
    outputs = forward(images)
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    F.cross_entropy(logits, labels).backward()
    return logits, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def exact(make):
    model = make().train()
    return step(model, model)


def test_nothing_asked_is_the_model_itself():
    model = net()
    assert training_forward(model, "float32") is model


def test_a_word_that_is_not_allowed():
    with pytest.raises(ValueError, match="precision: 'float16' is unknown; allowed: float32, bfloat16"):
        training_forward(net(), "float16")
    with pytest.raises(ValueError, match="compile: 'eager' is unknown"):
        training_forward(net(), "float32", compile="eager")


@pytest.mark.parametrize("rule", RULES)
def test_bfloat16_is_near_and_hands_out_float32(rule):
    model = net(rule)
    logits, near = step(model, training_forward(model, "bfloat16"))
    assert logits.dtype == near.dtype == torch.float32
    _, grads = exact(lambda: net(rule))
    assert not torch.equal(near, grads) and F.cosine_similarity(near, grads, dim=0) > 0.99


@pytest.mark.parametrize("rule", RULES)
def test_channels_last_is_the_same_but_for_rounding(rule):
    model = net(rule)
    logits, grads = step(model, training_forward(model, "float32", "channels_last"))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip((logits, grads), exact(lambda: net(rule)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [*(lambda rule=rule: net(rule) for rule in ("fa", "usf", "brsf", "kp")), cell], ids=["fa", "usf", "brsf", "kp", "cell"]
)
def test_a_step_is_one_graph(make):
    """Whatever torch's backend makes of it, the graph that it is given computes the step."""
    model = make().train()
    traced = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    for found, expected in zip(step(model, traced), exact(make), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor_compiles_a_step(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # which is else shared with whoever compiles on this machine
    model = net("usf")
    for found, expected in zip(step(model, training_forward(model, "float32", compile="inductor")), exact(lambda: net("usf")), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_inductor_without_a_compiler_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match="and none is here; allowed without: none, cudagraphs"):
        training_forward(net(), "float32", compile="inductor")


@pytest.mark.gpu
def test_cudagraphs_replay_a_step():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    images, labels = (part.cuda() for part in batch())
    losses = {}
    for compile in ("none", "cudagraphs"):
        model = net("brsf").cuda()
        forward = training_forward(model, "float32", compile=compile)
        losses[compile] = []
        for _ in range(4):  # captured, then replayed, with weights that move
            model.zero_grad()
            loss = F.cross_entropy(forward(images), labels)
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
            losses[compile].append(loss.item())
    assert losses["cudagraphs"] == pytest.approx(losses["none"], rel=1e-5)


@pytest.mark.parametrize(
    "asked", [{"precision": "bfloat16"}, {"memory_format": "channels_last"}], ids=lambda asked: next(iter(asked.values()))
)
def test_a_training_with_it_learns(asked):
    assert asked.items() <= {(name, word) for name, words in SPEED.items() for word in words[1:]}
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 5
    images = (40 * labels.view(-1, 1, 1, 1) + torch.randint(40, (64, 3, 8, 8), generator=stream)).to(torch.uint8)  # brightness tells
    plain = {"epochs": 8, "batch_size": 16, "lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, "schedule": "constant"}
    settings = TrainSettings(**plain, milestones=(), label_smoothing=0.0, grad_clip=0.0, selection="last", **asked)
    state = LoopState.start(net("usf"), settings)
    for _ in train(state, TrainingData(Split(images, labels), Augment(), 16, 0), None, settings):
        pass
    assert state.status == "ok" and state.curves["train_loss"][-1] < state.curves["train_loss"][0] / 2
