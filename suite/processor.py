"""The processor of a job, and the instructions that its libraries may use. Imports nothing of ours, and neither numpy nor torch.

ATen, oneDNN, MKL, OpenBLAS and numpy choose their kernels by the processor, and other kernels round otherwise. A common floor makes
them choose alike on every x86 processor that has AVX2 (since 2013, 2015 at AMD's). They read it once, when numpy and torch are imported.
"""

from __future__ import annotations

import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

FLOOR = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",  # of any numpy
}
NEEDED = {"avx2", "fma"}  # flags of a processor that has all of it
CPUINFO = Path("/proc/cpuinfo")


def set_floor(environment: MutableMapping[str, str] = os.environ, cpuinfo: Path = CPUINFO) -> None:
    """Keep the libraries to AVX2 where the processor has it; what the user has set stays.

    numpy's BLAS gets one thread whatever anybody says: it serves EG's covariance alone, and its bits depend on their number.
    """
    environment["OPENBLAS_NUM_THREADS"] = "1"
    if set(_entry("flags", cpuinfo).split()) >= NEEDED:
        for name, value in FLOOR.items():
            environment.setdefault(name, value)


def provenance(environment: MutableMapping[str, str] = os.environ, cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """Say which processor this is, and to which instructions the libraries were kept."""
    found = {name: environment[name] for name in FLOOR if name in environment}
    said = " ".join(f"{name}={value}" for name, value in found.items()) or "the processor's own"
    return {"processor": _entry("model name", cpuinfo) or platform.machine(), "instructions": "avx2" if found == FLOOR else said}


def _entry(name: str, cpuinfo: Path) -> str:
    """Return what the system says of its first processor; nothing where it says nothing, as on macOS or ARM."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
