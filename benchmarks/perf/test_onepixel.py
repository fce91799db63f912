"""One-pixel, ours against torchattacks' at the same budget, on a ResNet-20 that knows digits: time, forwards, and images broken."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from conftest import ROWS, THREADS, Row
from sklearn.datasets import load_digits

from bionas.attacks.onepixel import OnePixel
from bionas.networks import parts, resnet20

BUDGET = {"pixels": 1, "steps": 10, "popsize": 10}
BARS = {8: 0.4, 32: 0.75}


def learnt(side):
    """A network, and 64 images and labels that it gets right and has not seen."""
    digits, labels = load_digits(return_X_y=True)
    images = torch.tensor(digits, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images, labels = F.interpolate(images, size=side).repeat(1, 3, 1, 1), torch.tensor(labels)
    model, stream = parts.initialise(resnet20("bp"), 0), torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(2):
        for at in torch.randperm(1200, generator=stream).split(32):
            optimiser.zero_grad()
            F.cross_entropy(model(images[at]), labels[at]).backward()
            optimiser.step()
    model.eval()
    with torch.no_grad():
        right = model(images[1200:]).argmax(1) == labels[1200:]
    assert right.float().mean() > 0.6
    return model, images[1200:][right][:64], labels[1200:][right][:64]


@pytest.mark.parametrize("side", BARS)
def test_onepixel_against_torchattacks(compare, side):
    torch.set_num_threads(THREADS)
    model, images, labels = learnt(side)
    forwards, broken = {"ours": [], "torchattacks": []}, {"ours": [], "torchattacks": []}
    count = []
    model.register_forward_pre_hook(lambda *_: count.append(1))

    def contender(name, attack):
        def attacked():
            count.clear()
            seed = len(broken[name])  # another one each time, the same for both
            torch.manual_seed(seed), np.random.seed(seed)
            found = attack(images, labels)
            forwards[name].append(len(count))
            with torch.no_grad():
                broken[name].append((model(found).argmax(1) != labels).sum().item())

        return attacked

    made = {"ours": OnePixel(model, **BUDGET), "torchattacks": torchattacks.OnePixel(model, **BUDGET)}
    what = f"one-pixel, 64 of {side}×{side}, popsize 10, steps 10, ÷ torchattacks"
    compare(what, {name: contender(name, attack) for name, attack in made.items()}, 3, BARS[side])
    calls, wrong = ({name: sum(each[1:]) for name, each in both.items()} for both in (forwards, broken))  # of the timed ones
    ratio = calls["ours"] / calls["torchattacks"]
    ROWS.append(Row(f"{what}, forwards", ratio, ratio, ratio, 1 / 20, f"{calls['ours']} of {calls['torchattacks']}"))
    ratio = wrong["torchattacks"] / max(1, wrong["ours"])
    ROWS.append(
        Row(f"{what}, theirs ÷ ours, images broken", ratio, ratio, ratio, 1.0, f"{broken['ours'][1:]}, {broken['torchattacks'][1:]}")
    )
