"""Finished runs of a plan that other code made than what lies here: found, named, accepted. Imports no torch.

A run says which code made it. Where that is not the checkout's, its numbers may be others; nothing is thrown away unasked, so plan,
workflow and report say so by name. Codes that `suite.confirm` found to make the same numbers lie beside the runs, in accepted.json.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionas.files import replacing
from suite import code, store
from suite.definition.runs import Trial
from suite.plan.expand import Plan
from suite.shell import called

RUNS = Path("results/runs")
ACCEPTED = "accepted.json"  # {code that made runs: [codes that make the same numbers]}
SHOWN = 5


@dataclass(frozen=True)
class Outdated:
    """A finished run that other code made; fingerprints of both."""

    file: str  # under results/runs/
    name: str  # its group in metrics.h5
    made_by: str
    here: str


def outdated(planned: Plan, runs: Path = RUNS) -> list[Outdated]:
    """Return the plan's finished runs that other code made, which was not accepted. Raises ValueError for a bad accepted.json."""
    same = accepted(runs)
    fingerprints: dict[tuple[str, ...], str] = {}
    found = []
    for file, path, stage in planned.results():
        made_by = store.made_by(runs / file)
        if made_by is None:
            continue
        run = planned.run(path)
        of_both = stage == "evaluation" and isinstance(run, Trial) and run.evaluation
        roots = code.roots(stage, code.attacked(run.params, of_both.params) if of_both else run.params)
        here = fingerprints.get(roots) or fingerprints.setdefault(roots, code.fingerprint(roots))
        if made_by != here and here not in same.get(made_by, ()):
            found.append(Outdated(file, path if stage == "search" else f"{path}/{stage}", made_by, here))
    return found


def resting(planned: Plan, found: Iterable[Outdated]) -> list[str]:
    """Return what rests on such runs, by its group in metrics.h5: trials of a search or of tried rates, attacks on trainings."""
    names = {run.name for run in found}
    resting = []
    for id in {**planned.tuning, **planned.trials}:
        needed = {path if path.startswith("search/") else f"{path}/train" for path in planned.needs(f"trial/{id}")}
        resting += [f"trial/{id}/train"] if needed & names else []
    trained = names.union(resting)
    for id, trial in planned.trials.items():
        attacked = {f"{path}/train" for path in (f"trial/{id}", *planned.sources(f"trial/{id}"))}
        resting += [f"trial/{id}/evaluation"] if trial.evaluation and attacked & trained else []
    return [name for name in resting if name not in names]


def say(names: Sequence[str]) -> str:
    """Return the start of a line that names such runs."""
    runs = f"{len(names)} finished run was" if len(names) == 1 else f"{len(names)} finished runs were"
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{runs} made by other code than this: {', '.join(names[:SHOWN])}{rest}"


def advise(files: Iterable[str], size: str, only: str = "") -> str:
    """Return the end of that line, what can be done; `files`: the definitions as the user wrote them."""
    anew, confirm = commands(files, size, only)
    return f"to make them anew: {anew}; to accept them if the numbers stay the same: {confirm}"


def commands(files: Iterable[str], size: str, only: str = "") -> tuple[str, str]:
    """Return the lines that make such runs anew, and that accept them if the code here makes the same numbers."""
    files = list(files)
    anew = [called("snakemake"), "--cores", "all", "--config", f"benchmark={','.join(files)}", "code=equal"]
    confirm = [called("python"), "-m", "suite.confirm", *files]
    if size != "full":
        anew, confirm = [*anew, f"size={size}"], [*confirm, "--size", size]
    if only:
        anew = [*anew, f"only={only}"]
    return shlex.join(anew), shlex.join(confirm)


def accepted(runs: Path) -> Mapping[str, list[str]]:
    """Return {code that made runs: codes that make the same numbers}. Raises ValueError if the file is damaged."""
    path = runs / ACCEPTED
    if not path.exists():
        return {}
    try:
        content: dict[str, list[str]] = json.loads(path.read_text())
        return {made_by: [str(here) for here in same] for made_by, same in content.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: not readable ({error}); remove it and confirm again") from None


def accept(runs: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Note (code that made runs, code that makes the same numbers)."""
    content: dict[str, Any] = {made_by: list(same) for made_by, same in accepted(runs).items()}
    for made_by, here in pairs:
        same = content.setdefault(made_by, [])
        content[made_by] = same if here in same else [*same, here]
    with replacing(runs / ACCEPTED) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
