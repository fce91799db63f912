"""Command line: python -m data_prep NAME --raw DIR --out FILE."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from bionas import catalog, dataset, plugins
from data_prep import DATASETS, FORM, Variant
from data_prep.variant import varied


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep", description="Check a data set's raw files and write them as one HDF5 file."
    )
    parser.add_argument("name", help=f"{FORM}, such as fashion_mnist-16px-n10000; NAME is one of: {', '.join(DATASETS)}")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="where raw files lie or go (default: data/raw)")
    parser.add_argument("--out", type=Path, help="file to write (default: data/ and the name)")
    parser.add_argument(
        "--plugin", default="", metavar="PACKAGE==VERSION", help="the plugin that it has to come from; the workflow says so"
    )
    args = parser.parse_args(argv)
    plugins.check()
    plugins.demand(dict([args.plugin.split("==", 1)]) if "==" in args.plugin else {})
    variant = Variant.parse(args.name)
    out = args.out or Path("data") / f"{variant}.h5"
    made = catalog.load(DATASETS[variant.name])(args.raw)
    if not isinstance(made, dataset.Dataset | dataset.Streamed):
        raise ValueError(f"{DATASETS[variant.name]} returns a {type(made).__name__}; allowed: a bionas.dataset.Dataset or Streamed")
    data = varied(made, variant)
    shapes = dataset.write(out, dataclasses.replace(data, plugin=plugins.words("datasets", variant.name)))
    shape = "×".join(map(str, shapes["train"][1:]))
    print(f"{out}: {variant}, {shapes['train'][0]:,} training and {shapes['test'][0]:,} test images of {shape}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"data_prep: {error}")
    except KeyboardInterrupt:
        sys.exit("data_prep: stopped; run it again to go on")
