"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 60,000 training and 10,000 test images of 28×28, from the official idx files.

They are taken from the raw folder, else from Debian's package dataset-fashion-mnist, else downloaded. A file is believed only when
its decompressed content has the official checksum, so any way of compressing it will do.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from bionas.dataset import Augment, Dataset
from data_prep import files

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
MD5 = {  # of the decompressed idx files
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
LIMIT = 64 * 2**20  # bytes: more than any of them holds, less than a bomb


def prepare(raw: Path) -> Dataset:
    """Return the data set. Raises ValueError, with the file, if one cannot be had, is damaged or is another."""
    arrays = {name: _read(name, raw) for name in MD5}
    return Dataset(
        name="fashion_mnist",
        train_images=arrays["train-images-idx3-ubyte"][:, None],
        train_labels=arrays["train-labels-idx1-ubyte"].astype(np.int64),
        test_images=arrays["t10k-images-idx3-ubyte"][:, None],
        test_labels=arrays["t10k-labels-idx1-ubyte"].astype(np.int64),
        classes=CLASSES,
        augment=Augment(crop=2, flip=True, cutout=14),
        source="Fashion-MNIST, official idx files",
        checksum="md5:" + ",".join(MD5.values()),
    )


def _read(name: str, raw: Path) -> np.ndarray:
    for folder in (raw, DEBIAN):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return _parse(path, MD5[name])
    path = raw / f"{name}.gz"
    files.download(f"{ADDRESS}/{name}.gz", path)
    return _parse(path, MD5[name])


def _parse(path: Path, md5: str) -> np.ndarray:
    content = files.decompressed(path, LIMIT)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{path}: content has MD5 {found}; expected {md5}. It is damaged or another file: remove it and try again")
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
