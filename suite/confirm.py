"""`python -m suite.confirm FILE…`: does the code here make the same numbers as the code of the finished runs? Imports no torch.

After a refactoring every run that it touched counts as made by other code. This runs each definition at size=tiny twice, with the code
of the commit that the finished runs name and with the code here, and compares run by run. Where all of them have the same numbers, to
the bit, the old results are accepted: results/runs/accepted.json says so, and no run is touched. What a tiny run does not reach
(another protocol, a longer schedule) it cannot tell.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from suite import code, store
from suite.definition import spec
from suite.plan import load
from suite.plan.outdated import RUNS, Outdated, accept, commands, outdated, say


class Made(NamedTuple):
    """A tiny run's outcome."""

    made_by: str
    digest: str
    status: str


Numbers = dict[str, Made]  # by the run's group in metrics.h5


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.confirm",
        description="Confirm on a tiny run that the code here makes the same numbers as the code of the finished runs, and accept those.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a definition: a name in benchmarks/, such as demo, or a path that ends in .yaml"
    )
    parser.add_argument("--size", default="full", help="size of the finished runs, full or tiny (default: full)")
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"where finished runs lie (default: {RUNS})")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where data sets lie or are made (default: data)")
    parser.add_argument("--cores", default="all", help="for the tiny runs (default: all)")
    parser.add_argument(
        "--reference", type=Path, metavar="METRICS", help="a tiny metrics.h5 of the old code, instead of running that again"
    )
    args = parser.parse_args(argv)
    definitions = [Path(file) for given in args.files for file in spec.named(given)]
    found = {run.name: run for file in definitions for run in outdated(load(str(file), args.size), args.runs)}
    if not found:
        print(f"{args.runs}: every finished run of {', '.join(args.files)} was made by this code, or is accepted; nothing to confirm")
        return
    print(say(list(found)))
    anew, _ = commands(args.files, args.size)
    with tempfile.TemporaryDirectory(prefix="bionas-confirm-") as name:
        folder = Path(name)
        if args.reference:
            olds = [numbers(args.reference)]
        else:
            known = commits(found.values(), args.runs)
            olds = [tiny(checkout(commit, folder), commit[:10], definitions, folder, args) for commit in known]
        if not {run.made_by for run in found.values()} & {made.made_by for old in olds for made in old.values()}:
            whence = args.reference or f"commit {', '.join(known)}"
            raise ValueError(f"{whence}: not the code that made the finished runs (edited since?), so nothing is confirmed; {anew}")
        here = tiny(code.ROOT, "here", definitions, folder, args)
    judged = [judge(old, here) for old in olds]
    differing = list(dict.fromkeys(name for _, names in judged for name in names))
    pairs = set().union(*(same for same, _ in judged)) & {(run.made_by, run.here) for run in found.values()}
    left = [name for name, run in found.items() if (run.made_by, run.here) not in pairs]
    if pairs:
        accept(args.runs, pairs)
        print(f"{len(found) - len(left)} of {len(found)} finished runs accepted: the code here makes the same numbers")
    if left:
        why = f"the numbers of these tiny runs differ: {', '.join(differing)}" if differing else "no tiny run of that code stands for them"
        raise ValueError(f"{say(left)}; not accepted, since {why}; to make them anew: {anew}")


def judge(old: Numbers, here: Numbers) -> tuple[set[tuple[str, str]], list[str]]:
    """Return the pairs of codes (old, here) that make the same numbers, and the runs that differ.

    One that differs is enough for none to be the same: few images hide much. What was skipped or diverged is no proof either.
    """
    both = sorted(old.keys() & here.keys())
    differing = [name for name in both if old[name].digest != here[name].digest]
    pairs = {(old[name].made_by, here[name].made_by) for name in both if here[name].status == "ok" and not differing}
    return {pair for pair in pairs if "unknown" not in pair}, differing


def commits(found: Iterable[Outdated], runs: Path) -> list[str]:
    """Return the commits that such runs name. Raises ValueError if git knows none of them."""
    named = sorted({str(store.read(runs / run.file).provenance.get("commit", "unknown")) for run in found if run.made_by != "unknown"})
    known = [commit for commit in named if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0]
    if not known:
        raise ValueError(
            f"commit {', '.join(named) or 'unknown'} of the finished runs: git does not know it here, so nothing can be confirmed"
        )
    return known


def checkout(commit: str, folder: Path) -> Path:
    """Lay the files of a commit into a folder. Raises ValueError if git cannot."""
    done = _git("archive", "--format=tar", commit)
    if done.returncode:
        raise ValueError(f"commit {commit}: {done.stderr.decode(errors='replace').strip()}")
    out = folder / f"code-{commit[:10]}"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(out, filter="data")
    return out


def tiny(root: Path, name: str, definitions: list[Path], folder: Path, args: argparse.Namespace) -> Numbers:
    """Run the definitions at size=tiny with the code in `root`, and return every run's numbers. Raises ValueError if that fails."""
    out = folder / f"runs-{name}"
    out.mkdir()
    args.data.mkdir(parents=True, exist_ok=True)
    (out / "data").symlink_to(args.data.resolve())
    files = [file.resolve() for file in definitions]
    targets = [f"results/{load(str(file), 'tiny').name}/metrics.h5" for file in files]
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(root / "Snakefile"), "--directory", str(out)]
    command += ["--cores", args.cores, "--config", f"benchmark={','.join(map(str, files))}", "size=tiny"]
    print(f"{name}: tiny run of {', '.join(args.files)} …", flush=True)
    started = time.monotonic()
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        log = Path(f"logs/confirm-{name}.log")
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        raise ValueError(f"{name}: the tiny run failed; its output is in {log}")
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return {run: found for target in targets for run, found in numbers(out / target).items()}


def numbers(metrics: Path) -> Numbers:
    """Return what each run of a metrics file holds. Raises ValueError if it is none."""
    with store.opened(metrics) as file:
        return {
            group.name[1:]: Made(str(group["provenance"].attrs.get("code", "unknown")), store.digest_of(group), group.attrs["status"])
            for group in store.groups(file)
        }


def _git(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "--no-optional-locks", *args], cwd=code.ROOT, capture_output=True, check=False)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.confirm: {error}")
