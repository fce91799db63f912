"""What a running workflow says: a line a job, and on a terminal a bar of the whole with the jobs that run now. Imports no torch.

A handler of Python's logging, which reads the events that Snakemake documents for its loggers. It stands in for Snakemake's own on the
console; `.snakemake/log/` has Snakemake's own words, and so has the console with `--verbose`, `-p`, `--quiet` or a `--logger`.
"""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from suite import store
from suite.jobfile import RUNS
from suite.missing import last_line
from suite.plan import Plan
from suite.shell import called

WIDEST = 200  # characters of a line
SHOWN = 8  # jobs under way
OWN = "DefaultStreamHandler"  # the name that Snakemake gives its handler
COMMANDS = {"search": "search", "train": "train", "evaluation": "evaluate"}
# What Snakemake says beside its events that tells a user nothing, or that is said here in other words.
IDLE = re.compile(
    "Building DAG|Using shell|Provided |Rules claiming|Select jobs|Group jobs: inactive|Singularity containers: ignored|Activating "
    "|Shutting down|Exiting because a job|Elapsed time|Assuming unrestricted|Workflow has started|WorkflowError:\nAt least one job"
)
ENDED = re.compile("CalledProcessError in file|Command .* (returned non-zero exit status|died with)", re.DOTALL)
STOPPED = re.compile(r"stopped on request|^KeyboardInterrupt|^Terminated")
AT_EPOCH = re.compile(r"^epoch +(\d+/\d+) .*?train +([\d.]+) %(?:.*?val +([\d.]+) %)?")


@dataclass(frozen=True)
class Job:
    """A job of Snakemake's, from when it was started."""

    rule: str
    what: str
    output: str
    log: Path | None
    started: float

    @property
    def took(self) -> str:
        return duration(time.monotonic() - self.started)

    @property
    def said(self) -> str:
        """The telling line of its log, if it has said anything: Snakemake takes away what an earlier try said."""
        return last_line(self.log) if self.log else ""

    @property
    def now(self) -> str:
        """How far it is."""
        said = " ".join(self.said.split())
        if found := AT_EPOCH.match(said):
            epoch, train, val = found.groups()
            return f"epoch {epoch}  train {train} %" + (f"  val {val} %" if val else "")
        return said or "starting"


class Console(logging.Handler):
    """Turns Snakemake's events into lines on `stream`."""

    def __init__(self, plans: Mapping[str, Plan], stream: Any) -> None:
        super().__init__()
        self.plans, self.stream = plans, stream
        self.stopped = self.failed = False
        self.total, self.left = 0, Counter[str]()
        self.jobs: dict[int, Job] = {}  # under way, by Snakemake's number
        self.started = time.monotonic()
        self.terminal = Terminal(file=stream, highlight=False, markup=False, soft_wrap=True)
        self.live: Live | None = None
        self.runs = {
            str(RUNS / where): (stage, planned.run(path)) for planned in self.plans.values() for where, path, stage in planned.results()
        }
        columns = list(zip(*(_columns(run) for _, run in self.runs.values()), strict=True))
        self.widths = [max(map(len, column)) for column in columns]

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self._lines(record):
                self.terminal.print(Text(shortened(line), style="red" if line.startswith("FAILED") else ""))
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Take the bar away; what is printed later stands below the lines."""
        if self.live:
            self.live.stop()
            self.live = None
        super().close()

    def _lines(self, record: logging.LogRecord) -> Iterator[str]:
        event, about = str(getattr(record, "event", None) or ""), record.__dict__
        if event == "run_info":
            yield from self._begin(about["stats"])
        elif event == "job_info":
            self.jobs[about["jobid"]] = self._job(about)
        elif event == "job_finished":
            yield from self._finished(about["job_id"])
        elif event == "job_error":
            yield from self._error(about["jobid"])
        elif event == "error" or not event:
            yield from self._other(record, about.get("exception"))

    def _begin(self, stats: Mapping[str, int]) -> Iterator[str]:
        self.left = Counter({rule: number for rule, number in stats.items() if rule not in ("all", "total")})
        self.total = self.left.total()
        yield f"{', '.join(self.plans)}: {self.total} jobs, {_counted(self.left)}; logs in logs/"
        if self.stream.isatty() and not self.terminal.is_dumb_terminal:
            self.live = Live(console=self.terminal, get_renderable=self._view, refresh_per_second=2, transient=True)
            self.live.start()

    def _job(self, about: Mapping[str, Any]) -> Job:
        log = Path(about["log"][0]) if about["log"] else None
        output = next(iter(about["output"]), "")
        return Job(
            rule=about["rule_name"],
            what=self._what(output) or " ".join(map(str, about["wildcards"].values())),
            output=output,
            log=log,
            started=time.monotonic(),
        )

    def _what(self, output: str) -> str:
        if output not in self.runs:
            return ""
        return "  ".join(f"{word:{width}s}" for word, width in zip(_columns(self.runs[output][1]), self.widths, strict=True))

    def _finished(self, number: int) -> Iterator[str]:
        job = self.jobs.pop(number, None)
        if job and job.rule != "all":
            self.left[job.rule] -= 1
            done = f"[{self.total - self.left.total():{len(str(self.total))}d}/{self.total}]"
            came_out = result(job.output) if job.output in self.runs else job.output
            yield f"{done} {job.rule:8s}  {job.what}  {came_out:28s}  {job.took}"

    def _error(self, number: int) -> Iterator[str]:
        job = self.jobs.pop(number, None)
        if job is None:
            return
        if self.stopped or STOPPED.search(job.said):
            yield from self._stop()
            return
        self.failed = True
        failed, why = f"FAILED  {job.rule}  {' '.join(job.what.split())}  {job.took}:", job.said or "nothing in its log says why"
        yield from [f"{failed} {why}"] if len(f"{failed} {why}") <= WIDEST else [failed, f"  {why}"]
        if job.log and job.log.is_file():
            yield f"  log: {job.log}"
        if job.output in self.runs:
            command = f"  by hand: {called('python')} -m suite.run {COMMANDS[self.runs[job.output][0]]} "
            file = str(Path(job.output).with_suffix(".json"))
            yield from [command + file] if len(command + file) <= WIDEST else [command + "\\", f"    {file}"]

    def _stop(self) -> Iterator[str]:
        if not self.stopped:
            self.stopped = True
            yield "stopped on request; what was finished stays, what ran goes on where it was: by the same command"

    def _other(self, record: logging.LogRecord, exception: str | None) -> Iterator[str]:
        text = record.getMessage().strip()
        if exception == "KeyboardInterrupt" or text.startswith("Terminating processes on user request"):
            yield from self._stop()
        elif text.startswith("Complete log(s)"):
            yield from [text] if self.failed else []
        elif not (IDLE.match(text) or (exception and ENDED.search(text)) or text == "None"):
            yield from text.splitlines()
        if text.startswith("Nothing to be done"):
            yield from verdicts(self.plans)

    def _view(self) -> RenderableType:
        """The bar, and above it what runs now."""
        running = [job for job in list(self.jobs.values()) if job.rule != "all"]
        rows = [f"{job.rule:8s}  {job.what}  {job.now}  {job.took}" for job in running[:SHOWN]]
        rows += [f"and {len(running) - SHOWN} more"] if len(running) > SHOWN else []
        done = self.total - self.left.total()
        bar = Table.grid(padding=(0, 1))
        took = duration(time.monotonic() - self.started)
        said = f"{done} of {self.total} jobs  {took}  left: {_counted(self.left)}"
        bar.add_row(ProgressBar(self.total, done, width=24), Text(said, no_wrap=True, overflow="ellipsis"))
        return Group(*(Text(row, style="dim", no_wrap=True, overflow="ellipsis") for row in rows), bar)


def stand_in(settings: Any, plans: Mapping[str, Plan]) -> Console | None:
    """Take the place of Snakemake's own console; of none that the user chose. `settings` are Snakemake's of its output."""
    logger = logging.getLogger("snakemake.logging")
    own = next((handler for handler in logger.handlers if handler.name == OWN), None)
    if own is None or settings.dryrun or settings.verbose or settings.debug_dag or settings.printshellcmds or settings.quiet:
        return None
    console = Console(plans, getattr(own, "stream", sys.stderr))
    logger.removeHandler(own)
    logger.addHandler(console)
    return console


def verdicts(plans: Mapping[str, Plan]) -> Iterator[str]:
    """Yield a line for each benchmark: how its bounds came out, and where its report is."""
    for name in plans:
        folder = Path("results") / name
        if (checked := folder / "check.txt").is_file():
            yield f"{name}: {_verdict(checked)}; report: {folder / 'report.html'}"


def missed(plans: Mapping[str, Plan], since: float) -> Iterator[str]:
    """Yield what a check that failed `since` then (seconds since 1970) found: the bounds that were missed, and the report."""
    for name in plans:
        log = Path("logs") / name / "check.log"
        if not (Path("results") / name / "check.txt").exists() and log.is_file() and log.stat().st_mtime >= since:
            yield from (shortened(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("MISSED"))
            yield f"{name}: {_verdict(log)}; report: {Path('results') / name / 'report.html'}"


def _verdict(file: Path) -> str:
    """Return the last line of what `suite.check` said, without the file's name."""
    return (file.read_text(errors="replace").splitlines() or [""])[-1].partition(": ")[2]


def result(file: str) -> str:
    """Return what came out of a run, in a few words."""
    try:
        with store.opened(Path(file)) as content:
            run = store.read_group(content, brief=True)
    except ValueError as error:
        return str(error)
    found = run.metrics
    if run.status != "ok":
        return run.status
    if "test_error" in found:
        return f"test error {found['test_error']:.2f} %"
    if worst := [value for name, value in found.items() if name.startswith("worst_case_")]:
        return f"clean {found['clean_accuracy']:.1f} %, at worst {min(worst):.1f} %"
    return f"validation accuracy {found['val_accuracy']:.2f} %" if "val_accuracy" in found else "done"


def duration(seconds: float) -> str:
    """Write seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def shortened(line: str) -> str:
    """Return a line that is not too long: its middle is left out, since paths and numbers end it."""
    line = line.rstrip()
    if len(line) <= WIDEST:
        return line
    return f"{line[: WIDEST // 2]}…{line[len(line) - WIDEST // 2 + 1 :]}"


def wrapped(text: str) -> str:
    """Return a text in lines that are not too long."""
    return "\n".join(textwrap.wrap(text, WIDEST, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _columns(run: Any) -> tuple[str, ...]:
    """Data set, network, rules, seed and the hash of all its parameters."""
    network, _, rules = run.name.rpartition("/")
    return run.dataset, network or rules, rules if network else "", f"seed {run.seed}", run.id.rpartition("-")[2]


def _counted(rules: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {rule}" for rule, number in rules.items() if number > 0) or "nothing"
