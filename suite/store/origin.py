"""Where a run comes from, and what it took: outside the digest."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from suite import image, processor

PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "h5py")


def provenance(device: str, threads: int, seed: int) -> dict[str, Any]:
    """Say where a run comes from: code, image, machine down to its processor, versions, command."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": {None: "unknown", "": "no"}.get(_git("status", "--porcelain", "--untracked-files=no"), "yes"),
        **image.provenance(),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}",
        **processor.provenance(),
        "threads": threads,
        "seed": seed,
        "python": platform.python_version(),
        **{f"version_{name}": _version(name) for name in PACKAGES},
        "argv": " ".join(sys.orig_argv),
        "finished": now(),
    }


def usage(started: float) -> dict[str, float]:
    """Return seconds since `started` (time.monotonic) and the process's peak resident memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "peak_memory_mib": peak}


def _git(*args: str) -> str | None:
    """Ask git, which takes no lock for it: who is killed here would leave one in the user's checkout."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *args], capture_output=True, text=True, timeout=10, check=False, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
