"""Which container image a run comes from. Snakemake notices no change of image, so rules have this as a parameter. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from urllib.parse import urlparse

CHOSEN = "BIONAS_IMAGE"  # set by the workflow for jobs that run in an image
KEPT = 1000  # letters that are read of a checksum kept beside an image
INSIDE = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")  # set by these programs: the image's file


FILE = "bionas.sif"  # in the checkout: found and used
NAME = "docker://ghcr.io/bionas/bionas"  # under which versions are published
PUBLISHED = ""  # docker://NAME@sha256:…, once there is one


def wanted(asked: str, in_image: bool, checkout: Path) -> str:
    """Return the image that jobs run in: the one asked for, else bionas.sif where one is, else the published one; nothing outside of any.

    Raises ValueError with one line where there is none to take, or where one is asked for and would not be used.
    """
    if not in_image:
        if asked:
            raise ValueError(f"image: {asked} would not be used; add --use-singularity, or leave image= out")
        return ""
    near = next((str(folder / FILE) for folder in (Path(), checkout) if (folder / FILE).exists()), "")
    if found := asked or near or PUBLISHED:
        return found
    raise ValueError(
        f"image: there is no {FILE} in {checkout}, and none is published yet; make it there with: apptainer build {FILE} docker/bionas.def "
        "(with Docker: docker/README.md)"
    )


def identity(address: str) -> str:
    """Return what names an image's content: of a file its checksum; an address stands for itself, best with its digest.

    Raises ValueError if it is neither.
    """
    if urlparse(address).scheme:  # Snakemake's own test
        return address
    if not Path(address).exists():
        raise ValueError(f"image: {address}: no such file; allowed: an image file, or an address as in docker://NAME@sha256:…")
    return checksum(Path(address)) or str(Path(address).resolve())


def checksum(file: Path) -> str | None:
    """Return `sha256:…` of an image file, nothing of a folder. It takes seconds, so the file's neighbour keeps it."""
    if not file.is_file():
        return None
    status = file.stat()
    state = [status.st_size, status.st_mtime_ns]
    kept = file.with_name(f".{file.name}.sha256")
    try:
        with kept.open(encoding="utf-8") as text:
            known, found = json.loads(text.read(KEPT))
        if known == state and re.fullmatch(r"sha256:[0-9a-f]{64}", found):
            return str(found)
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    with file.open("rb") as content:
        found = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    try:
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        partial.write_text(json.dumps([state, found]))
        partial.replace(kept)
    except OSError:  # a folder that we may not write to
        pass
    return found


def chosen() -> str:
    """Return the identity of the image that the workflow chose for this job; nothing if it chose none."""
    return os.environ.get(CHOSEN, "")


def provenance() -> dict[str, str]:
    """Say which image this process runs in, and the checksum of its file."""
    file = next((os.environ[name] for name in INSIDE if os.environ.get(name)), "")
    return {"image": chosen() or file or "none", "image_digest": (file and checksum(Path(file))) or "none"}
