"""What of a benchmark is done, running, failed and to do: said from what lies there, and nothing changed."""

import fcntl
import os

import pytest

from suite import status, store
from suite.tests.test_missing import DEFINITION, file_of, folder, log_of, parts  # noqa: F401  # a fixture


def said(capsys, *more):
    status.main(["parts.yaml", *more])
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def here(folder):  # noqa: F811
    (folder / "parts.yaml").write_text(DEFINITION)
    return folder


def test_all_done_is_said_in_a_line_and_by_network(here, capsys):
    first, *groups, last = said(capsys)
    assert first == "parts: 5 done, of 5 results"
    assert [" ".join(line.split()) for line in groups] == [
        "digits eg-bio search 1 of 1",
        "digits resnet20/fa train 1 of 1; evaluation 1 of 1",
        "digits eg-bio/searched train 1 of 1; evaluation 1 of 1",
    ]
    assert last.startswith("no report yet")


def test_what_runs_what_failed_and_what_waits_for_it(here, capsys):
    for stage, network in (
        ("search", ""),
        ("train", "resnet20"),
        ("evaluation", "resnet20"),
        ("train", "eg-bio"),
        ("evaluation", "eg-bio"),
    ):
        file_of(here, stage, network).unlink()
    log_of(here, "search").write_text("suite.run: no more memory\n")
    log_of(here, "train", "resnet20").write_text("epoch 2/8  loss 0.5\n")
    with (file_of(here, "train", "resnet20").parent / ".lock").open("w") as lock:
        lock.write("process 7 on there")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = said(capsys)
    assert lines[0] == "parts: 1 running, 1 failed, 3 to do, of 5 results"
    assert any("search 0 of 1, 1 failed" in line for line in lines)
    assert "running: process 7 on there; epoch 2/8  loss 0.5" in lines
    assert "failed: suite.run: no more memory" in lines
    assert f"  {log_of(here, 'search').relative_to(here)}" in lines


def test_a_damaged_file_counts_as_failed_and_an_early_end_is_named(here, capsys):
    file_of(here, "search").write_bytes(b"no HDF5")
    trained = store.read(file_of(here, "train", "resnet20"))
    store.write(file_of(here, "train", "resnet20"), store.Run(trained.stage, trained.id, {}, "diverged"))
    lines = said(capsys)
    assert lines[0] == "parts: 4 done, 1 failed, of 5 results"
    assert any(line.startswith("damaged: ") for line in lines)
    assert "1 done, but diverged" in lines


def test_a_report_is_said_to_be_old_once_a_result_is_newer(here, capsys):
    page = here / "results/parts/report.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    os.utime(page, (10**9, 10**9))
    assert said(capsys)[-1] == "report: results/parts/report.html, of before: results have come since"
    os.utime(page, (10**10, 10**10))
    assert said(capsys)[-1] == "report: results/parts/report.html"


def test_a_part_of_it(here, capsys):
    assert said(capsys, "--only", "network=resnet20")[0] == "parts-only: 2 done, of 2 results"


def test_a_benchmark_that_there_is_not_is_one_line(here):
    with pytest.raises(ValueError, match=r"demos\.yaml: no such definition; did you mean .*demo\.yaml"):
        status.main(["demos"])
