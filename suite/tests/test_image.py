"""Which image a run comes from: files by their checksum, addresses as they stand; another image's results are not one's own."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from suite import image, store
from suite.jobs.checkpoint import Checkpoint


def test_a_file_is_its_checksum_and_a_changed_one_another(tmp_path):
    file = tmp_path / "bionas.sif"
    for content in (b"one image", b"another image"):
        file.write_bytes(content)
        os.utime(file, ns=(len(content), len(content)))
        for _ in range(2):  # computed, and kept
            assert image.identity(str(file)) == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_checksum_that_was_kept_badly_is_computed_again(tmp_path):
    file = tmp_path / "bionas.sif"
    file.write_bytes(b"x")
    expected = image.checksum(file)
    (kept,) = tmp_path.glob(".bionas.sif.sha256")
    kept.write_text("[[1, 2]")
    assert image.checksum(file) == expected


def test_an_address_stands_for_itself_a_folder_for_its_path_and_nothing_for_nothing(tmp_path):
    for address in ("docker://ghcr.io/x/y@sha256:00", "docker-daemon:x:1"):
        assert image.identity(address) == address
    assert image.identity(str(tmp_path)) == str(tmp_path.resolve())
    with pytest.raises(ValueError, match=r"image: .*no\.sif: no such file; allowed: an image file, or an address"):
        image.identity(str(tmp_path / "no.sif"))


def test_the_image_is_the_one_asked_for_else_the_one_in_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert image.wanted("mine.sif", True, tmp_path) == "mine.sif"
    with pytest.raises(ValueError, match=r"no bionas\.sif .* make it there with: apptainer build bionas\.sif docker/bionas\.def"):
        image.wanted("", True, tmp_path)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "bionas.sif").write_bytes(b"x")
    assert image.wanted("", True, checkout) == str(checkout / "bionas.sif")
    assert image.wanted("mine.sif", True, checkout) == "mine.sif"
    monkeypatch.setattr(image, "PUBLISHED", "docker://ghcr.io/x/y@sha256:00")
    assert image.wanted("", True, tmp_path) == "docker://ghcr.io/x/y@sha256:00"


def test_an_image_that_would_not_be_used_is_a_mistake_and_none_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"image: mine\.sif would not be used; add --use-singularity"):
        image.wanted("mine.sif", False, tmp_path)
    assert image.wanted("", False, tmp_path) == ""


def test_provenance_names_the_image_and_its_files_checksum(tmp_path, monkeypatch):
    for name in (image.CHOSEN, *image.INSIDE):
        monkeypatch.delenv(name, raising=False)
    assert image.provenance() == {"image": "none", "image_digest": "none"}
    file = tmp_path / "bionas.sif"
    file.write_bytes(b"x")
    monkeypatch.setenv("SINGULARITY_CONTAINER", str(file))
    assert image.provenance() == {"image": str(file), "image_digest": f"sha256:{hashlib.sha256(b'x').hexdigest()}"}
    monkeypatch.setenv(image.CHOSEN, "docker://ghcr.io/x/y")
    assert image.provenance()["image"] == "docker://ghcr.io/x/y"


def test_what_another_image_made_is_neither_finished_nor_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv(image.CHOSEN, "sha256:a")
    params = {"seed": 1}

    def checkpoint():
        return Checkpoint(tmp_path / "train.h5", "x", params, 0, lambda: False)

    store.write(tmp_path / "run.h5", store.Run(stage="train", id="x", params=params, provenance={"image": "sha256:a"}))
    checkpoint().save({"epoch": 3})
    assert store.finished(tmp_path / "run.h5", params)
    assert checkpoint().load() == {"epoch": 3}
    monkeypatch.setenv(image.CHOSEN, "sha256:b")
    assert not store.finished(tmp_path / "run.h5", params)
    assert checkpoint().load() is None
    monkeypatch.delenv(image.CHOSEN)  # by hand, outside of any image: what is there is there
    assert store.finished(tmp_path / "run.h5", params)


def test_whoever_builds_the_image_has_what_its_script_reads():
    docker = Path(__file__).parents[2] / "docker"
    script, written = (docker / "install.sh").read_text(), {"all.txt", "most.txt", "biotorch.txt"}
    read = set(re.findall(r"/build/([\w.]+)", script)) - written
    assert read == {"pyproject.toml", "constraints.txt", "plugins.txt"}
    shown = {line[1:].rpartition("/")[2] for line in (docker.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in read:
        assert name in shown and f"/build/{name}" in (docker / "bionas.def").read_text()
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b.* /build/$", (docker / "Dockerfile").read_text(), re.MULTILINE)
