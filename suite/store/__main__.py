"""`python -m suite.store FILE…`: the digest of results files."""

import argparse
import signal
import sys
from pathlib import Path

from suite.store.comparing import digest


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m suite.store",
        description="Print the digest of results files: a hash of all numbers, without provenance and timings.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="run files or metrics.h5")
    for path in parser.parse_args(argv).files:
        print(f"{digest(path)}  {path}")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may have seen enough
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.store: {error}")
