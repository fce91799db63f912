"""Raw files: fetch one, and unpack one without trusting it."""

from __future__ import annotations

import gzip
import http.client
import shutil
import sys
import urllib.request
import zlib
from pathlib import Path

from bionas.files import replacing


def download(url: str, path: Path, timeout: float = 30) -> None:
    """Fetch `url` to `path`, which appears only when it is whole. Raises ValueError that says how to do without the network."""
    print(f"downloading {url}", file=sys.stderr, flush=True)
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, replacing(path) as partial:
            size = answer.headers.get("Content-Length")
            with partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
                if size is not None and file.tell() != int(size):
                    raise OSError(f"{file.tell()} of {size} bytes arrived")
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"{path}: not there, and {url} cannot be fetched ({error}); put the file there and try again") from None


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
