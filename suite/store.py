"""The one HDF5 layout: how a run is written, read, locked and compared. Imports no torch.

A run is a file of its own or a group of metrics.h5, and reads the same from both:

    attributes     format, stage, id, params (JSON), status, and the scalar metrics
    <arrays>       by path: curves/train_loss, attacks/fgsm/true/robust_correct, …
    timings/       what a clock said: attributes and datasets, outside the digest
    provenance/    where the run came from: attributes, outside the digest

`status` is data: ok, diverged or skipped(reason). A run that went wrong scientifically is a result to report.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from bionas.files import replacing, sweep
from suite import image

FORMAT = 1
STAGES = ("search", "train", "evaluation")
FIXED = ("format", "stage", "id", "params", "status")
UNDIGESTED = ("provenance", "timings")
PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "h5py")


@dataclass(frozen=True)
class Run:
    """One finished stage of one run: its parameters, its status and its numbers."""

    stage: str
    id: str
    params: Mapping[str, Any]
    status: str = "ok"
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- writing and reading


def write(path: Path, run: Run) -> None:
    """Write a run to a file of its own, which appears only when it is whole."""
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        write_group(file, run)


def write_group(group: h5py.Group, run: Run) -> None:
    assert run.stage in STAGES and not set(run.metrics) & set(FIXED)
    group.attrs.update(format=FORMAT, stage=run.stage, id=run.id, status=run.status, params=json.dumps(run.params, sort_keys=True))
    group.attrs.update(run.metrics)
    for name, array in run.arrays.items():
        text = np.asarray(array).dtype.kind in "OU" and len(array) and isinstance(array[0], str)
        group.create_dataset(name, data=array, dtype=h5py.string_dtype() if text else None)
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
    attrs = dict(group.attrs)
    where = f"{group.file.filename}:{group.name}"
    if "stage" not in attrs:
        raise ValueError(f"{where}: no run here")
    if attrs["format"] != FORMAT:
        raise ValueError(f"{where}: run format {attrs['format']}; this version reads {FORMAT}")
    run = Run(
        stage=attrs["stage"],
        id=attrs["id"],
        params=json.loads(attrs["params"]),
        status=attrs["status"],
        metrics={name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items() if name not in FIXED},
    )
    if brief:
        return run
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset) and name.partition("/")[0] not in UNDIGESTED:
            arrays[name] = node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()]

    group.visititems(collect)
    timings = group["timings"]
    return replace(
        run,
        arrays=arrays,
        timings={**timings.attrs, **{name: node[()] for name, node in timings.items()}},
        provenance=dict(group["provenance"].attrs),
    )


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; whatever is wrong with the file becomes a ValueError with its path."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable results file ({str(error).strip(chr(39))}); remove it and run again") from error


def runs(file: h5py.File) -> dict[str, Run]:
    """Return every run in metrics.h5 by its group's path: search/<id>, trial/<id>/train, trial/<id>/evaluation."""
    found: dict[str, Run] = {}

    def collect(group: h5py.Group) -> None:
        for node in group.values():
            if isinstance(node, h5py.Group):
                if "stage" in node.attrs:
                    found[node.name[1:]] = read_group(node)
                else:
                    collect(node)

    collect(file)
    return found


def finished(path: Path, params: Mapping[str, Any]) -> bool:
    """Say whether `path` already holds the whole run with these parameters, from the image that the workflow chose, if it chose one."""
    try:
        run = read(path)
    except ValueError:
        return False
    return run.params == json.loads(json.dumps(params)) and image.chosen() in ("", run.provenance.get("image"))


# ---------------------------------------------------------------------------------------------- comparing


def digest(path: Path) -> str:
    """Hash everything in an HDF5 file but provenance and timings: equal digests mean the same numbers to the bit."""
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

    with opened(path) as file:
        visit(file)
    return total.hexdigest()


def _canonical(value: Any) -> tuple[object, ...]:
    array = np.asarray(value)
    if array.dtype.kind in "OUS":  # text, whatever its encoding in the file
        return ("text", array.shape, json.dumps([v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]))
    return (array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())


# ---------------------------------------------------------------------------------------------- one writer


@contextmanager
def locked(directory: Path, should_stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Be the one process that works on a run. Who comes second waits, and says for whom.

    A killed Snakemake leaves its jobs alive; the lock is the kernel's, so it ends with its holder, however that dies. Yields whether
    the lock was got; it is not if `should_stop` says so first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as file:
        got = _try_lock(file)
        if not got:
            file.seek(0)
            print(f"{directory}: {file.read().strip() or 'another process'} works on this run; waiting for it", flush=True)
        while not got and not should_stop():
            time.sleep(0.2)
            got = _try_lock(file)
        if got:
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {platform.node()}, since {_now()}")
            file.flush()
            sweep(directory)
        yield got


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ---------------------------------------------------------------------------------------------- provenance


def provenance(device: str, threads: int, seed: int) -> dict[str, Any]:
    """Say where a run comes from: code, image, machine, versions, command."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": {None: "unknown", "": "no"}.get(_git("status", "--porcelain", "--untracked-files=no"), "yes"),
        **image.provenance(),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "seed": seed,
        "python": platform.python_version(),
        **{f"version_{name}": _version(name) for name in PACKAGES},
        "argv": " ".join(sys.argv),
        "finished": _now(),
    }


def usage(started: float) -> dict[str, float]:
    """Return seconds since `started` (time.monotonic) and the process's peak resident memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "peak_memory_mib": peak}


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, timeout=10, check=False, cwd=Path(__file__).parent)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.store",
        description="Print the digest of results files: a hash of all numbers, without provenance and timings.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="run files or metrics.h5")
    for path in parser.parse_args(argv).files:
        print(f"{digest(path)}  {path}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.store: {error}")
