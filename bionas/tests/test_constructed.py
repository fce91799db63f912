"""Two constructed tasks, on real networks that are really trained: where the rule matters a control loses, where it does not it ties.

The genotype is what a search should find where the rule matters: its reduction cells, which lie on every path to the stem, learn by BP,
and its normal cell, which the task can do without, by FA. The rule shuffle gives both of them the other rule; the other control has FA
throughout. Differences are paired by seed (the same images, initial weights and order), with 95 % t-intervals, corrected by Bonferroni.
"""

import functools

import numpy as np
import pytest
import torch
from scipy import stats

from bionas.dataset import Augment
from bionas.networks import Network, Options, initialise
from bionas.shuffle import shuffled
from bionas.space import Candidate, Genotype
from bionas.training import loop
from bionas.training.data import Split, TrainingData

SEEDS, CHANNELS, IMAGES = range(5), 16, 1024
DIL, SEP = "dil_conv_3x3", "sep_conv_3x3"
SEARCHED = Genotype(
    normal=((Candidate(DIL, "fa"), 0), (Candidate(DIL, "fa"), 1)),
    reduce=((Candidate(SEP, "bp"), 0), (Candidate(SEP, "bp"), 1)),
)
CONTROLS = ("shuffled", "fa")


def one_channel_of_many(stream):
    """The class is how loud the first channel is; the others are as loud as they like, and an untrained stem mixes them all."""
    labels = stream.integers(0, 2, IMAGES)
    images = stream.normal(size=(IMAGES, CHANNELS, 8, 8)) * stream.uniform(0.5, 1.5, (IMAGES, CHANNELS, 1, 1))
    images[:, 0] = stream.normal(size=(IMAGES, 8, 8)) * np.where(labels, 1.6, 0.6)[:, None, None]
    return images, labels


def brightness(stream):
    """The class is how bright an image is, within a spread that blurs it: whatever the features, the classifier on top of them finds it."""
    labels = stream.integers(0, 2, IMAGES)
    level = np.where(labels, 0.4, -0.4) + 0.3 * stream.normal(size=IMAGES)  # 9 % lie on the wrong side
    return stream.normal(size=(IMAGES, CHANNELS, 8, 8)) + level[:, None, None, None], labels


def split(task, *key):
    images, labels = task(np.random.default_rng(key))
    return Split.of(np.clip(128 + 40 * images, 0, 255).astype(np.uint8), labels, torch.device("cpu"))


@functools.cache
def error(task, epochs, rules, seed):
    """Train one network and return its test error in percent."""
    genotype = {
        "searched": lambda: SEARCHED,
        "shuffled": lambda: shuffled(SEARCHED, dict.fromkeys(SEARCHED.carriers(), 1), seed).genotype,
        "fa": lambda: SEARCHED.assigned("fa"),
    }[rules]()
    options = Options(mean=(0.5,) * CHANNELS, std=(0.2,) * CHANNELS)
    network = initialise(Network(genotype, CHANNELS, 2, channels=4, cells=3, image_size=8, options=options), seed)
    settings = loop.TrainSettings(
        epochs=epochs,
        batch_size=64,
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=3e-4,
        schedule="cosine",
        milestones=(),
        label_smoothing=0.0,
        grad_clip=5.0,
        selection="last",
    )
    state = loop.LoopState.start(network, settings)
    data = TrainingData(split(task, seed, 0), Augment(), settings.batch_size, seed, options.mean)
    for _ in loop.train(state, data, None, settings):
        pass
    assert state.status == "ok"
    return 100 - loop.measure(network, split(task, seed, 1))[1]


def interval(task, epochs, control):
    """Return the 95 % t-interval of control − searched, corrected for the number of controls."""
    differences = np.array([error(task, epochs, control, seed) - error(task, epochs, "searched", seed) for seed in SEEDS])
    half = stats.t.ppf(1 - 0.05 / len(CONTROLS) / 2, len(SEEDS) - 1) * differences.std(ddof=1) / len(SEEDS) ** 0.5
    return differences.mean() - half, differences.mean() + half


@pytest.mark.parametrize("control", CONTROLS)
def test_where_the_rule_matters_the_control_loses(control):
    low, high = interval(one_channel_of_many, 6, control)
    assert 0 < low < high, (low, high)


@pytest.mark.parametrize("control", CONTROLS)
def test_where_the_rule_does_not_matter_the_control_ties(control):
    low, high = interval(brightness, 4, control)
    assert low <= 0 <= high, (low, high)


def test_a_tie_is_no_want_of_seeds():
    """The interval of the tie is narrow beside what the rule was worth."""
    narrow, wide = (interval(task, epochs, "shuffled") for task, epochs in ((brightness, 4), (one_channel_of_many, 6)))
    assert narrow[1] < wide[0]


def test_the_shuffle_gives_every_gene_the_other_rule():
    made = shuffled(SEARCHED, dict.fromkeys(SEARCHED.carriers(), 1), 0)
    assert (made.carriers, made.rules_changed) == (4, 4)
    assert [str(c) for c, _ in made.genotype.normal + made.genotype.reduce] == [f"{DIL}:bp"] * 2 + [f"{SEP}:fa"] * 2
