"""What a search needs of a GPU's memory, before it starts: its two steps, counted on a device that is not there."""

from __future__ import annotations

from functools import cache

import torch

from bionas.search import darts
from bionas.search.common import SearchState, WeightSettings, weight_step
from bionas.space import SearchSpace
from bionas.supernet import Supernet
from bionas.training.counting import count


@cache
def needed(
    space: tuple[tuple[str, ...], str, bool],
    in_channels: int,
    num_classes: int,
    side: int,
    channels: int,
    cells: int,
    nodes: int,
    batch_size: int,
    recompute: bool = False,
) -> int:
    """Return the most bytes at once in a step on the weights, and in one on α; `space` is what `SearchSpace` takes.

    In float32, of tensors: what CUDA and its libraries take for themselves comes on top.
    """
    with torch.device("meta"):  # from the start: drawing the feedback of a wide supernet takes seconds
        net = Supernet(SearchSpace(*space), in_channels, num_classes, channels, cells, nodes, recompute=recompute)
    images = torch.empty(batch_size, in_channels, side, side, device="meta")
    labels = torch.empty(batch_size, dtype=torch.int64, device="meta")
    settings = WeightSettings(1, batch_size, lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=3e-4, grad_clip=5.0)
    state = SearchState.start(net, settings)
    darts.prepare(state, darts.Settings(alpha_lr=3e-4, alpha_weight_decay=1e-3))
    steps = (lambda: weight_step(state, images, labels, settings), lambda: darts.alpha_step(state, images, labels))
    return max(count(step, (images, labels, *net.parameters(), *net.buffers())).peak for step in steps)
