"""One-pixel: against brute force where the answer is known, and against torchattacks' at the same budget."""

import contextlib

import numpy as np
import pytest
import torch
import torchattacks
from torch import nn

from bionas.attacks import evaluate, onepixel
from bionas.attacks.onepixel import OnePixel, changed
from bionas.attacks.tests.helpers import Plane, seen_right, trained, unseen


@contextlib.contextmanager
def rows(model):
    """List how many images every forward has."""
    seen = []
    handle = model.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    yield seen
    handle.remove()


def attack(model, images, labels, seed=0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OnePixel(model, **settings)(images, labels)


def touched(images, attacked):
    return (images != attacked).any(1).flatten(1)


class Fixed(nn.Module):
    """The same logits for every image, with a little slope: the darker, the less of class 0."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits + x.flatten(1).mean(1, keepdim=True) * torch.eye(len(self.logits))[0]


class Lock(nn.Module):
    """Class 1 if one pixel's first channel lies within an interval, or else class 0, the surer the farther off the pixel is."""

    def __init__(self, row, column, low, high):
        super().__init__()
        self.at, self.low, self.high = (row, column), low, high

    def forward(self, x):
        value = x[:, 0, self.at[0], self.at[1]]
        off = (self.low - value).clamp_min(0) + (value - self.high).clamp_min(0)
        return torch.stack([10 * off - 1e-6, torch.zeros_like(off)], 1)


# ---------------------------------------------------------------------------------------------- what it finds


def test_the_one_pixel_and_value_that_break_a_network_are_found():
    images = torch.full((10, 2, 5, 4), 0.1)
    attacked = attack(Lock(3, 1, 0.8, 0.9), images, torch.zeros(10, dtype=torch.long), popsize=100, steps=30)
    where = touched(images, attacked)
    assert (where.sum(1) == 1).all() and where[:, 3 * 4 + 1].all()
    assert ((attacked[:, 0, 3, 1] >= 0.8) & (attacked[:, 0, 3, 1] <= 0.9)).all()


def test_images_are_broken_where_brute_force_says_that_they_can_be():
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(80, 3, 6, 6, generator=stream)
    w = torch.randn(108, generator=stream)
    b = (images.flatten(1) @ w).median().item()
    model = Plane(w, b)
    margins = images.flatten(1) @ w - b
    labels = (margins < 0).long()
    # The farthest that any one pixel can move a margin, every channel black or white, whichever helps.
    slopes = w.view(3, 6, 6) * torch.where(labels == 0, -1, 1).view(-1, 1, 1, 1)
    reach = torch.maximum(slopes * (1 - images), -slopes * images).sum(1).flatten(1)
    distance = margins.abs()[:, None]
    breaking = reach > distance
    assert 20 < breaking.any(1).sum() < 70
    attacked = attack(model, images, labels, popsize=100, steps=50)
    broken, where = model(attacked).argmax(1) != labels, touched(images, attacked)
    assert not (broken & ~breaking.any(1)).any()
    assert (where[broken] & breaking[broken]).sum() == broken.sum()  # by a pixel that can
    surely = (reach > 1.1 * distance).any(1)
    assert broken[surely].all()


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_more_pixels_change_than_may_and_all_stay_in_range(pixels, channels):
    images = torch.rand(20, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    attacked = attack(Fixed(9.0, 0.0), images, torch.zeros(20, dtype=torch.long), pixels=pixels)
    count = touched(images, attacked).sum(1)
    assert count.max() == pixels and count.min() >= 1
    assert attacked.min() >= 0 and attacked.max() <= 1
    assert (attacked.flatten(1).mean(1) < images.flatten(1).mean(1)).all()  # the best that was seen, although none broke it


def test_coordinates_are_rows_columns_and_colours():
    images = torch.full((2, 2, 4, 5), 0.5)
    made = changed(images, torch.tensor([[0.3, 0.99, 0.1, 0.2, 1.0, 0.0, 0.7, 0.8], [0.0, 0.0, 0.1, 0.2, 0.0, 0.1, 0.7, 0.8]]))
    expected = images.clone()
    expected[0, :, 1, 4] = torch.tensor([0.1, 0.2])
    expected[0, :, 3, 0] = torch.tensor([0.7, 0.8])
    expected[1, :, 0, 0] = torch.tensor([0.7, 0.8])  # the later of two
    assert torch.equal(made, expected)


@pytest.mark.parametrize("pixels", [1, 3])
def test_success_is_no_lower_than_torchattacks_at_the_same_budget(pixels):
    """The same images, three seeds each; every image of one seed is set against the same of the other's."""
    model, (images, labels) = trained(), seen_right(60)
    broken = {"ours": 0, "theirs": 0}
    before = np.random.get_state()
    for seed in range(3):
        np.random.seed(seed)
        theirs = torchattacks.OnePixel(model, pixels=pixels, steps=10, popsize=10)(images, labels)
        ours = attack(model, images, labels, seed, pixels=pixels, steps=10, popsize=10)
        for name, found in (("ours", ours), ("theirs", theirs)):
            broken[name] += (model(found).argmax(1) != labels).sum().item()
    np.random.set_state(before)
    assert broken["ours"] >= broken["theirs"] > 10


# ---------------------------------------------------------------------------------------------- what it costs

# facts of torchattacks: max(5, max(1, ⌊popsize / (5p)⌋) · 5p) candidates of p pixels with three channels
SIZES = {10: (10, 10, 15, 20, 25), 150: (150, 150, 150, 140, 150), 400: (400, 400, 390, 400, 400)}


@pytest.mark.parametrize("popsize", SIZES)
def test_candidates_are_as_many_as_torchattacks(popsize):
    images, labels = torch.rand(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)
    for pixels, size in enumerate(SIZES[popsize], 1):
        with rows(model := Fixed(9.0, 0.0)) as ours:
            attack(model, images, labels, pixels=pixels, steps=2, popsize=popsize)
        with rows(model) as theirs:
            torchattacks.OnePixel(model, pixels=pixels, steps=1, popsize=popsize, inf_batch=1000)(images, labels)
        assert sum(ours) == 1 + 3 * size and theirs[0] == size


def test_five_candidates_are_the_least():
    with rows(model := Fixed(9.0, 0.0)) as seen:
        attack(model, torch.rand(1, 1, 8, 8), torch.zeros(1, dtype=torch.long), steps=1, popsize=1)
    assert seen == [1, 5, 5]


def test_one_forward_judges_all_images_in_parts_that_are_bounded(monkeypatch):
    monkeypatch.setitem(onepixel.AT_ONCE, "cpu", 100)
    with rows(model := Fixed(9.0, 0.0)) as seen:
        attack(model, torch.rand(25, 3, 8, 8), torch.zeros(25, dtype=torch.long), steps=2)
    assert seen == [25] + [84, 83, 83] * 3


def test_broken_images_leave_and_wrong_ones_never_enter():
    """The first ten images are wrong already, the next ten break at any touch, the last ten at none."""
    images = 0.4 + (torch.arange(30) // 10 / 10).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    labels = torch.zeros(30, dtype=torch.long)

    class Three(nn.Module):
        def forward(self, x):
            tone = x.flatten(1).median(1).values
            touched = (x.flatten(1) != tone[:, None]).any(1)
            wrong = (tone < 0.45) | (tone < 0.55) & touched
            return torch.stack([~wrong, wrong], 1).float()

    with rows(model := Three()) as seen:
        attacked = attack(model, images, labels, steps=4)
    assert seen[:2] == [30, 200]
    assert seen[2:] == [100] * 4
    assert torch.equal(attacked[:10], images[:10]) and touched(images, attacked)[10:].any(1).all()


def test_nothing_is_evolved_if_all_is_wrong():
    images = torch.rand(4, 3, 8, 8)
    with rows(model := Fixed(0.0, 9.0)) as seen:
        assert torch.equal(attack(model, images, torch.zeros(4, dtype=torch.long)), images)
    assert seen == [4]


# ---------------------------------------------------------------------------------------------- what it depends on


def test_an_image_has_the_same_fate_whatever_stands_beside_it():
    model, (images, labels) = trained(), seen_right(20)
    together = attack(model, images, labels)
    assert torch.equal(attack(model, images[:7], labels[:7]), together[:7])
    beside = labels.clone()
    beside[::2] = (labels[::2] + 1) % 10  # wrong already
    assert torch.equal(attack(model, images, beside)[1::2], together[1::2])


def test_it_is_a_function_of_torchs_seed_and_leaves_numpys_stream_alone():
    model, (images, labels) = trained(), seen_right(10)
    first = attack(model, images, labels, 1)
    np.random.rand()
    before = np.random.get_state()
    assert torch.equal(first, attack(model, images, labels, 1)) and not torch.equal(first, attack(model, images, labels, 2))
    assert np.array_equal(before[1], np.random.get_state()[1]) and before[2:] == np.random.get_state()[2:]


def test_no_gradient_is_asked_for_and_every_mode_and_image_is_left_as_it_was():
    model, (images, labels) = trained().train(), seen_right(5)
    model[2].eval()
    modes, kept, graphs = [m.training for m in model.modules()], images.clone(), []
    handle = model.register_forward_hook(lambda module, arguments, logits: graphs.append((logits.requires_grad, module.training)))
    attacked = attack(model, images, labels)
    handle.remove()
    assert set(graphs) == {(False, False)} and not attacked.requires_grad
    assert [m.training for m in model.modules()] == modes and torch.equal(images, kept)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_network_that_is_sure_to_the_last_bit_still_gives_a_direction():
    """Probabilities are 1 throughout in float32; torchattacks' search is blind there."""
    images, w = torch.full((1, 1, 4, 4), 0.5), torch.linspace(1, 50, 16)
    model = Plane(w, w.sum().item() / 2 - 60)
    assert model(images).softmax(1)[0, 0] == 1
    attacked = attack(model, images, torch.zeros(1, dtype=torch.long), steps=40, popsize=30)
    assert touched(images, attacked)[0].nonzero().item() == 15 and attacked[0, 0, 3, 3] < 0.1


# ---------------------------------------------------------------------------------------------- targeted


class Columns(nn.Module):
    """Class c in proportion to the brightness of column c, but class 0 by default."""

    def forward(self, x):
        return x.amax(2).mean(1) - torch.tensor([0.0, 0.9, 0.6, 0.7])


def test_least_likely_goes_for_the_least_likely_label():
    images, labels = torch.zeros(20, 1, 4, 4), torch.zeros(20, dtype=torch.long)
    attacked = attack(Columns(), images, labels, targeted="least_likely", popsize=60)
    assert (Columns()(attacked).argmax(1) == 1).all()  # others are easier to reach


def test_random_goes_for_each_other_label_and_is_done_only_there():
    images, labels = torch.zeros(300, 1, 4, 4), torch.arange(300) % 4
    images[torch.arange(300), 0, 0, labels] = 1
    attacked = attack(Columns(), images, labels, targeted="random", popsize=60, pixels=2)
    found = Columns()(attacked).argmax(1)
    assert set(zip(labels.tolist(), found.tolist(), strict=True)) >= {(a, b) for a in range(4) for b in range(4) if a != b}
    assert (found != labels).float().mean() > 0.9


def test_an_image_that_is_taken_for_the_target_already_is_left_alone():
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, 0, 1] = 1  # wrong already, as the least likely label: columns 2 and 3 are lower by more
    with rows(model := Fixed(2.0, 1.0, 0.0)) as seen:
        attacked = attack(model, images, torch.tensor([2, 2]), targeted="least_likely", steps=3)
    assert seen == [2, 18, 18, 18, 18] and touched(images, attacked).sum() <= 2


def test_definitions_reach_the_targeted_form():
    images, labels = unseen(20)
    found = {
        kind: evaluate(trained(), images, labels, "onepixel3", keep_adversarial=True, **({"targeted": kind} if kind else {}))
        for kind in (None, "random", "least_likely")
    }
    count = {kind: outcome.robust_correct.sum().item() for kind, outcome in found.items()}
    assert count[None] < count["random"] and count[None] < count["least_likely"] <= 20
