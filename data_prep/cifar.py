"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32×32, from the official Python archives.

Batches are read out of the archive where it lies; nothing is unpacked to disk.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from bionas.dataset import Augment, Block, Streamed
from data_prep import files

ADDRESS = "https://www.cs.toronto.edu/~kriz"
SIDE = 32


@dataclass(frozen=True)
class Archive:
    """Where an archive keeps what; `batches` are (split, member)."""

    file: str
    md5: str
    folder: str
    batches: tuple[tuple[str, str], ...]
    meta: str
    labels: str
    names: str


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
        (*(("train", f"data_batch_{i}") for i in range(1, 6)), ("test", "test_batch")),
        "batches.meta",
        "labels",
        "label_names",
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
        (("train", "train"), ("test", "test")),
        "meta",
        "fine_labels",
        "fine_label_names",
    ),
}


def prepare(raw: Path, name: str) -> Streamed:
    """Return the data set. Raises ValueError, with file and member, if the archive cannot be had, is damaged or is another."""
    archive = ARCHIVES[name]
    path = raw / archive.file
    if not path.is_file():
        files.download(f"{ADDRESS}/{archive.file}", path)
    with _opened(path, archive) as tar:
        classes = _member(tar, path, archive, archive.meta).get(archive.names)
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise ValueError(f"{path}: {archive.folder}/{archive.meta} has no list {archive.names!r}")

    def blocks() -> Iterator[Block]:
        with _opened(path, archive) as tar:
            for split, member in archive.batches:
                batch = _member(tar, path, archive, member)
                yield split, *images_and_labels(batch, archive.labels, SIDE, f"{path}: {archive.folder}/{member}")

    return Streamed(
        name=name,
        blocks=blocks,
        classes=tuple(classes),
        augment=Augment(crop=4, flip=True, cutout=16),
        source=f"{name.upper()[:5]}-{name[5:]}, official Python archive",
        checksum=f"md5:{archive.md5}",
    )


cifar10 = partial(prepare, name="cifar10")
cifar100 = partial(prepare, name="cifar100")


def images_and_labels(batch: dict[str, Any], key: str, side: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 3, side, side), stored as planes of red, green and blue, and labels (n,). Raises ValueError for anything else."""
    rows, labels = batch.get("data"), batch.get(key)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3 * side * side:
        raise ValueError(f"{where}: 'data' is no uint8 array of (n, {3 * side * side})")
    if not isinstance(labels, list | np.ndarray) or len(labels) != len(rows):
        raise ValueError(f"{where}: {key!r} does not hold a label for each of {len(rows)} images")
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{where}: {key!r} holds other things than whole numbers")
    return rows.reshape(-1, 3, side, side), labels.astype(np.int64)


@contextmanager
def _opened(path: Path, archive: Archive) -> Iterator[tarfile.TarFile]:
    with files.verified(path, archive.md5) as file:
        try:
            with tarfile.open(fileobj=file) as tar:
                for member in tar:
                    inside = PurePosixPath(member.name)
                    if inside.is_absolute() or ".." in inside.parts or not (member.isfile() or member.isdir()):
                        raise ValueError(f"{path}: member {member.name!r} is a link or lies outside; this is not the official archive")
                yield tar
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f"{path}: not a readable archive ({error})") from None


def _member(tar: tarfile.TarFile, path: Path, archive: Archive, name: str) -> dict[str, Any]:
    try:
        file: IO[bytes] | None = tar.extractfile(f"{archive.folder}/{name}")
    except KeyError:
        file = None
    if file is None:
        raise ValueError(f"{path}: {archive.folder}/{name} is missing")
    return files.unpickle(file, f"{path}: {archive.folder}/{name}")
