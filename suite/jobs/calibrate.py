"""Job: how fast this machine learns, in multiply-adds a second; `python -m suite.plan --calibration` turns plans into hours by it."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from bionas.files import replacing
from suite.definition import price
from suite.jobs import machine
from suite.jobs.stopping import StopFlag, ask_to_go_on

BATCH, STEPS = 128, 9


def calibrate(args: argparse.Namespace, stop: StopFlag) -> None:
    """Time training steps of ResNet-20 on images of 32×32, and write FILE."""
    here = machine.set_up(args.device, args.threads, 0, stop)
    import torch

    from bionas.networks import account, parts, resnet20
    from bionas.training.sgd import SGD

    model = parts.initialise(resnet20("bp"), 0).to(here.device).train()
    optimiser = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=False)
    images, labels = torch.rand(BATCH, 3, 32, 32, device=here.device), torch.randint(10, (BATCH,), device=here.device)
    seconds = []
    for i in range(STEPS):
        started = time.perf_counter()
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
        if here.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        print(f"step {i + 1}/{STEPS}  {seconds[-1]:.3f} s", flush=True)
        if stop():
            ask_to_go_on("calibrate")
    median = statistics.median(seconds[2:])  # the first ones warm up
    found: dict[str, Any] = {"flops_per_second": price.LEARNING * BATCH * account.flops(model, (3, 32, 32)) / median}
    found |= {"device": here.name, "threads": args.threads, "step_seconds": median, "batch": BATCH}
    with replacing(args.out) as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{found['flops_per_second']:.3g} multiply-adds a second on {found['device']}; wrote {args.out}", flush=True)
