"""The digest of results: the one comparer wherever "the same bytes" is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from suite.store.layout import UNDIGESTED, groups, opened


def digest(path: Path) -> str:
    """Hash everything in a run's file but provenance and timings, or every run of metrics.h5 so: equal digests mean the same numbers.

    To the bit. Of metrics.h5 nothing else counts, so that it makes no difference in how many files the same runs lie.
    """
    with opened(path) as file:
        found = {} if "stage" in file.attrs else {group.name: digest_of(group) for group in groups(file)}
        return joined(found) if found else digest_of(file)


def joined(digests: Mapping[str, str]) -> str:
    """Hash the digests of runs, by their groups' names in metrics.h5, whatever their order."""
    return hashlib.sha256(json.dumps(sorted((name.strip("/"), each) for name, each in digests.items())).encode()).hexdigest()


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
