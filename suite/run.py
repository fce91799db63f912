"""One job: `python -m suite.run {search,train,evaluate} FILE`, what the workflow calls inside the container.

FILE holds the job's parameters; the workflow puts it beside the result (`suite.jobfile`). On a terminal there is a progress bar.

A job holds its run's lock, goes on from its checkpoint if there is one, and writes its result last and at once. It may be killed at
any moment: started again, it ends with the same bits. Ctrl-C and SIGTERM end it at the next step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

from suite import processor, warm

if __name__ == "__main__":
    warm.hand_over()
processor.set_floor()  # read once, by what follows

from suite import jobfile  # noqa: E402
from suite.jobs.evaluate import evaluate  # noqa: E402
from suite.jobs.search import search  # noqa: E402
from suite.jobs.stopping import StopFlag  # noqa: E402
from suite.jobs.train import train  # noqa: E402


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.run", description="Run one job of a benchmark; the workflow prints the command.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="its parameters, as the workflow puts them beside its result; all else follows"
    )
    common.add_argument("--params", help="instead of FILE: as JSON; `python -m suite.plan NAME --json` lists them")
    common.add_argument("--data", type=Path, help="the data set's file")
    common.add_argument("--checkpoint-seconds", type=float, default=30, help="at most this much work is lost (default: 30)")
    command = commands.add_parser("search", parents=[common], help="search for a genotype", description=search.__doc__)
    command.add_argument("--out", type=Path, metavar="DIR", help="the run's folder")
    command.set_defaults(job=search)
    command = commands.add_parser("train", parents=[common], help="train one trial", description=train.__doc__)
    command.add_argument("--out", type=Path, metavar="DIR", help="the run's folder")
    command.add_argument("--search", type=Path, metavar="FILE", help="the search whose genotype is trained")
    command.add_argument("--tuning", type=Path, nargs="+", default=[], metavar="FILE", help="the runs that choose its learning rate")
    command.set_defaults(job=train)
    command = commands.add_parser("evaluate", parents=[common], help="attack one trained trial", description=evaluate.__doc__)
    command.add_argument("--trial", type=Path, metavar="DIR", help="the trained run's folder")
    command.add_argument(
        "--sources", type=Path, nargs="+", default=[], metavar="DIR", help="trained runs that make images to attack it with"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="the file to write")
    command.set_defaults(job=evaluate)
    args = parser.parse_args(argv)
    if not 0 <= args.checkpoint_seconds < math.inf:
        raise ValueError(f"--checkpoint-seconds: found {args.checkpoint_seconds}; allowed: 0 or more")
    _complete(args)
    args.job(args, StopFlag())


def _complete(args: argparse.Namespace) -> None:
    """Take what no option says from the file of parameters. Raises ValueError if there is none and something is missing."""
    if args.file:
        for name, value in jobfile.read(args.command, args.file).items():
            if not getattr(args, name):
                setattr(args, name, value)
    needed = ("params", "data", "trial", "out") if args.command == "evaluate" else ("params", "data", "out")
    if missing := [f"--{name}" for name in needed if getattr(args, name) is None]:
        raise ValueError(f"{', '.join(missing)} missing; or give the file of parameters that the workflow puts beside the result")


def _memory_is_out(error: BaseException) -> bool:
    """Say whether an error is that memory ran out: torch has no type of its own for it on a CPU."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(said in str(error) for said in words))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.run: {error}")
    except (MemoryError, RuntimeError) as error:
        if not _memory_is_out(error):
            raise
        first = str(error).strip().partition("\n")[0] or "no more to be had"
        sys.exit(f"suite.run: out of memory ({first}); what was done up to the last checkpoint is kept, run the same command again")
