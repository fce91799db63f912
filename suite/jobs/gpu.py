"""One job a GPU on the whole host, whoever started it: a lock for each device, which its holder takes along when it ends.

Snakemake starts as many jobs as there are cores, and knows nothing of devices. Imports no torch: who waits should cost nothing.
A small network leaves most of a GPU idle: BIONAS_JOBS_PER_GPU lets several jobs share each, which moves no number.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DRIVER, DEVICES = Path("/proc/driver/nvidia/gpus"), Path("/dev")
NONE_FOUND = 6  # nvidia-smi's exit status where there is a driver and no device
SHARES = 64  # jobs a device at most
LOCKS = "/tmp/bionas-gpus"  # not TMPDIR: every process of the host has to mean the same folder, containers included
_held: list[int] = []  # for as long as this process lives


def visible() -> list[str]:
    """Return the devices that this process may use, by UUID, in CUDA's order, as CUDA_VISIBLE_DEVICES allows.

    Raises OSError if there are some, and nobody can say which.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed in ("", "-1"):
        return []
    present = _present()
    if allowed is None:
        return present
    found: list[str] = []
    for word in map(str.strip, allowed.split(",")):
        meant = present[int(word) :][:1] if word.isdigit() else [name for name in present if word and name.startswith(word)]
        if not meant:
            break  # as CUDA, which ignores what follows an unknown name
        found += meant[:1]
    return list(dict.fromkeys(found))


def _present() -> list[str]:
    """Return the UUIDs of all devices, in the order of their places on the bus: what nvidia-smi says, or else the driver itself."""
    if shutil.which("nvidia-smi"):
        try:
            asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            raise OSError("nvidia-smi does not answer, so that GPUs cannot be shared; to do without them: device: cpu") from None
        if asked.returncode not in (0, NONE_FOUND):
            said = (asked.stdout + asked.stderr).strip().partition("\n")[0]
            raise OSError(f"nvidia-smi fails ({said or asked.returncode}), so that GPUs cannot be shared; to do without them: device: cpu")
        found: list[str] = []
        for kind, uuid in re.findall(r"^\s*(GPU|MIG) .*\(UUID: ([^)]+)\)", asked.stdout, re.MULTILINE):
            if kind == "MIG" and found and found[-1].startswith("GPU"):
                found.pop()  # a GPU in parts is no device
            found.append(uuid)
        return found
    told = [file.read_text() for file in sorted(DRIVER.glob("*/information"))]
    known = {
        f"nvidia{minor}": uuid
        for text in told
        for uuid, minor in re.findall(r"GPU UUID:\s*(GPU-\S+).*Device Minor:\s*(\d+)", text, re.DOTALL)
    }
    here = {device.name for device in DEVICES.glob("nvidia[0-9]*")}  # a container may have some of them alone
    if unknown := sorted(here - known.keys()):
        raise OSError(f"{DEVICES / unknown[0]}: nobody knows its UUID, so that GPUs cannot be shared; to do without them: device: cpu")
    return [uuid for name, uuid in known.items() if name in here]


def take(should_stop: Callable[[], bool] = lambda: False) -> bool:
    """Take a free device for the rest of this process's life, and make it the only one that CUDA sees; wait if there is none.

    Where there is no GPU there is nothing to take, and a second call takes no second one. Devices fill evenly where jobs share them.
    Returns False if `should_stop` says so before a device is free.
    """
    names = [] if _held else visible()
    if not names:
        return True
    locks = {(name, share): _open(f"{name}-{share}" if share else name) for share in range(_shares()) for name in names}
    waiting = False
    while not should_stop():
        for (name, share), lock in locks.items():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _held.append(locks.pop((name, share)))
            for other in locks.values():
                os.close(other)
            os.environ |= {"CUDA_VISIBLE_DEVICES": name, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # nvidia-smi's order
            print(f"device {name}", flush=True)
            return True
        if not waiting:
            print(f"all devices are in use ({', '.join(names)}); waiting for one", flush=True)
            waiting = True
        time.sleep(0.2)
    return False


def _shares() -> int:
    """Return how many jobs may share a device. Raises ValueError if the environment says no number that can be."""
    said = os.environ.get("BIONAS_JOBS_PER_GPU", "1")
    if not (said.isdecimal() and 1 <= int(said) <= SHARES):
        raise ValueError(f"BIONAS_JOBS_PER_GPU: found {said!r}; allowed: a number from 1 to {SHARES}")
    return int(said)


def _open(name: str) -> int:
    """Open a device's lock, which all users of the host share. Raises OSError if another user's permissions forbid it."""
    folder = Path(os.environ.get("BIONAS_GPU_LOCKS", LOCKS))
    try:
        folder.mkdir()
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    path = folder / re.sub(r"[^\w-]", "_", name)
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.fchmod(lock, 0o644)  # whatever the umask: reading is enough for a lock
        return lock
