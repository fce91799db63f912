"""Honest timings: contenders take turns within one run, and what is reported is a ratio of medians with its interval."""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch

from suite.jobs.machine import keep_memory

THREADS = 2
ROWS: list[Row] = []


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio of medians, its 95 % interval, and the bar that it is held against."""

    what: str
    ratio: float
    low: float
    high: float
    bar: float | None
    detail: str

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        if self.low <= self.bar < self.high:
            return "not distinguished"
        return "kept" if self.high <= self.bar else "MISSED"


@pytest.fixture
def compare(benchmark):
    """Time contenders in turn, and set the first against the second: `compare(what, {"ours": …, "peer": …}, rounds, bar)`."""

    def run(what: str, contenders: Mapping[str, Callable[[], object]], rounds: int = 15, bar: float | None = None) -> Row:
        torch.set_num_threads(THREADS)
        keep_memory()  # as jobs do, for all contenders
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        for work in contenders.values():
            work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

        def one_round() -> None:
            order = list(contenders)
            if len(samples[order[0]]) % 2:
                order.reverse()
            for name in order:
                started = time.perf_counter()
                contenders[name]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                samples[name].append(time.perf_counter() - started)

        benchmark.pedantic(one_round, rounds=rounds, iterations=1)
        ours, theirs = list(samples.values())[:2]
        medians = {name: statistics.median(times) for name, times in samples.items()}
        low, high = interval(ours, theirs)
        detail = ", ".join(f"{name} {1000 * median:.1f} ms" for name, median in medians.items())
        row = Row(what, statistics.median(ours) / statistics.median(theirs), low, high, bar, detail)
        benchmark.extra_info.update({**vars(row), "verdict": row.verdict, "samples": samples})
        ROWS.append(row)
        return row

    return run


def interval(ours: list[float], theirs: list[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the ratio of medians. Rounds are drawn, so that what disturbed both stays paired."""
    stream, rounds = random.Random(0), range(len(ours))
    ratios = []
    for _ in range(draws):
        drawn = stream.choices(rounds, k=len(ours))
        ratios.append(statistics.median(ours[i] for i in drawn) / statistics.median(theirs[i] for i in drawn))
    ratios.sort()
    return ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    terminalreporter.section("ratios of medians, contenders in turn")
    for row in ROWS:
        bar = "" if row.bar is None else f"bar {row.bar:.3g}"
        line = f"{row.what:66s} {row.ratio:6.3f} [{row.low:.3f}, {row.high:.3f}]  {bar:9s} {row.verdict:17s} {row.detail}"
        terminalreporter.write_line(line)


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info |= {"node": "", "release": ""}  # what kind of machine, not whose
    machine_info |= {"torch": torch.__version__, "threads": THREADS, "system": platform.system()}
    machine_info["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def pytest_benchmark_update_json(config, benchmarks, output_json):
    output_json["rows"] = [{**vars(row), "verdict": row.verdict} for row in ROWS]
