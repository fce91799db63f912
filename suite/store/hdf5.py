"""Many small groups of an HDF5 file, read fast: attributes and datasets as h5py gives them, in about a third of the time.

A metrics file of 10,000 trials has a million attributes and a quarter of a million datasets. Most of what h5py's `attrs` and `[()]` take
goes into objects that nobody keeps. Here the usual types are read straight, and everything else is left to h5py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5o, h5s, h5t

LARGEST = 2**30  # bytes of one dataset
TEXT = h5py.string_dtype()
EIGHT, REFERENCE = 8, 16  # bytes in the file, of a number and of where a text stands: its length, an address of 8, a number
_REAL, _WHOLE, _TEXT = (h5t.py_create(np.dtype(kind)) for kind in ("f8", "i8", TEXT))

_USUAL = [(h5t.py_create(np.dtype(kind)), np.dtype(kind)) for kind in ("f8", "?", "i8", "f4")]


def attributes(group: h5py.Group) -> dict[str, Any]:
    """Return `dict(group.attrs)`, by name; a number or text in a list of one comes out of it, as all of ours are scalars."""
    names: list[bytes] = []
    h5a.iterate(group.id, names.append)
    with typed():
        return {name.decode(): _attribute(group, name) for name in names}


@contextmanager
def typed() -> Iterator[None]:
    """Have what is wrong with a file be an OSError: of a type that numpy has none for, h5py says ValueError."""
    try:
        yield
    except ValueError as error:
        raise OSError(str(error)) from error


def _attribute(group: h5py.Group, name: bytes) -> Any:
    attribute = h5a.open(group.id, name)
    kind = attribute.get_type()
    size, sort = attribute.get_storage_size(), kind.get_class()  # the size says whether it is one: what is read into has room for no more
    if sort == h5t.STRING and size == REFERENCE and kind.is_variable_str():
        text: Any = np.empty((), TEXT)
        attribute.read(text, _TEXT)
        return text[()].decode("utf-8", "surrogateescape")
    if sort in (h5t.FLOAT, h5t.INTEGER) and size == EIGHT and kind in (_REAL, _WHOLE):
        number = np.empty((), "f8" if sort == h5t.FLOAT else "i8")
        attribute.read(number, kind)
        return number[()]
    return group.attrs[name.decode()]


def datasets(group: h5py.Group, but: str = "") -> dict[str, Any]:
    """Return {path: content} of every dataset in a group and its groups, by path; text as such. Those in the group `but` are left out."""
    names: list[bytes] = []
    left_out = f"{but}/".encode()

    def note(name: bytes, info: h5o.ObjInfo) -> None:
        if info.type == h5o.TYPE_DATASET and not (but and name.startswith(left_out)):
            names.append(name)

    h5o.visit(group.id, note, info=True)
    with typed():
        return {name.decode(): _content(h5d.open(group.id, name)) for name in names}


def _content(dataset: h5d.DatasetID) -> Any:
    kind, shape = dataset.get_type(), dataset.shape
    if shape and math.prod(shape) * kind.get_size() > LARGEST:
        raise OSError(f"{h5i.get_name(dataset).decode(errors='replace')} claims {shape}; allowed: {LARGEST >> 20} MiB")
    dtype = next((dtype for known, dtype in _USUAL if kind == known), None)
    if dtype and dataset.get_storage_size():
        content = np.empty(shape, dtype)
        dataset.read(h5s.ALL, h5s.ALL, content, kind)
        return content[()]
    node = h5py.Dataset(dataset)
    return node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()]


def groups(group: h5py.Group, having: str) -> Iterator[h5py.Group]:
    """Yield every group below that has an attribute, by path, and none that lies in such a one."""
    names: list[bytes] = []
    group.id.links.iterate(names.append)
    for name in names:
        node = h5o.open(group.id, name)
        if isinstance(node, h5g.GroupID):
            below = h5py.Group(node)
            if h5a.exists(node, having.encode()):
                yield below
            else:
                yield from groups(below, having)
