"""Batches on the device: the whole split lives there as uint8, and a batch is one gather, crop and flip included.

There are no worker processes and no copies in the step. Order, crops and flips of an epoch are drawn at once, on the CPU, from the
stream that (seed, epoch) names: batch k of epoch e is the same whether the run was ever interrupted, and on every device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bionas.dataset import Augment
from bionas.seeds import generator


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and labels (N,) int64 on one device."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, device: torch.device) -> Split:
        return cls(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, ids: Tensor) -> Split:
        ids = ids.to(self.labels.device)
        return Split(self.images[ids], self.labels[ids])

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images in [0, 1] float32, labels) in file order, as evaluation needs them."""
        for images, labels in zip(self.images.split(size), self.labels.split(size), strict=True):
            yield images.float() / 255, labels


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split | None]:
    """Part `split` into (kept, held out), or hold out nothing if the share is 0. Raises ValueError as `part`."""
    return part(split, share, seed) if share else (split, None)


def part(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part `split` into (kept, held out), stratified: `share` of every class, rounded, drawn from the seed's own stream.

    Raises ValueError if one side gets no image.
    """
    labels = split.labels.cpu()
    held = torch.zeros(len(labels), dtype=torch.bool)
    stream = generator(seed, "holdout")
    for label in labels.unique():
        ids = (labels == label).nonzero().flatten()
        held[ids[torch.randperm(len(ids), generator=stream)[: round(share * len(ids))]]] = True
    if not held.any() or held.all():
        raise ValueError(f"holdout: a share of {share} leaves no image on one side of {len(labels)}; take another share")
    return split.at((~held).nonzero().flatten()), split.at(held.nonzero().flatten())


class TrainingData:
    """A split, padded with black once, from which augmented batches are gathered.

    `augment.cutout` is the side of the square that is cut out of every image (DeVries & Taylor 2017), filled with `mean`.
    """

    def __init__(self, split: Split, augment: Augment, batch_size: int, seed: int, mean: Sequence[float] = (0.0,)) -> None:
        self.split, self.augment, self.batch_size, self.seed = split, augment, batch_size, seed
        self.padded = F.pad(split.images, [augment.crop] * 4)
        self.fill = torch.tensor(mean, dtype=torch.float32, device=split.images.device).view(-1, 1, 1)

    @property
    def steps(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches `start`… of the epoch: images (B, C, H, W) float32 in [0, 1], labels (B,)."""
        n, device = len(self.split), self.split.labels.device
        stream = generator(self.seed, "batches", epoch)
        order = torch.randperm(n, generator=stream)
        tops, lefts = torch.randint(2 * self.augment.crop + 1, (2, n), generator=stream)
        flips = torch.randint(2, (n,), generator=stream) if self.augment.flip else torch.zeros(n, dtype=torch.long)
        _, channels, height, width = self.split.images.shape
        holes = [torch.randint(size, (n,), generator=stream) for size in (height, width)] if self.augment.cutout else [order, order]
        drawn = torch.stack([order, tops, lefts, flips, *holes]).to(device)  # one transfer an epoch

        channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
        row = torch.arange(height, device=device).view(1, 1, -1, 1)
        column = torch.arange(width, device=device).view(1, 1, 1, -1)
        for step in range(start, self.steps):
            ids, top, left, flip, middle_row, middle_column = (
                part.view(-1, 1, 1, 1) for part in drawn[:, step * self.batch_size : (step + 1) * self.batch_size].unbind()
            )
            columns = left + column + flip * (width - 1 - 2 * column)
            images = self.padded[ids, channel, top + row, columns].float() / 255
            if half := self.augment.cutout / 2:  # as DARTS: the square may reach over the border
                inside = ((row - middle_row + 0.5).abs() < half) & ((column - middle_column + 0.5).abs() < half)
                images = torch.where(inside, self.fill, images)
            yield images, self.split.labels[ids.flatten()]

    def cycle(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches for ever, epoch after epoch, from the given step on."""
        epoch, step = divmod(start, self.steps)
        while True:
            yield from self.epoch(epoch, step)
            epoch, step = epoch + 1, 0
