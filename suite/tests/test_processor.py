"""The floor of instructions: what is set, what is left, and that it makes the bits of two dispatches the same."""

import os
import subprocess
import sys

import pytest

from suite import processor

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse2 fma avx avx2 avx512f\n"
OLD = "processor\t: 0\nmodel name\t: An old CPU\nflags\t\t: fpu sse2 avx\n"


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        return tmp_path / "cpuinfo"

    return write


def test_every_library_is_kept_to_avx2_and_what_the_user_set_stays(cpuinfo):
    environment = {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_NUM_THREADS": "8"}
    processor.set_floor(environment, cpuinfo(X86))
    assert environment == {**processor.FLOOR, "MKL_CBWR": "COMPATIBLE", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.parametrize("text", [OLD, "Hardware\t: an ARM\n", ""])
def test_a_processor_without_avx2_is_left_alone(text, cpuinfo):
    environment = {}
    processor.set_floor(environment, cpuinfo(text))
    assert environment == {"OPENBLAS_NUM_THREADS": "1"}


def test_provenance_names_processor_and_instructions(cpuinfo, tmp_path):
    environment = {}
    processor.set_floor(environment, cpuinfo(X86))
    assert processor.provenance(environment, cpuinfo(X86)) == {"processor": "Some CPU @ 2 GHz", "instructions": "avx2"}
    environment["ATEN_CPU_CAPABILITY"] = "default"
    assert processor.provenance(environment, cpuinfo(X86))["instructions"].startswith("ATEN_CPU_CAPABILITY=default ")
    assert processor.provenance({}, tmp_path / "none")["instructions"] == "the processor's own"
    assert processor.provenance({}, tmp_path / "none")["processor"]


PROBE = """
import sys
if sys.argv[1] == "floor":
    import suite.run
import hashlib
import numpy as np, torch, torch.nn.functional as F
torch.set_num_threads(1); torch.manual_seed(0)
x, w = torch.randn(8, 16, 17, 17, requires_grad=True), torch.randn(32, 16, 3, 3, requires_grad=True)
y = F.batch_norm(F.conv2d(x, w, padding=1), None, None, training=True).relu()
F.cross_entropy(y.mean((2, 3)) @ torch.randn(32, 10), torch.arange(8)).backward()
square = np.random.default_rng(0).standard_normal((200, 200))
parts = [y.detach(), x.grad, w.grad, torch.randn(100, 37).softmax(1), torch.randn(300, 257) @ torch.randn(257, 129)]
parts += [torch.from_numpy(part) for part in (np.exp(square), square @ square, np.linalg.eigh(square + square.T)[0])]
print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
"""
FORCED = {  # whatever there is to force, by words of this test's own
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
}


@pytest.mark.skipif("avx512f" not in processor._entry("flags", processor.CPUINFO).split(), reason="no wider instructions than AVX2 here")
def test_with_the_floor_a_wider_processor_computes_the_bits_of_a_narrower_one():
    clean = {name: value for name, value in os.environ.items() if name not in {*FORCED, "OPENBLAS_NUM_THREADS"}}

    def bits(floor, **forced):
        return subprocess.run([sys.executable, "-c", PROBE, floor], env=clean | forced, capture_output=True, text=True, check=True).stdout

    assert bits("floor") == bits("floor", **FORCED) == bits("plain", OPENBLAS_NUM_THREADS="1", **FORCED)
    assert bits("plain") != bits("floor"), "this processor's own kernels round alike, so that this test shows nothing"
