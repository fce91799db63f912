"""Crosses, squares and discs of 8×8 pixels, in noise: drawn here, so that nothing is downloaded."""

import hashlib

import numpy as np

from bionas.dataset import Augment, Dataset

CLASSES = ("cross", "square", "disc")


def prepare(raw):
    """Return 80 training and 20 test images of each class. `raw`, the folder of downloaded files, is not used."""
    stream = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = np.stack([_draw(label, stream) for label in labels])[:, None]  # (300, 1, 8, 8)
    return Dataset(
        name="shapes",
        train_images=images[:240],
        train_labels=labels[:240].astype(np.int64),
        test_images=images[240:],
        test_labels=labels[240:].astype(np.int64),
        classes=CLASSES,
        augment=Augment(crop=1, flip=True, cutout=2),
        source="drawn by bionas-example",
        checksum=f"sha256:{hashlib.sha256(images.tobytes()).hexdigest()}",
    )


def _draw(label, stream):
    """One shape of five pixels across, somewhere; uint8 (8, 8)."""
    y, x = np.mgrid[-2:3, -2:3]
    shape = [(x == 0) | (y == 0), np.maximum(abs(x), abs(y)) == 2, x**2 + y**2 <= 5][label]
    image = stream.integers(0, 64, (8, 8), dtype=np.uint8)
    top, left = stream.integers(0, 4, 2)
    image[top : top + 5, left : left + 5][shape] = stream.integers(160, 256)
    return image
