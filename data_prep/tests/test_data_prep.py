"""Raw files are believed only when their checksum says so, and what is written is whole or not there."""

import functools
import gzip
import hashlib
import http.server
import struct
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from bionas import catalog, dataset, plugins
from data_prep import DATASETS, SIZES, digits, fashion_mnist, files, variant
from data_prep.__main__ import main

NAMES = list(fashion_mnist.MD5)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small Fashion-MNIST in exactly the official layout; only this test tells the loader its checksums."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name in NAMES:
        n = 40 if name.startswith("train") else 20
        arrays[name] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) if "images" in name else (np.arange(n) % 10).astype(np.uint8)
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, array in arrays.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    monkeypatch.setattr(fashion_mnist, "MD5", {name: hashlib.md5(idx(array)).hexdigest() for name, array in arrays.items()})
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "no-debian")
    monkeypatch.setattr(fashion_mnist, "ADDRESS", "http://127.0.0.1:9")  # nobody listens
    return raw, arrays


def test_fashion_mnist_comes_out_as_it_went_in(official, tmp_path):
    raw, arrays = official
    main(["fashion_mnist", "--raw", str(raw), "--out", str(tmp_path / "f.h5")])
    data = dataset.read(tmp_path / "f.h5")
    assert np.array_equal(data.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert data.image_shape == (1, 28, 28) and len(data.classes) == 10 and data.augment.flip
    assert data.checksum == "md5:" + ",".join(fashion_mnist.MD5.values())


def test_an_unpacked_file_will_do(official, tmp_path):
    raw, _ = official
    packed = raw / f"{NAMES[0]}.gz"
    (raw / NAMES[0]).write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    main(["fashion_mnist", "--raw", str(raw), "--out", str(tmp_path / "f.h5")])


def altered(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def no_gzip(path):
    path.write_bytes(b"<html>404</html>")


def bomb(path):
    path.write_bytes(gzip.compress(bytes(fashion_mnist.LIMIT + 1)))


@pytest.mark.parametrize("damage", [altered, truncated, no_gzip, bomb, lambda path: path.unlink()])
def test_a_damaged_or_missing_file_is_refused_in_one_line_and_nothing_is_written(official, tmp_path, damage):
    raw, _ = official
    damage(raw / f"{NAMES[1]}.gz")
    with pytest.raises(ValueError, match=NAMES[1]) as error:
        main(["fashion_mnist", "--raw", str(raw), "--out", str(tmp_path / "f.h5")])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "f.h5").exists()


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files, and their rests where asked; breaks off in the middle while `cut` is set."""

    cut = False
    asked: list[str | None] = []

    def log_message(self, *args):
        pass

    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if first > len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        rest = content[first:]
        self.wfile.write(rest[: len(rest) // 2] if self.cut else rest)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()


def test_what_is_missing_is_downloaded(official, server, tmp_path, monkeypatch):
    raw, _ = official
    address, folder = server
    monkeypatch.setattr(fashion_mnist, "ADDRESS", address)
    (raw / f"{NAMES[2]}.gz").rename(folder / f"{NAMES[2]}.gz")
    main(["fashion_mnist", "--raw", str(raw), "--out", str(tmp_path / "f.h5")])
    assert (raw / f"{NAMES[2]}.gz").exists() and (tmp_path / "f.h5").exists()


def test_a_broken_download_leaves_nothing_under_the_name_and_goes_on_later(server, tmp_path, monkeypatch):
    address, folder = server
    content = bytes(range(256)) * 1000
    (folder / "file.gz").write_bytes(content)
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setattr(Server, "cut", True)
    with pytest.raises(ValueError, match=r"the next try goes on from there.*put the file there"):
        files.download(f"{address}/file.gz", tmp_path / "file.gz")
    assert not (tmp_path / "file.gz").exists()
    monkeypatch.setattr(Server, "cut", False)
    files.download(f"{address}/file.gz", tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == content
    assert Server.asked == [None, "bytes=128000-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_rest_of_another_file_is_not_gone_on_from(server, tmp_path):
    address, folder = server
    (folder / "file.gz").write_bytes(b"short")
    (tmp_path / "file.gz.part").write_bytes(b"much longer than that")
    files.download(f"{address}/file.gz", tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == b"short"


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist_is_whole(tmp_path):
    out = tmp_path / "f.h5"
    main(["fashion_mnist", "--raw", str(tmp_path), "--out", str(out)])
    with h5py.File(out) as file:
        assert file["train/images"].shape == (60_000, 1, 28, 28) and file["test/images"].shape == (10_000, 1, 28, 28)
        assert np.bincount(file["train/labels"][:]).tolist() == [6_000] * 10
        assert np.bincount(file["test/labels"][:]).tolist() == [1_000] * 10
        assert all(md5 in file.attrs["checksum"] for md5 in fashion_mnist.MD5.values())
        np.testing.assert_allclose([*file.attrs["mean"], *file.attrs["std"]], [0.2860, 0.3530], atol=1e-4)  # as published everywhere


def test_digits_are_scikit_learns_with_a_fixed_stratified_split(tmp_path):
    from sklearn.datasets import load_digits

    main(["digits", "--out", str(tmp_path / "d.h5")])
    data = dataset.read(tmp_path / "d.h5")
    assert len(data.train_labels) + len(data.test_labels) == 1797
    share = np.bincount(data.test_labels) / np.bincount(load_digits().target)
    assert (abs(share - 0.2) < 0.005).all()
    original = {(image * 16 - image).astype(np.uint8).tobytes() for image in load_digits().images}  # ×15, an injection into bytes
    images = np.concatenate([data.train_images, data.test_images])[:, 0]
    assert {np.round(image / (255 / 16) * 15).astype(np.uint8).tobytes() for image in images} == original
    assert not data.augment.flip


def test_changed_digits_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256"):
        main(["digits", "--out", str(tmp_path / "d.h5")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_of_the_table_can_be_loaded_by_name(name):
    assert callable(catalog.load(DATASETS[name]))


def test_command_line_refuses_an_unknown_name_in_one_line():
    done = subprocess.run([sys.executable, "-m", "data_prep", "digit"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "did you mean 'digits'" in done.stderr


def test_there_are_1797_digits():
    assert SIZES["digits"].train + SIZES["digits"].test == 1_797


@pytest.mark.parametrize("name", ["digits", *(name for name in DATASETS if plugins.package("datasets", name))])
def test_what_is_not_downloaded_is_planned_as_it_is(name, tmp_path):
    content = catalog.load(DATASETS[name])(tmp_path)
    size = SIZES[name]
    assert (len(content.train_images), len(content.test_images)) == (size.train, size.test)
    assert content.train_images.shape[1:] == (size.channels, size.side, size.side) and len(content.classes) == size.classes


def test_images_are_enlarged_bilinearly():
    # two pixels to four: each new one lies a quarter of an old one from the nearest old centre
    grey = np.array([[0, 100], [0, 100]], dtype=np.uint8)[None, None]
    assert variant._resized(grey, 4)[0, 0].tolist() == [[0, 25, 75, 100]] * 4
