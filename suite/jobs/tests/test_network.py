"""A trial's network: which layers follow a rule under which protocol, and what is not loaded."""

from types import SimpleNamespace

import numpy as np
import pytest

from bionas import dataset
from bionas.networks import account
from suite import plan, store
from suite.definition import spec
from suite.jobs import network, task

COLOUR = SimpleNamespace(classes=[""] * 10, image_shape=(3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def layers(protocol, rules):
    cells = f"{{rules: [{rules}], genotypes: [biodarts], settings: {{channels: 4}}}}"
    text = f"name: n\nabout: n\ndatasets: [cifar10]\nprotocols: [{protocol}]\ncells: {cells}\n"
    (trial,) = plan.plan(spec.parse(text)).trials.values()
    genotype = task.of(trial.params, None, []).genotype
    counts = account.layers_by_rule(network.build(trial.params, COLOUR, genotype))
    return {rule: count for rule, (count, _) in counts.items() if count}


# Counted in the public code: it puts a single rule into 343 of 343 convs and linears, the skips' among them; in its mixed network the
# skips' four convs stay on bp, as the 47 outer ones.
@pytest.mark.parametrize(
    ("protocol", "rules", "expected"),
    [("released", "fa", {"fa": 343}), ("paper", "fa", {"fa": 343}), ("repaired", "fa", {"fa": 296, "bp": 47})],
)
def test_layers_by_rule(protocol, rules, expected):
    assert layers(protocol, rules) == expected


@pytest.mark.parametrize(("protocol", "bp"), [("released", 51), ("repaired", 47)])
def test_the_mixed_network_leaves_more_on_bp_in_the_public_code(protocol, bp):
    found = layers(protocol, "searched")
    assert found["bp"] == bp and sum(found.values()) == 343


IMAGES, LABELS = np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, np.int64)
DIGITS = dataset.Dataset("digits", IMAGES, LABELS, IMAGES, LABELS, ("0",), dataset.Augment(), "", "its checksum")


@pytest.mark.parametrize(
    ("status", "metrics", "said"),
    [
        ("diverged", {}, "diverged; allowed: a training that ended well"),
        ("skipped(parent diverged)", {}, "skipped(parent diverged); allowed: a training that ended well"),
        ("ok", {"dataset_checksum": "another"}, "not the data that some/run was trained on"),
    ],
)
def test_what_was_not_trained_or_on_other_data_is_refused_in_one_line(tmp_path, status, metrics, said):
    store.write(tmp_path / "train.h5", store.Run("train", "some/run", {"network": "resnet20"}, status, metrics))
    dataset.write(tmp_path / "digits.h5", DIGITS)
    with pytest.raises(ValueError) as error:
        network.load(tmp_path, tmp_path / "digits.h5")
    assert str(error.value).endswith(said)
