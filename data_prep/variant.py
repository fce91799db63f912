"""A data set at another resolution, in colour, or with fewer training images; block by block, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from bionas.dataset import Augment, Block, Dataset, Streamed
from data_prep import Variant


def varied(data: Dataset | Streamed, variant: Variant) -> Dataset | Streamed:
    """Return the data set as `variant` wants it; what augmentation may do shrinks with the images. The test split stays whole.

    Raises ValueError, when its blocks are read, if images are not square or the subset is larger than what there is.
    """
    if not (variant.resolution or variant.colour or variant.subset):
        return data
    first = next(iter(data.blocks()))[1]
    side = first.shape[-1]
    if first.shape[-2] != side and variant.resolution:
        raise ValueError(f"{variant}: its images are {first.shape[-2]}×{side}; only square ones are resized")
    if variant.colour and first.shape[1] != 1:
        raise ValueError(f"{variant}: its images have {first.shape[1]} channels already; -rgb is for grey ones")
    wanted = variant.resolution or side
    scale = wanted / side
    augment = data.augment
    kept = _stratified(data, variant) if variant.subset else None

    def blocks() -> Iterator[Block]:
        seen = 0
        for split, images, labels in data.blocks():
            if split == "train" and kept is not None:
                here = kept[seen : seen + len(labels)]
                seen += len(labels)
                images, labels = images[here], labels[here]
            if not len(labels):
                continue
            images = images if wanted == side else _resized(images, wanted)
            yield split, np.repeat(images, 3, axis=1) if variant.colour else images, labels

    return Streamed(
        name=str(variant),
        blocks=blocks,
        classes=data.classes,
        augment=Augment(round(augment.crop * scale), augment.flip, round(augment.cutout * scale)),
        source=data.source,
        checksum=data.checksum,
    )


def _resized(images: np.ndarray, side: int) -> np.ndarray:
    """Average over the area of each new pixel (Pillow's box filter, as Chrabaszcz et al. 2017 made ImageNet16); enlarge bilinearly."""
    flat = images.reshape(-1, *images.shape[2:])
    way = Image.Resampling.BOX if side < images.shape[-1] else Image.Resampling.BILINEAR
    resized = [np.asarray(Image.fromarray(image).resize((side, side), way)) for image in flat]
    return np.stack(resized).reshape(*images.shape[:2], side, side)


def _stratified(data: Dataset | Streamed, variant: Variant) -> np.ndarray:
    """Choose training images, the same share of every class, by a draw of this data set's own; bool (N,)."""
    labels = np.concatenate([labels for split, _, labels in data.blocks() if split == "train"])
    counts = np.bincount(labels, minlength=len(data.classes))
    if not np.count_nonzero(counts) <= variant.subset <= len(labels):
        raise ValueError(f"{variant}: allowed: a subset of {np.count_nonzero(counts)} to {len(labels)} training images")
    share = counts * (variant.subset / len(labels))
    wanted = np.floor(share).astype(int)
    for label in np.argsort(wanted - share, kind="stable")[: variant.subset - wanted.sum()]:
        wanted[label] += 1
    kept = np.zeros(len(labels), dtype=bool)
    for label, num in enumerate(wanted):
        kept[np.random.default_rng([0, label]).permutation(np.flatnonzero(labels == label))[:num]] = True
    return kept
