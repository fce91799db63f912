"""Small archives in exactly the official layout, of noise; only who makes them tells the loaders their checksums.

`python -m data_prep.tests.archives DIR` prepares CIFAR-10, CIFAR-100 and ImageNet16-120 from such into DIR/data, so that the paper's
definitions can be tried at size=tiny where the real archives are not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np

from data_prep import cifar, imagenet16
from data_prep.__main__ import main

CLASSES = {"cifar10": 10, "cifar100": 100}


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


class Python2(pickle._Pickler):
    """Writes text as Python 2 wrote its bytes, as the official files do."""

    def save_str(self, text):
        content = text.encode("latin1")
        self.write(b"U" + bytes([len(content)]) + content if len(content) < 256 else b"T" + len(content).to_bytes(4, "little") + content)

    dispatch = pickle._Pickler.dispatch | {str: save_str}


def pickled(content):
    out = io.BytesIO()
    Python2(out, protocol=2).dump(content)
    return out.getvalue()


def batch(rng, side, labels, key):
    """As in the archives: rows of red, green and blue planes, and a list of labels."""
    return {"data": rng.integers(0, 256, (len(labels), 3 * side * side), dtype=np.uint8), key: [int(label) for label in labels]}


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def cifar_archive(name, train=40, test=20):
    """Return the members of an archive with so many images a batch, and {split: [(rows, labels) of its batches]}."""
    layout, rng = cifar.ARCHIVES[name], np.random.default_rng(0)
    members, found = {}, {"train": [], "test": []}
    for split, member in layout.batches:
        labels = rng.permutation(np.arange(train if split == "train" else test) % CLASSES[name])
        content = batch(rng, 32, labels, layout.labels)
        if name == "cifar100":
            content["coarse_labels"] = [0] * len(labels)
        members[f"{layout.folder}/{member}"] = pickled(content)
        found[split].append((content["data"], labels))
    members[f"{layout.folder}/{layout.meta}"] = pickled({layout.names: [f"class {i}" for i in range(CLASSES[name])]})
    members[f"{layout.folder}/readme.html"] = b"<html>"
    return members, found


def imagenet16_files(folder, labels):
    """Write ten training batches and val_data, of these labels each; return the checksums, and {split: [(row, label)]} of what is kept."""
    folder.mkdir(parents=True)
    rng, checksums, kept = np.random.default_rng(0), {}, {"train": [], "test": []}
    for name in [f"train_data_batch_{i}" for i in range(1, 11)] + ["val_data"]:
        content = batch(rng, 16, rng.permutation(labels), "labels")
        if name != "val_data":
            content["mean"] = np.zeros(768)
        (folder / name).write_bytes(pickled(content))
        checksums[name] = md5(folder / name)
        split = "test" if name == "val_data" else "train"
        kept[split] += [(row, label - 1) for row, label in zip(content["data"], content["labels"], strict=True) if label <= 120]
    return checksums, kept


def prepare(folder):
    """Make the archives and prepare them as data_prep does."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, layout in list(cifar.ARCHIVES.items()):
        write_tar(raw / layout.file, cifar_archive(name)[0])
        cifar.ARCHIVES[name] = dataclasses.replace(layout, md5=md5(raw / layout.file))
    imagenet16.MD5, kept = imagenet16_files(raw / "ImageNet16", np.arange(1, 131))
    imagenet16.NUM = {split: len(rows) for split, rows in kept.items()}
    for name in (*CLASSES, "imagenet16_120"):
        main([name, "--raw", str(raw), "--out", str(folder / "data" / f"{name}.h5")])


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
