"""What a log says of an epoch."""

import math

from suite.jobs.progress import epoch_line

CURVES = {"lr": [0.1, 0.05], "train_loss": [2.0, 1.5], "train_accuracy": [20.0, 45.2], "val_accuracy": [30.0, 50.1]}


def test_an_epochs_line_says_its_last_numbers():
    said = epoch_line(CURVES, 2, 8, 1.234)
    assert " ".join(said.split()) == "epoch 2/8 lr 0.05000 loss 1.5000 train 45.20 % val 50.10 % 1.23 s"
    assert "α span 0.1000" in epoch_line({**CURVES, "alpha_span": [0.3, 0.1]}, 2, 8, 1.0)


def test_what_nobody_measured_is_not_said():
    assert "val" not in epoch_line({**CURVES, "val_accuracy": [math.nan, math.nan]}, 2, 8, 1.0)
