"""The machine of a job: its device, threads and determinism, and what a run records of it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite import store
from suite.jobs import gpu
from suite.jobs.stopping import StopFlag, ask_to_go_on

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Machine:
    """Where a job runs; `started` by time.monotonic."""

    device: torch.device
    threads: int
    seed: int
    started: float

    @property
    def name(self) -> str:
        import torch

        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def usage(self) -> dict[str, float]:
        """Return what the job has taken so far."""
        import torch

        memory = {"peak_device_memory_mib": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_available() else {}
        return {**store.usage(self.started), **memory}

    def provenance(self, *params: Mapping[str, Any]) -> dict[str, Any]:
        """Say where a run with these parameters comes from."""
        plugins = {f"version_{name}": version for of in params for name, version in of.get("plugins", {}).items()}
        return {**store.provenance(self.name, self.threads, self.seed), **plugins}


def set_up(device: str, threads: int, seed: int, stop: StopFlag) -> Machine:
    """Fix threads, determinism and the global streams, and take a device, a GPU of this job's own if there is one.

    Raises ValueError if CUDA is asked for and absent.
    """
    started = time.monotonic()
    if device != "cpu" and not gpu.take(stop):
        ask_to_go_on("waiting for a GPU")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    keep_memory()
    import torch

    from bionas.seeds import derive

    available = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("device: 'cuda' asked for, but torch sees no CUDA device here; allowed: auto, cpu")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import the compiler, for 1.5 s
    torch.manual_seed(derive(seed, "global"))
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # it would write every allocation
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return Machine(torch.device("cuda" if available else "cpu"), threads, seed, started)


def keep_memory() -> None:
    """Let glibc keep what is freed: it would give every block above 32 MiB back, and fault it in again at the next operation."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, 2**31 - 1)
