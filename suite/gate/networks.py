"""What a metrics file holds, by network: runs that differ in their seed alone, whatever their ids. Imports no torch.

An id hashes the seed and `NUMERICS`, which a commit raises that moves numbers. Files are compared across such commits, too, so a network
is known by its parameters without those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from suite import store

HASH = r"-[0-9a-f]{8}(?=/|$)"  # ends an id, and holds the seed
SEED = re.compile(rf"seed\d++(-of\d++)?+(?:(?!{HASH})-)?|{HASH}")
VARYING = ("id", "seed", "of_seed", "numerics", "tuning")

Runs = Mapping[str, store.Run]


@dataclass(frozen=True)
class Network:
    """A search, a network's trainings or its evaluations: by (definition's seed, own seed), each with its place in the file."""

    name: str  # without seeds
    params: Mapping[str, Any]
    runs: dict[tuple[int, int], store.Run] = field(default_factory=dict)
    paths: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def machines(self) -> set[tuple[str, str]]:
        """Device and processor of every run."""
        return {(str(run.provenance.get("device", "")), str(run.provenance.get("processor", ""))) for run in self.runs.values()}


def networks(runs: Runs) -> dict[str, Network]:
    """Return every network by a key that is the same in every file."""
    found: dict[str, Network] = {}
    for path, run in runs.items():
        trained = runs.get(f"{path.rpartition('/')[0]}/train", run) if run.stage == "evaluation" else run  # an evaluation's are of attacks
        params = {name: value for name, value in trained.params.items() if name not in VARYING}
        params |= {"parent": SEED.sub("", params["parent"])} if params.get("parent") else {}
        name = SEED.sub("", path)
        network = found.setdefault(f"{name} {json.dumps(params, sort_keys=True)}", Network(name, params))
        own = int(trained.params.get("seed", 0))
        seed = int(trained.params.get("of_seed", own)), own
        network.runs[seed], network.paths[seed] = run, path
    return found


def names(*files: Mapping[str, Network]) -> dict[str, str]:
    """Return a name for every key, as short as tells them apart: DATA/NETWORK/RULES, with the settings in an id, or all parameters."""
    whole = {key: network.name for file in files for key, network in file.items()}
    forms = [{key: _short(name) for key, name in whole.items()}, whole, {key: key for key in whole}]
    return {key: next(form[key] for form in forms if [*form.values()].count(form[key]) == 1) for key in whole}


def _short(name: str) -> str:
    """Return a name up to its rules, and its stage if that is not what it is known for."""
    parts = name.split("/")
    if parts[0] == "search":
        return "/".join(parts[:3])
    return "/".join(parts[1:4]) + ("" if parts[-1] == "train" else f", {parts[-1]}")
