"""Devices are handed out one a process, with made-up ones: an `nvidia-smi` that lists what the test wants, and real processes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from suite.jobs import gpu

TWO = "GPU 0: NVIDIA Made-Up (UUID: GPU-aaaa)\nGPU 1: NVIDIA Made-Up (UUID: GPU-bbbb)\n"
PARTS = "GPU 0: A (UUID: GPU-aaaa)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\n  MIG 1g.5gb Device 1: (UUID: MIG-2)\nGPU 1: B (UUID: GPU-bbbb)\n"
HOLD = (
    "import os, sys; from suite.jobs import gpu; gpu.take(); "
    "print('sees', os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
)


@pytest.fixture
def machine(tmp_path, monkeypatch, on_path):
    """A host with the devices that `nvidia-smi -L` lists."""
    monkeypatch.setenv("BIONAS_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return lambda listing: on_path("nvidia-smi", f"cat <<'END'\n{listing}END")


@pytest.fixture
def hold():
    """Start a process that takes a device and holds it until its input ends."""
    started = []

    def start():
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines(process, count):
    return [process.stdout.readline().strip() for _ in range(count)]


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        (None, ["GPU-aaaa", "GPU-bbbb"]),
        ("1", ["GPU-bbbb"]),
        ("1,0", ["GPU-bbbb", "GPU-aaaa"]),
        ("GPU-bb", ["GPU-bbbb"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["GPU-aaaa"]),
        ("0,0", ["GPU-aaaa"]),
    ],
)
def test_a_schedulers_choice_is_respected(machine, monkeypatch, allowed, found):
    machine(TWO)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert gpu.visible() == found


def test_the_parts_of_a_gpu_are_devices_and_the_whole_is_not(machine):
    machine(PARTS)
    assert gpu.visible() == ["MIG-1", "MIG-2", "GPU-bbbb"]


def test_a_failing_nvidia_smi_is_an_error_and_not_a_machine_without_gpus(machine, monkeypatch, on_path):
    on_path("nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    with pytest.raises(OSError, match=r"nvidia-smi fails \(Failed to initialize NVML.*device: cpu"):
        gpu.take()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # who asks for none is not held up
    assert gpu.take() is True


def test_a_device_has_one_name_with_nvidia_smi_and_without(machine, monkeypatch, tmp_path):
    machine(TWO)
    named = gpu.visible()
    for place, name, minor in zip(("0000:4f:00.0", "0000:52:00.0"), named, (1, 0), strict=True):
        (tmp_path / "gpus" / place).mkdir(parents=True)
        text = f"Model: \t\t Made-Up\nIRQ:   \t\t 30\nGPU UUID: \t {name}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n"
        (tmp_path / "gpus" / place / "information").write_text(text)
        (tmp_path / f"nvidia{minor}").touch()
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "gpus")
    monkeypatch.setattr(gpu, "DEVICES", tmp_path)
    monkeypatch.setattr(gpu.shutil, "which", lambda program: None)
    assert gpu.visible() == named == ["GPU-aaaa", "GPU-bbbb"]
    (tmp_path / "nvidia0").unlink()  # a container's share
    assert gpu.visible() == ["GPU-aaaa"]
    (tmp_path / "nvidia2").touch()
    with pytest.raises(OSError, match="nvidia2: nobody knows its UUID"):
        gpu.visible()


@pytest.mark.parametrize("status", [0, 6])
def test_without_a_gpu_there_is_nothing_to_wait_for(machine, on_path, status):
    machine("")  # its locks
    (Path(shutil.which("nvidia-smi"))).write_text(f"#!/bin/bash\necho 'No devices were found'; exit {status}\n")
    assert gpu.take() is True
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_each_job_sees_a_device_of_its_own_and_the_third_waits_for_one(machine, hold):
    machine(TWO)
    first, second = hold(), hold()
    assert sorted(lines(first, 2)[1:] + lines(second, 2)[1:]) == ["sees GPU-aaaa", "sees GPU-bbbb"]
    third = hold()
    assert lines(third, 1) == ["all devices are in use (GPU-aaaa, GPU-bbbb); waiting for one"]
    time.sleep(0.5)
    assert third.poll() is None
    first.kill()  # even so its device is free at once
    assert lines(third, 1)[0] in ("device GPU-aaaa", "device GPU-bbbb")


def test_who_is_asked_to_stop_while_waiting_stops(machine, hold):
    machine(TWO.splitlines()[0] + "\n")
    lines(hold(), 1)
    asked = iter([False, True])
    assert gpu.take(lambda: next(asked)) is False


def test_jobs_may_share_a_device_and_devices_fill_evenly(machine, hold, monkeypatch):
    machine(TWO)
    monkeypatch.setenv("BIONAS_JOBS_PER_GPU", "2")
    seen = [lines(hold(), 2)[1] for _ in range(4)]
    assert seen == ["sees GPU-aaaa", "sees GPU-bbbb", "sees GPU-aaaa", "sees GPU-bbbb"]
    assert lines(hold(), 1) == ["all devices are in use (GPU-aaaa, GPU-bbbb); waiting for one"]


@pytest.mark.parametrize("said", ["0", "65", "-1", "two", ""])
def test_a_share_that_is_no_number_is_said_in_one_line(machine, monkeypatch, said):
    machine(TWO)
    monkeypatch.setenv("BIONAS_JOBS_PER_GPU", said)
    with pytest.raises(ValueError, match=f"BIONAS_JOBS_PER_GPU: found '{said}'; allowed: a number from 1 to 64"):
        gpu.take()
