"""The one HDF5 layout: how a run is written and read.

A run is a file of its own or a group of metrics.h5, and reads the same from both:

    attributes     format, stage, id, params (JSON), status, and the scalar metrics
    <arrays>       by path: curves/train_loss, attacks/fgsm/true/robust_correct, …
    timings/       what a clock said: attributes and datasets, outside the digest
    provenance/    where the run came from: attributes, outside the digest; `code` is the fingerprint of the code that made it

`status` is data: ok, diverged or skipped(reason). A run that went wrong scientifically is a result to report.
"""

from __future__ import annotations

import io
import json
import lzma
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bionas.seals import sealed_hdf5, whole
from suite import code, image
from suite.shell import called
from suite.store import hdf5

FORMAT = 1
LARGEST = 2**30  # bytes that a packed file may unpack to
STAGES = ("search", "train", "evaluation")
FIXED = ("format", "stage", "id", "params", "status")
# What is raised of a file that is damaged, or made to do harm: by libraries, and where a number, text or list is none.
DAMAGE = (
    *(OSError, RuntimeError, MemoryError, EOFError, lzma.LZMAError, json.JSONDecodeError, UnicodeError),
    *(KeyError, IndexError, TypeError, AttributeError),
)
UNDIGESTED = ("provenance", "timings")


@dataclass(frozen=True)
class Run:
    """One finished stage of one run: its parameters, its status and its numbers."""

    stage: str
    id: str
    params: Mapping[str, Any]
    status: str = "ok"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write(path: Path, run: Run) -> None:
    """Write a run to a file of its own, which appears only when it is whole."""
    with sealed_hdf5(path) as file:
        write_group(file, run)


def write_group(group: h5py.Group, run: Run) -> None:
    assert run.stage in STAGES and not set(run.metrics) & set(FIXED)
    group.attrs.update(format=FORMAT, stage=run.stage, id=run.id, status=run.status, params=json.dumps(run.params, sort_keys=True))
    group.attrs.update(run.metrics)
    for name, array in run.arrays.items():
        text = np.asarray(array).dtype.kind in "OU" and len(array) and isinstance(array[0], str)
        group.create_dataset(name, data=np.asarray(array, object) if text else array, dtype=h5py.string_dtype() if text else None)
    timings = group.create_group("timings")
    for name, value in run.timings.items():
        if np.ndim(value):
            timings.create_dataset(name, data=value)
        else:
            timings.attrs[name] = value
    group.create_group("provenance").attrs.update(run.provenance)


def read(path: Path) -> Run:
    """Read a run's file. Raises ValueError, with the path, if it is missing, damaged or of another format."""
    with opened(path) as file:
        return read_group(file)


def copy(path: Path, group: h5py.Group, name: str) -> Run:
    """Copy a run's file into a group of another file, and return its status and metrics. Raises ValueError as `read` does."""
    with opened(path) as file:
        run = read_group(file, brief=True)
        file.copy(file["/"], group, name)
    return run


def read_group(group: h5py.Group, brief: bool = False) -> Run:
    """Read a run from a file or a group; a brief one has no arrays, timings and provenance, which take most of the time.

    Raises ValueError if there is no run, or one of another format.
    """
    attrs = hdf5.attributes(group)
    if "stage" not in attrs or attrs["format"] != FORMAT:
        what = f"run format {attrs['format']}; this version reads {FORMAT}" if "stage" in attrs else "no run here"
        raise ValueError(f"{group.file.filename}:{group.name}: {what}")
    params = json.loads(attrs["params"])
    if attrs["stage"] not in STAGES or not all(isinstance(attrs[name], str) for name in ("id", "status")) or not isinstance(params, dict):
        raise TypeError(f"{group.name}: stage, id, status or params are none")
    run = Run(
        stage=attrs["stage"],
        id=attrs["id"],
        params=params,
        status=attrs["status"],
        metrics={name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items() if name not in FIXED},
    )
    if brief:
        return run
    found = hdf5.datasets(group, but="provenance")
    timings = hdf5.attributes(group["timings"])
    timings |= {name.removeprefix("timings/"): array for name, array in found.items() if name.startswith("timings/")}
    return replace(
        run,
        arrays={name: array for name, array in found.items() if not name.startswith("timings/")},
        timings=timings,
        provenance=hdf5.attributes(group["provenance"]),
    )


def _unpacked(path: Path) -> io.BytesIO:
    with lzma.open(path) as packed:
        content = packed.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path}: unpacks to more than {LARGEST >> 20} MiB")
    return io.BytesIO(content)


def _rebuilt(path: Path) -> str:
    """Say how a damaged file is made again, by its name and by what lies beside it."""
    command = {"search": "search", "train": "train", "evaluation": "evaluate"}.get(path.stem.partition("-")[0])
    if path.suffix == ".xz":
        return "get it again from where it comes from"
    if command and path.with_suffix(".json").is_file():
        return f"make it again with: {called('python')} -m suite.run {command} {shlex.quote(str(path.with_suffix('.json')))}"
    return f"remove it and run the workflow again: {called('snakemake')} --cores all"


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read, one packed by xz, too; whatever is wrong with the file becomes a ValueError with its path.

    A file that is sealed is compared with its seal first; the error says how it is made again.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with readable(path), _unpacked(path) if path.suffix == ".xz" else path.open("rb") as content:
        if not whole(content):
            raise ValueError(f"{path}: damaged, not what was written; {_rebuilt(path)}")
        with h5py.File(content if path.suffix == ".xz" else path, "r") as file:
            if "plan" in file and (found := file.attrs.get("format", FORMAT)) != FORMAT:
                raise ValueError(f"{path}: metrics format {found}; this version reads {FORMAT}; {_rebuilt(path)}")
            yield file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a results file while it is read into a ValueError with its path."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(f"{path}: not a readable results file ({_first_line(error)}); {_rebuilt(path)}") from error


def _first_line(error: BaseException) -> str:
    """What an error says, in a line; most libraries' say more."""
    return (str(error).strip("'\" \n") or type(error).__name__).partition("\n")[0]


def runs(file: h5py.File) -> dict[str, Run]:
    """Return every run in metrics.h5 by its group's path: search/<id>, trial/<id>/train, trial/<id>/evaluation."""
    return {group.name[1:]: read_group(group) for group in groups(file)}


def groups(file: h5py.Group) -> Iterator[h5py.Group]:
    """Return the group of every run in metrics.h5, one by one."""
    return hdf5.groups(file, having="stage")


def made_by(path: Path) -> str | None:
    """Return the fingerprint of the code that made a run's file, none if there is no such file; an older one does not say."""
    try:
        with h5py.File(path, "r", locking=False) as file:  # thousands of files, and each appears whole
            return str(file["provenance"].attrs.get("code", "unknown"))
    except (OSError, KeyError, RuntimeError):
        return None


def finished(path: Path, params: Mapping[str, Any], made_by: str = "unknown") -> bool:
    """Say whether `path` already holds the whole run with these parameters.

    It has to come from the image that the workflow chose, if it chose one, and from the code `made_by` if the workflow demands that.
    """
    try:
        run = read(path)
    except ValueError:
        return False
    same_image = image.chosen() in ("", run.provenance.get("image"))
    same_code = not code.demanded() or run.provenance.get("code") == made_by
    return run.params == json.loads(json.dumps(params)) and same_image and same_code
