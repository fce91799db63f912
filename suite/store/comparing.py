"""The digest of results: the one comparer wherever "the same bytes" is asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from suite.store.layout import UNDIGESTED, opened


def digest(path: Path) -> str:
    """Hash everything in an HDF5 file but provenance and timings: equal digests mean the same numbers to the bit."""
    with opened(path) as file:
        return digest_of(file)


def digest_of(group: h5py.Group) -> str:
    """Hash a group of an HDF5 file in the same way: a run of metrics.h5."""
    total = hashlib.sha256()

    def add(*parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            total.update(len(data).to_bytes(8, "big") + data)

    def visit(node: h5py.Group) -> None:
        for name in sorted(node.attrs):
            add(node.name, "@", name, *_canonical(node.attrs[name]))
        for name in sorted(node):
            if name in UNDIGESTED:
                continue
            child = node[name]
            add(child.name)
            if isinstance(child, h5py.Dataset):
                add(*_canonical(child[()]))
            else:
                visit(child)

    visit(group)
    return total.hexdigest()


def _canonical(value: Any) -> tuple[object, ...]:
    array = np.asarray(value)
    if array.dtype.kind in "OUS":  # text, whatever its encoding in the file
        return ("text", array.shape, json.dumps([v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]))
    return (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
