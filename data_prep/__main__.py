"""Command line: python -m data_prep NAME --raw DIR --out FILE."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bionas import catalog, dataset
from data_prep import DATASETS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep", description="Check a data set's raw files and write them as one HDF5 file."
    )
    parser.add_argument("name", help=f"one of: {', '.join(DATASETS)}")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="where raw files lie or go (default: data/raw)")
    parser.add_argument("--out", type=Path, help="file to write (default: data/NAME.h5)")
    args = parser.parse_args(argv)
    name = catalog.choose("data set", args.name, DATASETS)
    out = args.out or Path("data") / f"{name}.h5"
    data = catalog.load(DATASETS[name])(args.raw)
    dataset.write(out, data)
    shape = "×".join(map(str, data.image_shape))
    print(f"{out}: {name}, {len(data.train_labels):,} training and {len(data.test_labels):,} test images of {shape}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"data_prep: {error}")
