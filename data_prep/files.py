"""Raw files: fetch one, and open one without trusting it."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import pickle
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import IO, Any

BLOCK = 2**20


def download(url: str, path: Path, timeout: float = 30) -> None:
    """Fetch `url` to `path`, which appears only when it is whole; what came before is not fetched again.

    Raises ValueError that says how to do without the network.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _fetch(url, part, timeout)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{path}: not there, and {url} cannot be fetched ({error}); put the file there and try again") from None
    part.replace(path)


def _fetch(url: str, part: Path, timeout: float) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file is now: another one
        answer = urllib.request.urlopen(url, timeout=timeout)
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if goes_on else 0
        size = answer.headers.get("Content-Length")
        total = None if size is None else have + int(size)
        print(f"downloading {url}" + (f" from byte {have:,} on" if have else ""), file=sys.stderr, flush=True)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task(part.stem, total=total, completed=have)
            with part.open("ab" if goes_on else "wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    bar.update(task, completed=have)
        if total is not None and have != total:
            raise OSError(f"{have} of {total} bytes arrived; the next try goes on from there")


def decompressed(path: Path, limit: int) -> bytes:
    """Return a file's content, gunzipped if its name ends in .gz. Raises ValueError if it is damaged or over `limit` bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); remove it and try again") from None
    if len(content) > limit:
        raise ValueError(f"{path}: holds more than {limit} bytes; it is another file")
    return content


def verified(path: Path, md5: str) -> IO[bytes]:
    """Open a file whose MD5 is the official one. Raises ValueError, before anything is parsed, for any other."""
    try:
        file = path.open("rb")
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if found != md5:
        file.close()
        raise ValueError(f"{path}: MD5 {found}; expected {md5}. It is damaged or another file: remove it and try again")
    file.seek(0)
    return file


def unpickle(file: IO[bytes], what: str) -> dict[str, Any]:
    """Read a dictionary of arrays, lists and text, with text for keys; nothing else is ever built. Raises ValueError otherwise."""
    try:
        content = _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # damaged pickles raise almost anything
        raise ValueError(f"{what}: not read ({type(error).__name__}: {error})".splitlines()[0]) from None
    if not isinstance(content, dict):
        raise ValueError(f"{what}: holds a {type(content).__name__}; expected a dictionary")
    return content


class _Unpickler(pickle.Unpickler):
    """Builds NumPy arrays and plain values alone."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np
        from numpy._core import multiarray

        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return multiarray._reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a data set has no use for")
