"""A tiny workflow that tells what it is at, for tests and the soak: started, listened to, killed, and looked at when it is over."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from suite import store

ROOT = Path(__file__).parents[2]
STAGES = ("dataset", "search", "train", "evaluate", "collect", "render", "parts", "check")
DEFINITION = """
name: soak
about: the shortest way through every stage, exploration, attacks and analyses among them
datasets: [digits]
device: cpu
search:
  methods: [eg]
  rule_sets: {sf: [usf, brsf]}
  settings:
    {epochs: 2, batch_size: 256, channels: 2, cells: 3, nodes: 1, warmup: 1, restarts: 2, population: 4, generations: 1, images: 300}
cells: {rules: [searched, shuffled], settings: {epochs: 2, batch_size: 256, channels: 2, cells: 3, cutout: 2}}
attacks: {names: [fgsm, pgd], images: 4}
analyses: [weights, alignment, gradients]
expect: {"trial/*": {test_error: {at_most: 100}}}
"""
BY_PATH = {
    "dataset": r"/data/[^/]+\.h5$",
    "start": r"\.json$",
    "search": r"/search\.\w+$",
    "train": r"/(train\.\w+|weights\.pt)$",
    "evaluate": r"/evaluation-\w+\.\w+$",
    "collect": r"/metrics\.h5$",
    "render": r"/report\.html$",
    "parts": r"/figures/",
    "check": r"/check\.txt$",
}
BY_MODULE = {
    "data_prep": "dataset",
    "suite.collect": "collect",
    "reports.render": "render",
    "reports.figures": "parts",
    "reports.summary": "parts",
    "suite.check": "check",
}


class Told(NamedTuple):
    """What a process told: a job that starts, or a write before or after its file takes its place. It waits until `go`."""

    moment: str
    what: str  # the command, or the file
    pid: int
    asking: socket.socket

    @property
    def stage(self):
        if self.moment != "start":
            return next((stage for stage, path in BY_PATH.items() if re.search(path, self.what)), "")
        module, *words = self.what.split()
        return words[0] if module == "suite.run" and words else BY_MODULE.get(module, "")

    @property
    def folder(self):
        """Of the run that it works on."""
        return Path(self.what if self.moment != "start" else self.what.split()[-1]).parent

    def go(self, word="go"):
        with suppress(OSError):  # it is killed
            self.asking.send(word.encode())
        self.asking.close()


class Workflow:
    """A folder in which the workflow is started again and again."""

    def __init__(self, folder, *options, definition=DEFINITION):
        self.folder = folder
        (folder / "soak.yaml").write_text(definition)
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.address = str(folder / "told")
        if len(self.address) > 100:
            raise ValueError(f"{folder}: too long a name for a socket's folder; allowed: 95 characters")
        self.listener = socket.socket(socket.AF_UNIX)
        Path(self.address).unlink(missing_ok=True)
        self.listener.bind(self.address)
        self.listener.listen(64)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "2"]
        self.command = [*command, *options, "--config", "benchmark=soak.yaml"]
        path = os.pathsep.join([str(Path(__file__).with_name("hooks")), str(ROOT)])
        self.environment = os.environ | {"PYTHONPATH": path, "BIONAS_SOAK": self.address, "TMPDIR": str(self.temporary)}
        self.running = None

    def start(self, *options):
        """Start the workflow, as the leader of a group."""
        said = (self.folder / "said.txt").open("ab")
        self.running = subprocess.Popen(
            [*self.command, *options], stdout=said, stderr=said, cwd=self.folder, env=self.environment, start_new_session=True
        )
        return self.running

    def hear(self, patience=0.05):
        """Return what a process tells, or nothing if none does so in time."""
        self.listener.settimeout(patience)
        try:
            asking, _ = self.listener.accept()
            asking.settimeout(60)  # on a busy machine; one that is killed closes it
            return Told(*json.loads(asking.recv(65536)), asking)
        except (TimeoutError, ValueError, OSError):  # or it was killed while it told
            return None

    def until(self, wanted, patience=120):
        """Let everybody go on until somebody tells what is `wanted`, who then waits; nothing if the workflow ends before."""
        deadline = time.monotonic() + patience
        while self.running.poll() is None:
            assert time.monotonic() < deadline, f"nothing came of it in {patience} seconds: {self.said()[-2000:]}"
            if told := self.hear():
                if wanted(told):
                    return told
                told.go()
        return None

    def end(self, patience=120):
        """Let everybody go on until the workflow ends, and return how it ended."""
        self.until(lambda told: False, patience)
        return self.running.wait()

    def said(self):
        return (self.folder / "said.txt").read_text()

    def kill(self):
        """Kill Snakemake alone."""
        self.running.kill()
        self.running.wait()

    def kill_group(self):
        """Kill Snakemake with all that it started, but for what leads a group of its own."""
        os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()

    def processes(self):
        """Return {pid: (parent, command)} of all that the workflow has started, the dead ones left out."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"BIONAS_SOAK={self.address}\0".encode() in (folder / "environ").read_bytes():
                    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                    if state not in "ZX":
                        found[int(folder.name)] = (int(parent), (folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                pass
        return found

    def digest(self):
        return store.digest(self.folder / "results/soak/metrics.h5")

    def left(self):
        """Name what should not be there when all is over: processes, locks, files of killed writers; those of Snakemake's own are none."""
        deadline = time.monotonic() + 20
        while self.processes() and time.monotonic() < deadline:
            if told := self.hear():
                told.go()
        wrong = [f"process {pid}: {command}" for pid, (_, command) in self.processes().items()]
        files = [path for path in self.folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
        wrong += [f"orphan {path}" for path in files if path.suffix in (".partial", ".checkpoint")]
        wrong += [f"lock {path}" for path in files if path.name == ".lock" and store.holder(path.parent)]
        wrong += [f"lock {path}" for path in (self.folder / ".snakemake/locks").glob("*")]
        wrong += [f"temporary {path}" for path in self.temporary.iterdir() if not path.name.startswith("snakemake")]
        if not (self.folder / "results/soak/report.html").is_file() or not (self.folder / "results/soak/check.txt").is_file():
            wrong.append("no report")
        return wrong

    def close(self):
        self.listener.close()
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
