"""The data set file, `data/<name>.h5`: its one writer and its one reader. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bionas.files import replacing

FORMAT = 1
SPLITS = ("train", "test")
Block = tuple[str, np.ndarray, np.ndarray]  # a split's name, images (n, C, H, W) uint8, labels (n,) int64


@dataclass(frozen=True)
class Augment:
    """What may be done to a training image without making it a wrong one. Pixels."""

    crop: int = 0  # black border from which a crop of the old size is drawn
    flip: bool = False  # left and right
    cutout: int = 0  # side of the largest square that may be cut out


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8 with labels (N,) int64, split into train and test, and what goes with them."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    augment: Augment
    source: str
    checksum: str  # of the raw data
    mean: tuple[float, ...] = ()  # per channel, of training images in [0, 1]; `write` fills it in
    std: tuple[float, ...] = ()
    plugin: str = ""  # package and version of the plugin that made it, if one did

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train_images.shape[1:]

    def blocks(self) -> Iterator[Block]:
        for split in SPLITS:
            yield split, getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")


@dataclass(frozen=True)
class Streamed:
    """A data set that comes in blocks, so that it need not fit into memory; `blocks` may be called more than once."""

    name: str
    blocks: Callable[[], Iterable[Block]]
    classes: tuple[str, ...]
    augment: Augment
    source: str
    checksum: str
    plugin: str = ""


def statistics(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) per channel of images scaled to [0, 1]: exact, from counts (C, 256) of their values."""
    values = np.arange(256) / 255
    means = [float((count * values).sum() / count.sum()) for count in counts]
    stds = [float(np.sqrt((count * (values - mean) ** 2).sum() / count.sum())) for count, mean in zip(counts, means, strict=True)]
    return tuple(means), tuple(stds)


def count_values(images: np.ndarray) -> np.ndarray:
    """Count the 256 values of every channel: uint8 images (N, C, H, W) → (C, 256)."""
    return np.stack([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])])


def write(path: Path, data: Dataset | Streamed) -> dict[str, tuple[int, ...]]:
    """Check `data` and write it to `path`, which appears only when it is whole; return the shape of each split's images.

    Memory is that of one block. Raises ValueError if it is not a data set.
    """
    counts: Any = 0
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        for split, images, labels in data.blocks():
            _check(data, split, images, labels)
            _append(file, split, images, labels)
            counts = counts + count_values(images) if split == "train" else counts
        for split in SPLITS:
            if split not in file:
                raise ValueError(f"{data.name}: no {split} images")
        mean, std = statistics(counts)
        file.attrs.update(format=FORMAT, name=data.name, source=data.source, checksum=data.checksum)
        file.attrs.update(mean=mean, std=std, augment=json.dumps(asdict(data.augment)), classes=list(data.classes))
        if data.plugin:
            file.attrs["plugin"] = data.plugin
        return {split: file[f"{split}/images"].shape for split in SPLITS}


def read(path: Path) -> Dataset:
    """Read a data set file whole. Raises ValueError, with the path, if it is missing, damaged or of another format."""
    remedy = "make it with python -m data_prep"
    if not path.is_file():
        raise ValueError(f"{path}: no such data set file; {remedy}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise ValueError(f"{path}: data set format {file.attrs.get('format')}, this version reads {FORMAT}; {remedy}")
            data = Dataset(
                name=file.attrs["name"],
                train_images=file["train/images"][:],
                train_labels=file["train/labels"][:],
                test_images=file["test/images"][:],
                test_labels=file["test/labels"][:],
                classes=tuple(file.attrs["classes"]),
                augment=Augment(**json.loads(file.attrs["augment"])),
                source=file.attrs["source"],
                checksum=file.attrs["checksum"],
                mean=tuple(file.attrs["mean"].tolist()),
                std=tuple(file.attrs["std"].tolist()),
                plugin=file.attrs.get("plugin", ""),
            )
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a readable data set file ({_first_line(error)}); {remedy}") from error
    for block in data.blocks():
        _check(data, *block)
    return data


def _append(file: h5py.File, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    if split not in file:
        shape, group = images.shape[1:], file.create_group(split)
        options = {"chunks": (min(len(images), 1024), *shape), "compression": "gzip"}
        group.create_dataset("images", (0, *shape), np.uint8, maxshape=(None, *shape), **options)
        group.create_dataset("labels", (0,), np.int64, maxshape=(None,), chunks=(4096,))
    for name, rows in {"images": images, "labels": labels}.items():
        stored = file[split][name]
        if rows.shape[1:] != stored.shape[1:]:
            raise ValueError(f"{split} images of {rows.shape[1:]} after others of {stored.shape[1:]}; allowed: one shape")
        stored.resize(len(stored) + len(rows), axis=0)
        stored[len(stored) - len(rows) :] = rows


def _check(data: Dataset | Streamed, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"{data.name}: {split} images are {images.dtype} {images.shape}; allowed: uint8 (N, C, H, W)")
    if labels.shape != images.shape[:1] or labels.dtype != np.int64:
        raise ValueError(f"{data.name}: {split} labels are {labels.dtype} {labels.shape}; allowed: int64 ({len(images)},)")
    if labels.min() < 0 or labels.max() >= len(data.classes):
        raise ValueError(f"{data.name}: {split} labels are {labels.min()}..{labels.max()}; allowed: 0..{len(data.classes) - 1}")


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").partition("\n")[0]
