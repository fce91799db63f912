"""Raw files → data/<name>.h5, once a data set. One file per source.

To add a data set, write a module with a function of the raw folder that returns a `bionas.dataset.Dataset`, or a `Streamed` one, and
add its line here. What installed packages add is there, too (`bionas.plugins`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bionas import catalog, plugins
from bionas.entries import DataSet

DATASETS = {
    "digits": "data_prep.digits:prepare",
    "fashion_mnist": "data_prep.fashion_mnist:prepare",
    "cifar10": "data_prep.cifar:cifar10",
    "cifar100": "data_prep.cifar:cifar100",
    "imagenet16_120": "data_prep.imagenet16:imagenet16_120",
    "imagenet16_120_xtest": "data_prep.imagenet16:imagenet16_120_xtest",
}


@dataclass(frozen=True)
class Size:
    """What a data set holds: images of `channels` × `side` × `side`."""

    train: int
    test: int
    channels: int
    side: int
    classes: int


SIZES = {  # so that a plan can say what it costs before anything is prepared
    "digits": Size(1_433, 364, 1, 8, 10),
    "fashion_mnist": Size(60_000, 10_000, 1, 28, 10),
    "cifar10": Size(50_000, 10_000, 3, 32, 10),
    "cifar100": Size(50_000, 10_000, 3, 32, 100),
    "imagenet16_120": Size(151_700, 6_000, 3, 16, 120),
    "imagenet16_120_xtest": Size(151_700, 3_000, 3, 16, 120),
}
for _name, _added in plugins.found("datasets", DATASETS, DataSet, DataSet.mistakes).items():  # what plugins add, behind ours
    DATASETS[_name] = _added.target
    SIZES[_name] = Size(_added.train, _added.test, _added.channels, _added.side, _added.classes)
FORM = "NAME[-SIDEpx][-rgb][-nIMAGES]"


@dataclass(frozen=True)
class Variant:
    """A data set as a definition wants it: at another resolution (pixels a side), grey as colour, a subset of the training images."""

    name: str
    resolution: int = 0  # 0: as it is
    colour: bool = False
    subset: int = 0  # 0: all

    def __str__(self) -> str:
        """The name under which it lies in data/, and by which runs are called: cifar10, fashion_mnist-16px-n10000."""
        parts = [f"-{self.resolution}px" * bool(self.resolution), "-rgb" * self.colour, f"-n{self.subset}" * bool(self.subset)]
        return self.name + "".join(parts)

    @classmethod
    def parse(cls, word: str) -> Variant:
        """Read such a name. Raises ValueError if it is none."""
        name, dash, rest = word.partition("-")
        found = re.fullmatch(r"(?:-([1-9]\d{0,3})px)?(-rgb)?(?:-n([1-9]\d{0,8}))?", dash + rest)
        catalog.choose("data set", name if found else word, DATASETS)
        assert found  # a word that does not match has a dash, and no data set's name has one
        resolution, colour, subset = found.groups()
        return cls(name, int(resolution or 0), bool(colour), int(subset or 0))

    @property
    def size(self) -> Size:
        whole = SIZES[self.name]
        channels, side = 3 if self.colour else whole.channels, self.resolution or whole.side
        return Size(self.subset or whole.train, whole.test, channels, side, whole.classes)
