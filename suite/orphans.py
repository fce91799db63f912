"""After a workflow that was killed: its locks keep nobody out, and what its jobs finish without it is kept. Imports no torch."""

from __future__ import annotations

import fcntl
import platform
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from suite import store

_held: list[IO[str]] = []  # for as long as this process lives


def unlock(folder: Path = Path(".snakemake")) -> int:
    """Take away the locks of workflows that were killed in this folder, and return how many.

    Snakemake's locks are files, which a killed one leaves behind. Beside them each workflow holds one of the kernel's, which it shares
    with others and which ends as it ends: where nobody holds that, nobody holds Snakemake's. On another machine than the one that made
    them they are left alone, since not every shared file system tells machines of each other's locks: `snakemake --unlock` is for them.
    """
    folder.mkdir(exist_ok=True)
    file = (folder / "alive").open("a+")
    _held.append(file)
    locks: list[Path] = []
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locks, here = [*(folder / "locks").glob("*.lock")], platform.node()
        file.seek(0)
        if locks and file.read() != here:
            locks = []
        else:
            file.truncate(0)
            file.write(here)
            file.flush()
        for lock in locks:
            lock.unlink(missing_ok=True)
    except OSError:  # somebody lives, or there are no such locks
        locks = []
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH)
    return len(locks)


def keep(workflow: Any, rules: tuple[str, ...]) -> None:
    """Have Snakemake leave alone the results that jobs of a killed workflow made, or are about to: the new job finds them finished.

    Else it removes whatever a job is to make before it starts it. It still does where that is made from something that is made anew.
    """
    dag = workflow.dag
    for job in dag.needrun_jobs():
        if job.rule.name not in rules or any(dag.needrun(other) for other in dag.job_dependencies(job) if other.rule.name != "dataset"):
            continue
        for file in job.output:
            worked_on, there = store.holder(Path(file).parent), Path(file).is_file()  # in this order: who works may end
            if worked_on or (
                there and (file in dag.reason(job).missing_output or workflow.async_run(workflow.persistence.incomplete(job)))
            ):
                file.flags["update"] = True
