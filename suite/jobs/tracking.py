"""What is recorded of a network before its first and after every epoch, where a definition asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bionas import catalog
from suite.definition.runs import TRACKED

if TYPE_CHECKING:
    from torch import nn

    from bionas.training.data import Split


class Tracking:
    """Analyses of a network over its training. `found` is their state: {analysis: {key: a row an epoch}}, of plain types."""

    def __init__(self, names: Sequence[str], train: Split) -> None:
        self.names, self.train = names, train
        self.found: dict[str, dict[str, list[Any]]] = {name: {} for name in names}

    def look(self, model: nn.Module) -> None:
        """Record the network as it is; nothing of it changes, and nothing is drawn."""
        for name in self.names:
            for key, array in catalog.load(catalog.ANALYSES[name].target)(model, *self._batch()).items():
                self.found[name].setdefault(key, []).append(array.tolist())

    def arrays(self) -> dict[str, Any]:
        """Return what was found, by path, with an axis of epochs in front; of words, which never change, the first alone."""
        import numpy as np

        found = {f"analyses/{name}/{key}": rows for name, table in self.found.items() for key, rows in table.items()}
        return {path: rows[0] if isinstance(rows[0][0], str) else np.array(rows) for path, rows in found.items()}

    def _batch(self) -> tuple[Any, Any]:
        """Training images without augmentation, the same ones in every epoch and for every network."""
        import torch

        from bionas.seeds import generator

        chosen = torch.randperm(len(self.train), generator=generator(0, "tracked images"))[:TRACKED]
        return next(self.train.at(chosen).chunks(TRACKED))
