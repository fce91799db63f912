"""Why a job failed on Slurm: made-up logs, with Slurm's own words."""

import os

import pytest

from suite.slurm import failures

INNER = "Error in rule train:\n    jobid: 0\n    (command exited with non-zero exit code)\n"
MEMORY = """slurmstepd-node1: error: *** JOB 88 ON node1 CANCELLED AT 2026-11-24T20:37:06 ***
slurmstepd-node1: error: StepId=88.batch exceeded memory limit (165953536 > 157286400), being killed
slurmstepd-node1: error: Exceeded job memory limit
"""
TIME = "slurmstepd-node2: error: *** JOB 7 ON node2 CANCELLED AT 2026-11-24T20:41:06 DUE TO TIME LIMIT ***\n"
CGROUP = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed.\n"


@pytest.fixture
def log(tmp_path):
    def write(id, text, job="rule_train/digits_resnet20_fa_seed0", when=1000.0):
        path = tmp_path / job / f"{id}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (when, when))
        return path

    return write


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (INNER + MEMORY, "StepId=88.batch exceeded memory limit (165953536 > 157286400), being killed"),
        (TIME + INNER, "JOB 7 ON node2 CANCELLED AT 2026-11-24T20:41:06 DUE TO TIME LIMIT"),
        (CGROUP, "Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed."),
        ("suite.run: data/digits.h5: no such file\n" + INNER, "suite.run: data/digits.h5: no such file"),
    ],
)
def test_a_failure_is_one_line_with_its_reason_and_its_log(log, tmp_path, text, reason):
    path = log(88, text)
    assert list(failures(tmp_path, since=999)) == [f"rule_train/digits_resnet20_fa_seed0: {reason}; {path}"]


def test_a_group_of_jobs_has_its_logs_one_folder_up(log, tmp_path):
    kept, missed = "kept    trial/b  test_error 2 ≤ 5", "MISSED  trial/a  test_error 7.97 ≤ 6"
    path = log(86, f"{kept}\n{missed}\nresults/demo/metrics.h5: 1 of 2 bounds kept\n{INNER}", job="group_report_check_collect_render")
    assert list(failures(tmp_path, since=999)) == [f"group_report_check_collect_render: {missed}; {path}"]


def test_a_missing_result_is_a_reason(log, tmp_path):
    missing = "MISSING  trial/a  train: not run yet"
    path = log(86, f"{missing}\nresults/demo/metrics.h5: no bounds to keep; 1 results missing\n{INNER}")
    assert list(failures(tmp_path, since=999)) == [f"rule_train/digits_resnet20_fa_seed0: {missing}; {path}"]


def test_the_last_try_counts(log, tmp_path):
    log(9, MEMORY)
    log(10, "digits/resnet20: test error 3.30 %; wrote train.h5\n")
    assert list(failures(tmp_path, since=0)) == []


def test_what_failed_in_an_earlier_run_is_not_told_again(log, tmp_path):
    log(9, MEMORY, when=500.0)
    assert list(failures(tmp_path, since=999)) == []


def test_without_logs_there_is_nothing_to_tell(tmp_path):
    assert list(failures(tmp_path / "nowhere", since=0)) == []
