"""The fused supernet against what the public code is made of: time, operations, memory; and how its step grows."""

import subprocess
import sys
from pathlib import Path

import peers
import pytest
import torch
from conftest import ROWS, Row

SIZES = [(8, 16, 0.25), (16, 16, 0.35), (16, 64, 0.5)]


@pytest.mark.parametrize(("channels", "images", "bar"), SIZES)
def test_step(compare, channels, images, bar):
    batch = peers.batch(16, images)
    ours, peer = peers.step(peers.supernet(channels, 5), *batch), peers.step(peers.public_supernet(channels, 5), *batch)
    rounds = 5 if images == 64 else 9
    compare(f"supernet step, C={channels}, batch {images} of 16×16, 5 cells ÷ public code", {"ours": ours, "peer": peer}, rounds, bar)


def test_operations():
    batch = peers.batch(16, 2)
    total, peer = peers.operations(peers.step(peers.public_supernet(8, 5), *batch))
    assert 200_000 <= total <= 220_000, f"{total:,}: the peer is padded or thinned"
    all_ours, ours = peers.operations(peers.step(peers.supernet(8, 5), *batch))
    ratio = ours / peer
    detail = f"ours {ours:,} of {all_ours:,}, peer {peer:,} of {total:,}"
    ROWS.append(Row("operations of that step, without views and allocations ÷ public code", ratio, ratio, ratio, 1 / 12, detail))


MEMORY = """
import re, sys
from pathlib import Path
import peers, torch
def peak():  # of this program: getrusage would count the one that started it, too
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
kind, channels, images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(2)
net = peers.supernet(channels, 5) if kind == "ours" else peers.public_supernet(channels, 5)
run = peers.step(net, *peers.batch(16, images))
before = peak()
for _ in range(10):
    run()
print((peak() - before) / 1024)
"""


@pytest.mark.parametrize(("channels", "images"), [size[:2] for size in SIZES[:2]])
def test_memory(channels, images):
    """Peak resident memory of a fresh process over ten steps, less that before the first."""
    found = {}
    for kind in ("ours", "peer"):
        command = [sys.executable, "-c", MEMORY, kind, str(channels), str(images)]
        found[kind] = float(subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout)
    ratio = found["ours"] / found["peer"]
    detail = ", ".join(f"{kind} {mib:.0f} MiB" for kind, mib in found.items())
    ROWS.append(Row(f"peak memory over ten steps, C={channels}, batch {images} ÷ public code", ratio, ratio, ratio, 1.0, detail))


@pytest.mark.parametrize(("channels", "cells", "size", "bar"), [(8, 3, 8, 0.3), (16, 5, 16, 0.6)])
def test_fitness_of_an_individual(compare, channels, cells, size, bar):
    """What BioNAS-EG does thousands of times: a forward pass of 128 images, in evaluation."""
    images, _ = peers.batch(size, 128)

    def forward(net):
        net.eval()
        choices = net.mixture()

        @torch.no_grad()
        def run():
            net(images, choices)

        return run

    contenders = {
        "ours": forward(peers.supernet(channels, cells, none=False)),
        "peer": forward(peers.public_supernet(channels, cells, none=False)),
    }
    compare(f"fitness of an individual, C={channels}, {cells} cells, 128 of {size}×{size} ÷ public code", contenders, 9, bar)


BASE = {"channels": 8, "cells": 5, "rules": peers.BIO}
GROWTH = [{"channels": 16}, {"channels": 32}, {"cells": 3}, {"cells": 8}, {"rules": ("usf",)}, {"rules": ("usf", "frsf")}]
GROWTH += [{"rules": (*peers.BIO, "bp")}]


@pytest.mark.parametrize("change", GROWTH, ids=str)
def test_growth(compare, change):
    batch = peers.batch(16, 16)
    runs = [peers.step(peers.supernet(**{**BASE, **size}), *batch) for size in (change, {})]
    ((key, value),) = change.items()
    said = f"{len(value)} rules" if key == "rules" else f"{key} {value}"
    bar = 1.3 if change == {"rules": (*peers.BIO, "bp")} else None
    compare(f"supernet step, {said} ÷ channels 8, cells 5, 4 rules", dict(zip((said, "base"), runs, strict=True)), 9, bar)
