"""CIFAR and ImageNet16-120 from small archives in exactly the official layout."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bionas import dataset
from data_prep import Variant, cifar, imagenet16
from data_prep.__main__ import main
from data_prep.tests.archives import cifar_archive, imagenet16_files, md5, pickled, write_tar


@pytest.fixture(params=["cifar10", "cifar100"])
def archive(request, tmp_path, monkeypatch):
    """A small archive in the official layout: its name, raw folder, members, and the images and labels that are in it."""
    name = request.param
    layout, raw = cifar.ARCHIVES[name], tmp_path / "raw"
    members, batches = cifar_archive(name)
    found = {split: tuple(np.concatenate(part) for part in zip(*parts, strict=True)) for split, parts in batches.items()}
    raw.mkdir()

    def put(members):
        write_tar(raw / layout.file, members)
        monkeypatch.setitem(cifar.ARCHIVES, name, dataclasses.replace(layout, md5=md5(raw / layout.file)))

    put(members)
    return name, raw, members, found, put


def test_cifar_comes_out_as_it_went_in(archive, tmp_path):
    name, raw, _, found, _ = archive
    main([name, "--raw", str(raw), "--out", str(tmp_path / "c.h5")])
    data = dataset.read(tmp_path / "c.h5")
    for split, (rows, labels) in found.items():
        images = getattr(data, f"{split}_images")
        assert images.shape == (len(rows), 3, 32, 32)
        assert (
            images[:, 0].tobytes() == rows[:, :1024].tobytes() and images[:, 2].tobytes() == rows[:, 2048:].tobytes()
        )  # red first, row by row
        assert getattr(data, f"{split}_labels").tolist() == labels.tolist()
    reds = found["train"][0][:, :1024].astype(np.float64) / 255
    assert data.mean[0] == pytest.approx(reds.mean(), abs=1e-12) and data.std[0] == pytest.approx(reds.std(), abs=1e-12)
    assert data.classes[3] == "class 3" and (data.augment.crop, data.augment.flip, data.augment.cutout) == (4, True, 16)
    assert sorted(path.name for path in raw.iterdir()) == [cifar.ARCHIVES[name].file]  # nothing unpacked


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def out_of_range(layout, members):
    name = f"{layout.folder}/{layout.batches[0][1]}"
    content = pickle.loads(members[name], encoding="latin1")
    content[layout.labels][0] = 100
    return members | {name: pickled(content)}


def one_label_short(layout, members):
    name = f"{layout.folder}/{layout.batches[0][1]}"
    content = pickle.loads(members[name], encoding="latin1")
    content[layout.labels].pop()
    return members | {name: pickled(content)}


DAMAGES = {
    "missing batch": lambda layout, members: {k: v for k, v in members.items() if not k.endswith(layout.batches[-1][1])},
    "label out of range": out_of_range,
    "one label short": one_label_short,
    "pickle runs code": lambda layout, members: members | {f"{layout.folder}/{layout.batches[0][1]}": pickle.dumps(Evil())},
    "pickle cut": lambda layout, members: {k: v[: len(v) // 2] for k, v in members.items()},
    "member climbs out": lambda layout, members: members | {"../evil": b"x"},
    "member is absolute": lambda layout, members: members | {"/tmp/evil": b"x"},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_cifar_archive_is_refused_in_one_line_and_nothing_is_written(archive, tmp_path, monkeypatch, damage):
    name, raw, members, _, put = archive
    monkeypatch.chdir(tmp_path)
    put(DAMAGES[damage](cifar.ARCHIVES[name], members))
    with pytest.raises(ValueError, match=r"cifar|CIFAR") as error:
        main([name, "--raw", str(raw), "--out", "c.h5"])
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]  # no file, no half of one, and the code never ran


def test_a_link_in_an_archive_is_refused(archive, tmp_path):
    name, raw, members, _, put = archive
    link = tarfile.TarInfo(f"{cifar.ARCHIVES[name].folder}/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    put(members | {link: b""})
    with pytest.raises(ValueError, match="is a link"):
        main([name, "--raw", str(raw), "--out", str(tmp_path / "c.h5")])


@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_another_archive_is_refused_before_it_is_parsed(archive, tmp_path, damage):
    name, raw, *_ = archive
    path = raw / cifar.ARCHIVES[name].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "altered" else content[:-10])
    with pytest.raises(ValueError, match=r"MD5 [0-9a-f]{32}; expected"):
        main([name, "--raw", str(raw), "--out", str(tmp_path / "c.h5")])
    assert not (tmp_path / "c.h5").exists()


# ---------------------------------------------------------------------------------------------- ImageNet16-120


def write_imagenet16(folder, monkeypatch, num=40):
    """Labels from 1 to 1000, `num` a batch; returns the images and labels of the first 120 classes, in order."""
    checksums, kept = imagenet16_files(folder, np.resize([1, 60, 120, 121, 1000], num))
    monkeypatch.setattr(imagenet16, "MD5", checksums)
    monkeypatch.setattr(imagenet16, "NUM", {split: len(rows) for split, rows in kept.items()})
    return kept


def test_imagenet16_keeps_the_first_120_classes_in_order(tmp_path, monkeypatch):
    kept = write_imagenet16(tmp_path / "raw/ImageNet16", monkeypatch)
    main(["imagenet16_120", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "i.h5")])
    data = dataset.read(tmp_path / "i.h5")
    for split, rows in kept.items():
        assert getattr(data, f"{split}_images").tobytes() == b"".join(row.tobytes() for row, _ in rows)
        assert getattr(data, f"{split}_labels").tolist() == [label for _, label in rows]
    assert data.image_shape == (3, 16, 16) and len(data.classes) == 120
    reds = np.stack([row[:256] for row, _ in kept["train"]]) / 255
    assert data.mean[0] == pytest.approx(reds.mean(), abs=1e-12) and data.std[0] == pytest.approx(reds.std(), abs=1e-12)


def test_x_test_is_half_of_the_test_images(tmp_path, monkeypatch):
    kept = write_imagenet16(tmp_path / "raw", monkeypatch)["test"]
    split = tmp_path / "raw" / imagenet16.XTEST
    split.write_text(json.dumps({"xvalid": ["int", ["0"]], "xtest": ["int", ["5", "1", "3"]]}))
    monkeypatch.setattr(imagenet16, "XTEST_MD5", md5(split))
    main(["imagenet16_120_xtest", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "x.h5")])
    data = dataset.read(tmp_path / "x.h5")
    assert data.test_labels.tolist() == [kept[i][1] for i in (1, 3, 5)] and "NAS-Bench-201" in data.source


def test_imagenet16_that_is_not_there_is_one_line_that_says_where_to_put_it(tmp_path):
    with pytest.raises(
        ValueError, match=r"train_data_batch_1: not there, and it has no free address; get .* unpack them into .*/ImageNet16$"
    ):
        main(["imagenet16_120", "--raw", str(tmp_path), "--out", str(tmp_path / "i.h5")])


def test_a_missing_or_altered_batch_of_imagenet16_is_refused(tmp_path, monkeypatch):
    write_imagenet16(tmp_path / "raw", monkeypatch)
    path = tmp_path / "raw/train_data_batch_7"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="train_data_batch_7: MD5"):
        main(["imagenet16_120", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "i.h5")])
    path.unlink()
    with pytest.raises(ValueError, match="train_data_batch_7: not there"):
        main(["imagenet16_120", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "i.h5")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_too_few_images_of_imagenet16_are_refused(tmp_path, monkeypatch):
    kept = write_imagenet16(tmp_path / "raw", monkeypatch)
    monkeypatch.setattr(imagenet16, "NUM", {split: len(rows) + 1 for split, rows in kept.items()})
    with pytest.raises(ValueError, match="images of 120 classes; expected"):
        main(["imagenet16_120", "--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "i.h5")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


PREPARE = """
import json, re, sys
from pathlib import Path
from data_prep import imagenet16
from data_prep.__main__ import main
imagenet16.MD5, imagenet16.NUM = json.loads(sys.argv[1])
main(["imagenet16_120", "--raw", sys.argv[2], "--out", sys.argv[3]])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_batches(tmp_path, monkeypatch):
    """20,000 images a batch are 15 MB; ten of them, and their copies, would be more than 150."""
    write_imagenet16(tmp_path / "raw", monkeypatch, num=20_000)

    def peak(checksums):
        labels = {name: pickle.loads((tmp_path / "raw" / name).read_bytes(), encoding="latin1")["labels"] for name in checksums}
        num = {"train": 0, "test": 0}
        for name, found in labels.items():
            num["test" if name == "val_data" else "train"] += sum(label <= 120 for label in found)
        command = [sys.executable, "-c", PREPARE, json.dumps([checksums, num]), str(tmp_path / "raw"), str(tmp_path / "i.h5")]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]) / 1024

    all_batches = imagenet16.MD5
    few = {name: all_batches[name] for name in ("train_data_batch_1", "train_data_batch_2", "val_data")}
    assert peak(all_batches) - peak(few) < 10  # MiB


# ---------------------------------------------------------------------------------------------- variants


@pytest.mark.parametrize("word", ["digits", "digits-4px", "digits-rgb", "digits-n100", "digits-4px-rgb-n100"])
def test_a_variants_name_says_what_it_is(word):
    assert str(Variant.parse(word)) == word


@pytest.mark.parametrize("word", ["digit", "digits-", "digits-0px", "digits-px", "digits-n0", "digits-n5-4px", "../digits", "digits-4px/x"])
def test_another_name_is_refused(word):
    with pytest.raises(ValueError, match="data set"):
        Variant.parse(word)


def test_a_variant_is_smaller_coloured_and_stratified(tmp_path):
    main(["digits", "--out", str(tmp_path / "d.h5")])
    main(["digits-4px-rgb-n101", "--out", str(tmp_path / "v.h5")])
    whole, small = dataset.read(tmp_path / "d.h5"), dataset.read(tmp_path / "v.h5")
    assert small.train_images.shape == (101, 3, 4, 4) and small.test_images.shape == (len(whole.test_labels), 3, 4, 4)
    assert (small.test_images[:, 0] == small.test_images[:, 2]).all()
    by_hand = whole.test_images[:, 0].reshape(-1, 4, 2, 4, 2).mean((2, 4))
    assert abs(small.test_images[:, 0] - by_hand).max() <= 1  # the mean of four pixels, rounded in between
    counts = np.bincount(small.train_labels, minlength=10)
    assert counts.sum() == 101 and counts.min() >= 9 and counts.max() <= 11
    assert small.augment.crop == 0 and small.augment.cutout == 2  # of 1 and 4 pixels; half a pixel of border is none


@pytest.mark.parametrize("word", ["digits-n1438", "digits-n9", "fashion"])
def test_a_subset_that_cannot_be_had_is_one_line(tmp_path, word):
    with pytest.raises(ValueError, match=word):
        main([word, "--out", str(tmp_path / "v.h5")])
    assert not list(tmp_path.iterdir())
