"""What a workflow says, from Snakemake's events: made up here, in the form that it documents. The real ones are in test_workflow."""

import io
import logging
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console as Terminal

from suite import console, store
from suite.console import Console
from suite.plan import load

RULES = {"search": "search", "train": "train", "evaluation": "evaluate"}


class Screen(io.StringIO):
    def isatty(self):
        return True


def send(shown, event, text=None, **about):
    record = logging.LogRecord("snakemake.logging", logging.INFO, __file__, 1, text, (), None)
    record.__dict__ |= {"event": event, **about}
    shown.handle(record)


def begin(shown, number, rule, output, log=""):
    send(shown, "job_info", jobid=number, rule_name=rule, output=[output], log=[log] if log else [], wildcards={"benchmark": "demo"})


@pytest.fixture
def demo():
    return load("benchmarks/demo.yaml")


@pytest.fixture
def shown(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Console({"demo": demo}, io.StringIO())


def lines_of(shown):
    return shown.stream.getvalue().splitlines()


def test_the_whole_demo_takes_150_lines_of_200_characters(shown, demo):
    jobs = [(RULES[stage], f"results/runs/{where}") for where, _, stage in demo.files()]
    jobs += [(rule, f"results/demo/{rule}") for rule in ("dataset", "collect", "render", "check", "all")]
    send(shown, None, "Building DAG of jobs...")
    send(shown, "run_info", "Job stats: a table", stats={**Counter(rule for rule, _ in jobs), "total": 89})
    for number, (rule, output) in enumerate(jobs):
        send(shown, None, "Select jobs to execute...")
        send(shown, "job_started", "Execute 1 jobs...", jobs=[number])
        begin(shown, number, rule, output, f"logs/{output}.log")
        send(shown, "shellcmd", f"Shell command: {'x' * 4000}")
        send(shown, "job_finished", f"Finished jobid: {number}", job_id=number)
        send(shown, "progress", done=number + 1, total=89)
    lines = lines_of(shown)
    assert len(lines) == 1 + 84 + 4 and max(map(len, lines)) <= 200  # `all` makes nothing
    assert lines[1].startswith("[ 1/88] ") and lines[-1].startswith("[88/88] ")
    assert len(set(line.partition("]")[2] for line in lines[1:])) == 88  # each is another one, by its hash


def test_a_failing_job_has_its_cause_its_log_and_its_command(shown, demo):
    where, _, _ = next(file for file in demo.files() if file[2] == "train")
    log = Path("logs") / Path(where).with_suffix(".log")
    log.parent.mkdir(parents=True)
    log.write_text("Traceback (most recent call last):\n  File x\nRuntimeError: can't allocate memory\n")
    begin(shown, 5, "train", f"results/runs/{where}", str(log))
    send(shown, "error", 'RuleException:\nCalledProcessError in file "Snakefile", line 9:\nCommand …', exception="RuleException")
    send(shown, "job_error", "Error in rule train", jobid=5)
    send(shown, None, "Exiting because a job execution failed. Look below for error messages")
    send(shown, "error", "WorkflowError:\nAt least one job did not complete successfully.", exception="WorkflowError")
    failed, at, by_hand = lines_of(shown)
    assert re.fullmatch(r"FAILED  train  digits resnet20 bp seed 0 [0-9a-f]{8}  0:00: RuntimeError: can't allocate memory", failed)
    assert at == f"  log: {log}"
    assert by_hand == f"  by hand: python -m suite.run train results/runs/{Path(where).with_suffix('.json')}"


def test_a_long_cause_has_a_line_of_its_own(shown, demo):
    where = next(where for where, _, stage in demo.files() if stage == "train")
    Path("train.log").write_text(f"suite.run: {'x' * 180} end\n")
    begin(shown, 5, "train", f"results/runs/{where}", "train.log")
    send(shown, "job_error", "Error in rule train", jobid=5)
    first, cause, *_ = lines_of(shown)
    assert first.endswith("0:00:") and cause == f"  suite.run: {'x' * 180} end"


def test_a_command_too_long_for_a_line_is_two_that_can_be_pasted(demo, shown):
    where = next(where for where, _, stage in demo.files() if stage == "evaluation")
    shown.runs["results/" + "x" * 180 + ".h5"] = shown.runs[f"results/runs/{where}"]
    begin(shown, 5, "evaluate", "results/" + "x" * 180 + ".h5")
    send(shown, "job_error", "Error in rule evaluate", jobid=5)
    _, first, second = lines_of(shown)
    assert first == "  by hand: python -m suite.run evaluate \\" and second.split() == ["results/" + "x" * 180 + ".json"]


@pytest.mark.parametrize("last", ["x: stopped on request; run the same command again to go on", "KeyboardInterrupt"])
def test_who_stops_is_told_so_once_whoever_ends_first(shown, demo, last):
    where, _, _ = next(file for file in demo.files() if file[2] == "train")
    Path("train.log").write_text(f"epoch 1/8\n{last}\n")
    begin(shown, 5, "train", f"results/runs/{where}", "train.log")
    send(shown, "job_error", "Error in rule train", jobid=5)
    send(shown, None, "Terminating processes on user request, this might take some time.")
    send(shown, "error", "Cancelling snakemake on user request.", exception="KeyboardInterrupt")
    (line,) = lines_of(shown)
    assert line.startswith("stopped on request; ")


def test_what_nobody_foresaw_is_said_with_its_middle_cut(shown):
    send(shown, None, "Pulling singularity image docker://bionas.")
    send(shown, "error", f"MissingOutputException: {'x' * 500} last", exception="MissingOutputException")
    first, second = lines_of(shown)
    assert first == "Pulling singularity image docker://bionas."
    assert len(second) == 200 and second.startswith("MissingOutputException") and second.endswith(" last")


def test_a_terminal_shows_what_runs_how_far_it_is_and_what_is_left(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    shown = Console({"demo": demo}, Screen())
    searching, *_, (training, _, _) = [file for file in demo.files() if file[2] in ("search", "train")]
    Path("search.log").write_text("epoch    3/8  lr 0.10000  loss   1.0000  train  45.20 %  val  50.10 %  α span 0.1000     1.00 s\n")
    Path("train.log").write_text("")
    send(shown, "run_info", "Job stats", stats={"search": 1, "train": 2, "total": 3})
    try:
        begin(shown, 1, "search", f"results/runs/{searching[0]}", "search.log")
        begin(shown, 2, "train", f"results/runs/{training}", "train.log")
        begin(shown, 3, "train", f"results/runs/{training}", "none.log")
        send(shown, "job_finished", "Finished jobid: 3", job_id=3)
        paper = Terminal(file=io.StringIO(), width=160)
        paper.print(shown._view())
    finally:
        shown.close()
    rows = [" ".join(row.split()) for row in paper.file.getvalue().splitlines()]
    assert re.search(r"search digits darts-bio seed 0 \w{8} epoch 3/8 train 45\.20 % val 50\.10 % 0:00", rows[0])
    assert re.search(r"train digits \S+ \w+ seed \d \w{8} starting 0:00", rows[1])
    assert "1 of 3 jobs 0:00 left: 1 search, 1 train" in rows[2]


@pytest.mark.parametrize(
    ("stage", "status", "metrics", "words"),
    [
        ("search", "ok", {"val_accuracy": 80.123}, "validation accuracy 80.12 %"),
        ("train", "ok", {"test_error": 3.299, "val_accuracy": 97.0}, "test error 3.30 %"),
        ("train", "ok", {"val_accuracy": 97.0}, "validation accuracy 97.00 %"),
        ("train", "diverged", {"train_loss": 9.0}, "diverged"),
        (
            "evaluation",
            "ok",
            {"clean_accuracy": 88.0, "worst_case_accuracy_linf_0.03": 40.0, "worst_case_accuracy_linf_0.35": 12.0},
            "clean 88.0 %, at worst 12.0 %",
        ),
        ("evaluation", "ok", {"images": 5}, "done"),
    ],
)
def test_what_came_out_in_a_few_words(tmp_path, stage, status, metrics, words):
    store.write(tmp_path / "run.h5", store.Run(stage, "a/b", {}, status, metrics))
    assert console.result(str(tmp_path / "run.h5")) == words


@pytest.mark.parametrize("name", ["dryrun", "verbose", "debug_dag", "printshellcmds", "quiet"])
def test_who_asks_for_snakemakes_own_words_gets_them(demo, name):
    settings = dict.fromkeys(["dryrun", "verbose", "debug_dag", "printshellcmds", "quiet"], False)
    logger, own = logging.getLogger("snakemake.logging"), logging.StreamHandler(io.StringIO())
    own.name = console.OWN
    logger.addHandler(own)
    try:
        assert console.stand_in(SimpleNamespace(**{**settings, name: True}), {"demo": demo}) is None and own in logger.handlers
        ours = console.stand_in(SimpleNamespace(**settings), {"demo": demo})
        assert ours in logger.handlers and own not in logger.handlers and ours.stream is own.stream
        assert (
            console.stand_in(SimpleNamespace(**settings), {"demo": demo}) is None
        )  # now it is not Snakemake's: somebody else's is left alone
        logger.removeHandler(ours)
    finally:
        logger.removeHandler(own)


@pytest.mark.parametrize(("seconds", "written"), [(0.4, "0:00"), (59.7, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_durations(seconds, written):
    assert console.duration(seconds) == written
