"""scikit-learn's handwritten digits: 1,797 real 8×8 images, inside its wheel (Alpaydin & Kaynak 1998). Needs no download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from bionas.dataset import Augment, Dataset

SHA256 = "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5"


def prepare(raw: Path) -> Dataset:
    """Return the digits, every fifth image of a class in the test split. Raises ValueError if they changed. `raw` is not used."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)  # (1797, 8, 8), values 0..16
    labels = bunch.target.astype(np.int64)
    checksum = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    if checksum != SHA256:
        raise ValueError(f"scikit-learn's digits: SHA-256 {checksum}; expected {SHA256}")
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[::5]] = True
    images = np.round(images[:, None] * (255 / 16)).astype(np.uint8)  # (N, 1, 8, 8)
    return Dataset(
        name="digits",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple("0123456789"),
        augment=Augment(crop=1, cutout=4),  # a mirrored digit is none
        source="scikit-learn: sklearn.datasets.load_digits",
        checksum=f"sha256:{checksum}",
    )
