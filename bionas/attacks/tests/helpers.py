"""Networks whose robustness is known: by construction, by hand, or trained on real digits."""

from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from bionas.networks.parts import Normalize
from bionas.rules import RuleConv2d, RuleLinear, advance, seed_feedback

# Parameters that make an attack short; each is used where it is one of the attack's.
SHORT = {"steps": 3, "n_queries": 20, "popsize": 5}


def short(names):
    return {name: value for name, value in SHORT.items() if name in names}


class Threshold(nn.Module):
    """Right about every image as it is and wrong about any that was touched, of 0 among four classes."""

    def __init__(self, images):
        super().__init__()
        self.images = nn.Parameter(images)

    def forward(self, x):
        touched = (x[:, None] - self.images).abs().sum((2, 3, 4)).amin(1)  # from the image that it may be
        return torch.stack([0.05 - touched, touched - 0.05, touched - 50, touched - 60], 1) * 50


class Plane(nn.Module):
    """Class 0 on one side of w·x = b, class 1 on the other; further classes that never win."""

    def __init__(self, w, b, classes=2):
        super().__init__()
        self.w, self.b, self.classes = nn.Parameter(w), b, classes

    def forward(self, x):
        margin = x.flatten(1) @ self.w - self.b
        others = [margin * 0 - 100 - i for i in range(self.classes - 2)]
        return torch.stack([margin / 2, -margin / 2, *others], 1)


def layers(rule, brsf_redraw="update"):
    """A small network of 8×8 images of one channel."""
    options = {"rule": rule, "brsf_redraw": brsf_redraw}
    return nn.Sequential(
        Normalize([0.3], [0.4]),
        RuleConv2d(1, 8, 3, **options),
        nn.ReLU(),
        RuleConv2d(8, 8, 3, stride=2, **options),
        nn.ReLU(),
        nn.Flatten(),
        RuleLinear(32, 10, **options),
    )


@cache
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)


@cache
def _learnt():
    images, labels = (part[:1200] for part in digits())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = layers("bp")
        optimiser = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(8):
            for at in torch.randperm(1200).split(60):
                optimiser.zero_grad()
                F.cross_entropy(model(images[at]), labels[at]).backward()
                optimiser.step()
    return {name: value for name, value in model.state_dict().items() if "extra" not in name and not name.endswith(".R")}


def trained(rule="bp", brsf_redraw="update"):
    """Return a network with weights that know digits, under a rule."""
    model = seed_feedback(layers(rule, brsf_redraw), 0)
    model.load_state_dict(_learnt(), strict=False)
    advance(model)
    return model.eval()


def killer():
    """The same, behind a feedback that is nothing: whoever follows it does not move."""
    model = trained("fa")
    for layer in model:
        if getattr(layer, "R", None) is not None:
            layer.R.zero_()
    return model


def unseen(n=60):
    """Images that it was not trained on."""
    images, labels = digits()
    return images[1200 : 1200 + n], labels[1200 : 1200 + n]


def seen_right(n=20):
    """Unseen images that the trained network gets right, and their labels."""
    images, labels = unseen(200)
    right = trained()(images).argmax(1) == labels
    return images[right][:n], labels[right][:n]
