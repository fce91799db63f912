"""ImageNet16-120 (Chrabaszcz et al. 2017; Dong & Yang 2020): ImageNet at 16×16, its first 120 classes in the authors' own order.

The official pickles hold all 1,000 classes, labels from 1. Nobody serves them to a script: they have to be put in the raw folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bionas.dataset import Augment, Block, Streamed
from data_prep import files
from data_prep.cifar import images_and_labels

SIDE, CLASSES = 16, 120
MD5 = {
    "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
    "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
    "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
    "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
    "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
    "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
    "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
    "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
    "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
    "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
}
NUM = {"train": 151_700, "test": 6_000}
REMEDY = "get Imagenet16_train.zip and Imagenet16_val.zip (image-net.org, downsampled ImageNet, after a login) and unpack them into"

# NAS-Bench-201 halves the validation images: it chooses by x-valid, and only x-test is clean then.
XTEST = "imagenet-16-120-test-split.txt"
XTEST_MD5 = "670c7749b090d2e937e20d10e811be22"
XTEST_ADDRESS = f"https://raw.githubusercontent.com/D-X-Y/AutoDL-Projects/main/configs/nas-benchmark/{XTEST}"


def prepare(raw: Path, xtest_only: bool) -> Streamed:
    """Return the data set; test images are ImageNet's validation images, all 6,000 or NAS-Bench-201's x-test half.

    Raises ValueError, with the file, if one is missing, damaged or another.
    """
    folder = raw / "ImageNet16" if (raw / "ImageNet16").is_dir() else raw
    for name in MD5:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: not there, and it has no free address; {REMEDY} {raw / 'ImageNet16'}")
    kept = _x_test(raw) if xtest_only else None
    num = NUM | ({"test": len(kept)} if kept is not None else {})

    def blocks() -> Iterator[Block]:
        found = dict.fromkeys(NUM, 0)
        for name, md5 in MD5.items():
            path = folder / name
            with files.verified(path, md5) as file:
                batch = files.unpickle(file, str(path))
            images, labels = images_and_labels(batch, "labels", SIDE, str(path))
            if labels.min() < 1:
                raise ValueError(f"{path}: labels from {labels.min()}; expected from 1")
            wanted = labels <= CLASSES
            images, labels = images[wanted], labels[wanted] - 1
            split = "train" if name.startswith("train") else "test"
            if split == "test" and kept is not None:
                images, labels = images[kept], labels[kept]
            found[split] += len(labels)
            if len(labels):
                yield split, images, labels
        if found != num:
            raise ValueError(f"{folder}: {found} images of {CLASSES} classes; expected {num}")

    return Streamed(
        name="imagenet16_120" + ("_xtest" if xtest_only else ""),
        blocks=blocks,
        classes=tuple(str(label) for label in range(1, CLASSES + 1)),  # as numbered in map_clsloc.txt, not in torchvision
        augment=Augment(crop=2, flip=True, cutout=8),
        source="ImageNet16-120, official pickles" + (f"; test images by {XTEST} of NAS-Bench-201" if xtest_only else ""),
        checksum="md5:" + hashlib.md5(",".join(MD5.values()).encode(), usedforsecurity=False).hexdigest(),
    )


imagenet16_120 = partial(prepare, xtest_only=False)
imagenet16_120_xtest = partial(prepare, xtest_only=True)


def _x_test(raw: Path) -> np.ndarray:
    """Return the positions of x-test among the 6,000 validation images."""
    path = raw / XTEST
    if not path.is_file():
        files.download(XTEST_ADDRESS, path)
    with files.verified(path, XTEST_MD5) as file:
        return np.sort(np.array(json.load(file)["xtest"][1], dtype=np.int64))
