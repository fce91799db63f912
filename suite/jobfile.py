"""A job's parameters, in a file beside its result: `train.json` for `train.h5`. A job needs no more than the file's name. No torch.

The workflow writes them when it starts, so that what runs is what was planned then, whatever becomes of the definition meanwhile.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bionas.files import replacing
from suite import store

if TYPE_CHECKING:
    from suite.plan import Plan

RUNS = Path("results/runs")
KINDS = {"search": "search", "train": "trial", "evaluate": "trial"}  # command → folder under the runs


def write(planned: Plan, runs: Path = RUNS) -> None:
    """Write the parameters of every job that makes a run."""
    for where, path, stage in planned.results():
        run = planned.run(path)
        params = run.evaluation.params if stage == "evaluation" else run.params  # type: ignore[union-attr]
        file, text = (runs / where).with_suffix(".json"), json.dumps(params, indent=2) + "\n"
        if file.is_file() and file.read_text() == text:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            partial.write_text(text)


def read(command: str, file: Path) -> dict[str, Any]:
    """Return what `suite.run` needs for a job, by its options' names: its parameters, and where things lie as the workflow has them.

    Raises ValueError if there is no such file, or if it lies where its run does not.
    """
    try:
        text = file.read_text()
        params = json.loads(text)
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file; the workflow writes the parameters of its jobs when it starts") from None
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    folder, out = file.parent, file.with_suffix(".h5")
    given: dict[str, Any] = {"params": text}
    if command == "evaluate":
        trained = store.read(folder / "train.h5")
        runs = _runs(folder, f"trial/{trained.id}")
        given |= {"trial": folder, "out": out, "sources": [runs / "trial" / id for id in params.get("sources", {}).values()]}
        return given | {"data": _data(trained.params)}
    if not isinstance(params, dict) or not {"id", "dataset"} <= params.keys() or out.name != f"{command}.h5":
        raise ValueError(f"{file}: not the parameters of `{command}`; allowed: the {command}.json that the workflow writes")
    runs = _runs(folder, f"{KINDS[command]}/{params['id']}")
    given |= {"out": folder, "data": _data(params)}
    if command == "train":
        parent = params.get("parent")
        given["search"] = runs / "search" / parent / "search.h5" if parent else None
        given["tuning"] = [runs / "trial" / id / "train.h5" for _, ids in params.get("tuning", ()) for id in ids]
    return given


def _runs(folder: Path, path: str) -> Path:
    """Return the folder of all runs, of one's own folder. Raises ValueError if that is another run's."""
    whole = Path(os.path.abspath(folder))  # noqa: PTH100 # follows no links, as `resolve` would
    if not whole.as_posix().endswith(f"/{path}"):
        raise ValueError(f"{folder}: holds the parameters of {path}, which belong into a folder of that name")
    return whole.parents[len(Path(path).parts) - 1]


def _data(params: Any) -> Path:
    return Path(f"data/{params['dataset']}.h5")
