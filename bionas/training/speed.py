"""What trades the last bits of a training step for speed: bfloat16, channels_last, torch.compile. Off unless a definition asks.

Weights, losses, and whatever is measured stay float32 and untouched. Each moves numbers, so each is part of a run's identity.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bionas import catalog


def training_forward(model: nn.Module, precision: str, memory_format: str = "contiguous", compile: str = "none") -> Callable[..., Any]:
    """Return the model's forward pass as a training step computes it: called as the model, with images (B, C, H, W) first.

    It is the model itself when nothing is asked. Otherwise outputs are float32; `channels_last` lays the model's weights out anew.
    Raises ValueError for a word that is not allowed, and for `inductor` where there is no compiler.
    """
    asked = {"precision": precision, "memory_format": memory_format, "compile": compile}
    for name, word in asked.items():
        catalog.choose(name, word, catalog.SPEED[name])
    if all(word == catalog.SPEED[name][0] for name, word in asked.items()):
        return model
    if compile == "inductor" and not ({"CC", "CXX"} & os.environ.keys() or any(map(shutil.which, ("g++", "gcc", "clang++", "clang")))):
        raise ValueError("compile: inductor needs a C++ compiler, and none is here; allowed without: none, cudagraphs")
    layout = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    if memory_format == "channels_last":
        model.to(memory_format=layout)
    forward = model if compile == "none" else _compiled(model, compile)

    def run(images: Tensor, *args: Any) -> Any:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = forward(images.contiguous(memory_format=layout), *args)
        return tuple(None if output is None else output.float() for output in outputs) if isinstance(outputs, tuple) else outputs.float()

    return run


def _compiled(model: nn.Module, backend: str) -> Callable[..., Any]:
    """One graph for one shape; inductor chooses kernels by rules and not by timing them, so that they are the same every time."""
    if backend == "inductor":
        from torch._inductor import config

        if hasattr(config, "deterministic"):  # torch 2.10
            config.deterministic = True
    return torch.compile(model, backend=backend, fullgraph=True, dynamic=False)
