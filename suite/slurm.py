"""Why jobs failed on Slurm, one line each, from the logs that its executor leaves. Imports no torch.

Snakemake says that a job failed and where to look; what was the matter stands in that file, among what two Snakemakes say there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ERROR = re.compile(r"^slurmstepd\S*: error: (.+)$", re.MULTILINE)
REASON = re.compile(r"memory limit \(|oom_kill|oom-kill|TIME LIMIT|NODE FAILURE|PREEMPTION", re.IGNORECASE)
OURS = re.compile(r"^((?:(?:suite|data_prep|reports)[\w.]*:|MISSED|MISSING) .+)$", re.MULTILINE)  # a command's own one line, a bound


def failures(folder: Path, since: float) -> Iterator[str]:
    """Yield `rule/wildcards: reason; log` of every job whose last try, at `since` (seconds since 1970) or later, went wrong."""
    for job in sorted({path.parent for path in folder.rglob("*.log")}):  # one folder a job, one file a try, named by Slurm's number
        log = max(job.glob("*.log"), key=lambda path: int(path.stem) if path.stem.isdigit() else -1)
        if log.stat().st_mtime < since:
            continue
        text = log.read_text(errors="replace")
        said = [line for line in ERROR.findall(text) if REASON.search(line)] or OURS.findall(text) or ERROR.findall(text)
        if said:
            yield f"{job.relative_to(folder)}: {said[-1].strip(' *')}; {log}"
