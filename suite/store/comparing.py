"""The digest of results: the one comparer wherever "the same bytes" is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from suite.store.hdf5 import typed
from suite.store.layout import UNDIGESTED, Run, groups, opened, read_group, runs

MANY = 4_000  # runs that are worth other processes


def digest(path: Path) -> str:
    """Hash everything in a run's file but provenance and timings, or every run of metrics.h5 so: equal digests mean the same numbers.

    To the bit. Of metrics.h5 nothing else counts, so that it makes no difference in how many files the same runs lie.
    """
    with opened(path) as file, typed():
        found = {} if "stage" in file.attrs else runs(file)
        return joined({place: digest_of_run(run) for place, run in found.items()}) if found else digest_of(file)


def digested(path: Path, processes: int = 1) -> dict[str, tuple[Run, str]]:
    """Return every run of metrics.h5 and its digest, by its place there; many runs in so many processes.

    More than one process wants a main module that may be imported (`if __name__ == "__main__":`), as multiprocessing does.
    """
    with opened(path) as file:
        places = [group.name[1:] for group in groups(file)]
        if processes < 2 or len(places) < MANY or path.suffix == ".xz":
            return _digested(file, places)
        size = -(-len(places) // processes)
        own, *others = (places[at : at + size] for at in range(0, len(places), size))
        with ProcessPoolExecutor(len(others), get_context("spawn")) as pool:
            waiting = [pool.submit(_part, path, part) for part in others]
            found = _digested(file, own)
            for each in waiting:
                found |= each.result()
    return found


def _part(path: Path, places: Sequence[str]) -> dict[str, tuple[Run, str]]:
    with opened(path) as file:
        return _digested(file, places)


def _digested(file: h5py.File, places: Iterable[str]) -> dict[str, tuple[Run, str]]:
    return {place: (run := read_group(file[place]), digest_of_run(run)) for place in places}


def joined(digests: Mapping[str, str]) -> str:
    """Hash the digests of runs, by their place in metrics.h5, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def digest_of_run(run: Run) -> str:
    """Hash a run that was read, but for provenance and timings."""
    total = _Total()
    total.add(run.stage, run.id, run.status, json.dumps(run.params, sort_keys=True))
    for kind, values in (("@", run.metrics), ("/", run.arrays)):
        for name in sorted(values):
            total.add(kind, name, *_canonical(values[name]))
    return total.hexdigest()


def digest_of(group: h5py.Group) -> str:
    """Hash a group of an HDF5 file in the same way: a run of metrics.h5."""
    total = _Total()

    def visit(node: h5py.Group) -> None:
        for name in sorted(node.attrs):
            total.add(node.name, "@", name, *_canonical(node.attrs[name]))
        for name in sorted(node):
            if name in UNDIGESTED:
                continue
            child = node[name]
            total.add(child.name)
            if isinstance(child, h5py.Dataset):
                total.add(*_canonical(child[()]))
            else:
                visit(child)

    visit(group)
    return total.hexdigest()


class _Total:
    """A hash of parts, each with its length, so that no two lists of them run together."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            self._hash.update(len(data).to_bytes(8, "big") + data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _canonical(value: Any) -> tuple[object, ...]:
    array = np.asarray(value)
    if array.dtype.kind in "OUS":  # text, whatever its encoding in the file
        return ("text", array.shape, json.dumps([v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]))
    return (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())
