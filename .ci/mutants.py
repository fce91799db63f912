"""Would the tests notice? Small edits of the code, one at a time (cosmic-ray's), each against its room's own tests; survivors are listed.

    .venv/bin/pip install -c docker/constraints.txt -e '.[dev,mutants]'
    .venv/bin/python .ci/mutants.py                       # 30 minutes over all rooms
    .venv/bin/python .ci/mutants.py store --minutes 5     # a room

The edits are a sample, one a place, in an order drawn by the seed; who has more time tries more of the same order. They are made in a
copy of the commit that is checked out. What survived and does not matter is explained in docs/mutants.md.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

ROOMS = {  # what is edited, and which tests should see it, the quick ones first
    "rules": (["bionas/rules"], ["bionas/rules/tests/test_layers.py", "bionas/rules/tests/test_learning.py", "bionas/rules"]),
    "store": (["suite/store"], ["suite/store"]),
    "plan": (["suite/plan"], ["suite/plan"]),
    "statistics": (
        ["reports/numbers/statistics.py", "suite/power.py"],
        ["reports/tests/test_statistics_laws.py", "reports/tests/test_statistics.py", "suite/tests/test_power.py"],
    ),
}
PATIENCE = 180  # seconds; an edit that makes the tests hang was noticed
TYPES = "_BitOr_"  # `int | None` in an annotation: nobody evaluates it
ROOT = Path(__file__).parent.parent
PYTHON = Path(sys.executable)


def tried(room: str, copy: Path, minutes: float, seed: int) -> tuple[int, int, list[str]]:
    """Return how many edits there are, how many were tried, and those that survived, as lines."""
    edited, tests = ROOMS[room]
    session, config = copy.parent / f"{room}.sqlite", copy.parent / f"{room}.toml"
    command = shlex.join([str(PYTHON), "-m", "pytest", "-x", "-q", "-n0", *tests])
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {edited}\nexcluded-modules = ['**/tests/*']\ntimeout = {PATIENCE}.0\n"
        f"test-command = {command!r}\n[cosmic-ray.distributor]\nname = 'local'\n"
    )
    cosmic_ray = [str(PYTHON.with_name("cosmic-ray"))]
    here = {"cwd": copy, "env": {**os.environ, "PYTHONPATH": str(copy)}}
    untouched = subprocess.run(shlex.split(command), capture_output=True, text=True, **here)
    if untouched.returncode:
        raise ValueError(f"{room}: its tests fail on unedited code\n{untouched.stdout}")
    subprocess.run([*cosmic_ray, "init", config, session], check=True, **here)
    with use_db(session, WorkDB.Mode.open) as db:
        places = {}
        order = random.Random(seed)
        for item in sorted(db.work_items, key=lambda item: [(*m.start_pos, str(m.module_path), m.operator_name) for m in item.mutations]):
            (mutation,) = item.mutations
            if TYPES not in mutation.operator_name:
                places.setdefault((mutation.module_path, mutation.start_pos), []).append(item)
        chosen = [order.choice(items) for items in places.values()]
        order.shuffle(chosen)
        db.clear()
        db.add_work_items(chosen)
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([*cosmic_ray, "exec", config, session], timeout=60 * minutes, **here)
    with use_db(session, WorkDB.Mode.open) as db:
        done = list(db.completed_work_items)
        survived = [said(item.mutations[0], result.diff) for item, result in done if not result.is_killed]
    subprocess.run(["git", "checkout", "--quiet", "."], check=True, **here)  # the one that was being tried
    return len(chosen), len(done), sorted(survived)


def said(mutation: MutationSpec, diff: str) -> str:
    """Return where an edit was made, and the line as it became, or that it went."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    became = [line[1:].strip() for line in lines if line[0] == "+"] or ["without " + "".join(line[1:].strip() for line in lines)]
    return f"{mutation.module_path}:{mutation.start_pos[0]}: {' '.join(became)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Edit the code in small ways, and list the edits that no test notices.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"{', '.join(ROOMS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=30, help="for all rooms together (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="draws the edits and their order (default: 0)")
    args = parser.parse_args()
    rooms = args.rooms or list(ROOMS)
    if unknown := sorted(set(rooms) - set(ROOMS)):
        raise ValueError(f"{', '.join(unknown)}: no such room; allowed: {', '.join(ROOMS)}")
    with tempfile.TemporaryDirectory(prefix="bionas-mutants-") as folder:
        copy = Path(folder) / "code"
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, copy], check=True)
        for room in rooms:
            there, done, survived = tried(room, copy, args.minutes / len(rooms), args.seed)
            print(f"{room}: {done} of {there} edits tried, {done - len(survived)} noticed, {len(survived)} not", flush=True)
            for line in survived:
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"mutants: {error}")
