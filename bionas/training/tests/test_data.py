"""Batches: every image once an epoch, shifted and mirrored as asked, and the same whenever the epoch is entered."""

import numpy as np
import pytest
import torch

from bionas import dataset
from bionas.dataset import Augment, Dataset
from bionas.training.data import Split, TrainingData, hold_out

CPU = torch.device("cpu")


def split(n=23, size=6, classes=3):
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (n, 2, size, size), dtype=np.uint8)  # never 0, which is the border
    return Split.of(images, np.arange(n) % classes, CPU)


def test_without_augmentation_an_epoch_is_a_permutation():
    data = split()
    batches = list(TrainingData(data, Augment(), 5, seed=1).epoch(0))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    seen = (torch.cat([images for images, _ in batches]) * 255).round().byte()
    order = [next(i for i, image in enumerate(data.images) if torch.equal(image, one)) for one in seen]
    assert sorted(order) == list(range(23)) and order != sorted(order)
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels[order])


@pytest.mark.parametrize("augment", [Augment(crop=2), Augment(flip=True), Augment(crop=1, flip=True)])
def test_every_augmented_image_is_a_shift_or_mirror_of_its_original_on_black(augment):
    data = split()
    seen = torch.cat([images for images, _ in TrainingData(data, augment, 23, seed=1).epoch(3)])
    padded = np.pad(data.images.numpy(), ((0, 0), (0, 0), *[(augment.crop,) * 2] * 2))
    variants = set()
    for one in (seen * 255).round().byte().numpy():
        found = [
            (i, y, x, mirrored)
            for i in range(len(data))
            for y in range(2 * augment.crop + 1)
            for x in range(2 * augment.crop + 1)
            for mirrored in (False, True)[: 1 + augment.flip]
            if np.array_equal(one, padded[i][:, y : y + 6, x : x + 6][:, :, :: -1 if mirrored else 1])
        ]
        assert len(found) == 1
        variants.add(found[0][1:])
    assert len(variants) > 1


def test_an_epoch_entered_in_the_middle_goes_on_as_if_never_left():
    data = TrainingData(split(), Augment(crop=1, flip=True), 4, seed=5)
    whole = list(data.epoch(2))
    for start in range(data.steps):
        for (a, b), (c, d) in zip(data.epoch(2, start), whole[start:], strict=True):
            assert torch.equal(a, c) and torch.equal(b, d)


def test_epochs_and_seeds_differ():
    def first(seed, epoch):
        return next(TrainingData(split(), Augment(), 23, seed).epoch(epoch))[1]

    assert torch.equal(first(0, 0), first(0, 0))
    assert not torch.equal(first(0, 0), first(0, 1)) and not torch.equal(first(0, 0), first(1, 0))


def test_held_out_share_is_stratified_disjoint_and_whole():
    data = split(n=90)
    kept, held = hold_out(data, 0.2, seed=0)
    assert torch.bincount(held.labels).tolist() == [6, 6, 6] and len(kept) == 72
    rows = {image.numpy().tobytes() for part in (kept, held) for image in part.images}
    assert len(rows) == 90
    assert hold_out(data, 0.0, seed=0) == (data, None)
    with pytest.raises(ValueError, match=r"0\.001 leaves no image"):
        hold_out(data, 0.001, seed=0)


class TestFile:
    def data(self, **changes):
        images = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 4), dtype=np.uint8)
        labels = np.arange(12) % 3
        parts = {"train_images": images[:8], "train_labels": labels[:8], "test_images": images[8:], "test_labels": labels[8:]}
        parts |= {"name": "toy", "classes": ("a", "b", "c"), "augment": Augment(1, True), "source": "made", "checksum": "md5:0"}
        return Dataset(**(parts | changes))

    def test_comes_back_as_it_went(self, tmp_path):
        dataset.write(tmp_path / "toy.h5", self.data())
        back = dataset.read(tmp_path / "toy.h5")
        assert (back.classes, back.augment, back.checksum) == (("a", "b", "c"), Augment(1, True), "md5:0")
        assert np.array_equal(back.train_images, self.data().train_images)
        scaled = self.data().train_images / 255
        np.testing.assert_allclose(back.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(back.std, scaled.std((0, 2, 3)), rtol=1e-12)
        assert [p.name for p in tmp_path.iterdir()] == ["toy.h5"]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"train_labels": np.array([3] * 8)}, "0..2"),
            ({"train_labels": np.array([-1] * 8)}, "0..2"),
            ({"test_labels": np.zeros(3, dtype=np.int64)}, r"\(4,\)"),
            ({"test_images": np.zeros((4, 4, 4), dtype=np.uint8)}, "N, C, H, W"),
        ],
    )
    def test_refuses_what_is_none_and_writes_nothing(self, tmp_path, changes, words):
        with pytest.raises(ValueError, match=words):
            dataset.write(tmp_path / "toy.h5", self.data(**changes))
        assert not list(tmp_path.iterdir())

    def test_a_damaged_file_is_one_line_with_the_remedy(self, tmp_path):
        path = tmp_path / "toy.h5"
        dataset.write(path, self.data())
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(ValueError, match=r"toy\.h5: .*python -m data_prep") as error:
            dataset.read(path)
        assert "\n" not in str(error.value)
        with pytest.raises(ValueError, match="no such data set"):
            dataset.read(tmp_path / "other.h5")
