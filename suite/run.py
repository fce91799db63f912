"""One job: `python -m suite.run {search,train,evaluate} …`, what the workflow calls inside the container.

A job holds its run's lock, goes on from its checkpoint if there is one, and writes its result last and at once. It may be killed at
any moment: started again, it ends with the same bits. Ctrl-C and SIGTERM end it at the next step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

from suite import processor

processor.set_floor()  # read once, by what follows

from suite.jobs.evaluate import evaluate  # noqa: E402
from suite.jobs.search import search  # noqa: E402
from suite.jobs.stopping import StopFlag  # noqa: E402
from suite.jobs.train import train  # noqa: E402


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.run", description="Run one job of a benchmark; the workflow prints the command.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--params", required=True, help="the job's parameters, as JSON; `python -m suite.plan FILE --json` lists them")
    common.add_argument("--data", type=Path, required=True, help="the data set's file")
    common.add_argument("--checkpoint-seconds", type=float, default=30, help="at most this much work is lost (default: 30)")
    command = commands.add_parser("search", parents=[common], help="search for a genotype", description=search.__doc__)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    command.set_defaults(job=search)
    command = commands.add_parser("train", parents=[common], help="train one trial", description=train.__doc__)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    command.add_argument("--search", type=Path, metavar="FILE", help="the search whose genotype is trained")
    command.add_argument("--tuning", type=Path, nargs="+", default=[], metavar="FILE", help="the runs that choose its learning rate")
    command.set_defaults(job=train)
    command = commands.add_parser("evaluate", parents=[common], help="attack one trained trial", description=evaluate.__doc__)
    command.add_argument("--trial", type=Path, required=True, metavar="DIR", help="the trained run's folder")
    command.add_argument(
        "--sources", type=Path, nargs="+", default=[], metavar="DIR", help="trained runs that make images to attack it with"
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    command.set_defaults(job=evaluate)
    args = parser.parse_args(argv)
    if not 0 <= args.checkpoint_seconds < math.inf:
        raise ValueError(f"--checkpoint-seconds: found {args.checkpoint_seconds}; allowed: 0 or more")
    args.job(args, StopFlag())


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.run: {error}")
