"""`python -m suite.plan NAME`: what a definition would run, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import indent

from suite.definition import price, spec
from suite.definition.runs import Search, Trial, tuners
from suite.plan import duration
from suite.plan.duration import Machine
from suite.plan.ended import ended
from suite.plan.expand import Plan
from suite.plan.only import select
from suite.plan.outdated import RUNS, advise, outdated, say
from suite.plan.seconds import fitted
from suite.plan.size import load


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.plan", description="Print what a definition would run; runs nothing.")
    parser.add_argument("file", help="a definition: a name in benchmarks/, such as demo, or a path that ends in .yaml; several with commas")
    parser.add_argument("--tables", action="store_true", help="of several definitions, print the table of each, too")
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    parser.add_argument("--size", default="full", help="full, or tiny: one short trial of each kind (default: full)")
    parser.add_argument("--only", help='a part of it, such as "network=resnet20 rules=bp,usf seed=0"; keys are the table\'s columns')
    parser.add_argument(
        "--runs",
        type=Path,
        default=RUNS,
        help=f"where finished runs lie: by what they took the time is told, and other code's are named (default: {RUNS})",
    )
    args = parser.parse_args(argv)
    plans = [load(str(file), args.size) for file in spec.named(args.file)]
    if args.only is not None:
        plans = select(plans, args.only)
    if args.json:
        content = [planned.to_dict() for planned in plans]
        print(json.dumps(content if len(content) > 1 else content[0], indent=2))
        return
    speed, machine = fitted(ended(args.runs)), Machine.here()
    searches: dict[str, Search] = {}
    trials: dict[str, Trial] = {}
    for planned in plans:
        took = duration.say(planned.searches, planned.trials, speed, machine)
        if len(plans) == 1 or args.tables:
            _print_table(planned, args.runs)
            print(f"{price.say(price.of(planned.searches, planned.trials))}\n{took}", end="\n\n")
        else:
            print(f"{planned.name}: {_counts(planned)}\n{indent(took, '  ')}")
        searches |= planned.searches
        trials |= planned.trials
    if len(plans) > 1:
        print("" if args.tables else "\nthe table of each: --tables, or one name\n")
        counts = f"{len(searches)} searches, {len(trials)} trials{_tuning(len(tuners(trials.values())))}"
        print(f"{args.file}: {len(plans)} definitions, {counts}; what several ask for runs once")
        print(price.say(price.of(searches, trials)))
        print(duration.say(searches, trials, speed, machine))
    if needed := price.memory(searches):
        print(price.say_memory(*needed))
    if names := list(dict.fromkeys(run.name for planned in plans for run in outdated(planned, args.runs))):
        print(f"{say(names)}; {advise(spec.paths(args.file), args.size, args.only or '')}")


def _print_table(planned: Plan, runs: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=f"{planned.name}: {escape(planned.benchmark.about)}", title_justify="left")
    for column in ("kind", "dataset", "network", "rules", "protocol", "epochs", "attacks / rates", "seeds"):
        table.add_column(column, justify="right" if column == "epochs" else "left", no_wrap=column == "seeds")
    for row in _rows(planned):
        table.add_row(*row)
    console.print(table)
    if planned.only:
        console.print(f"only     {escape(planned.only)}", highlight=False)
    for what, reason in planned.skipped:
        console.print(f"skipped  {escape(what)}: {escape(reason)}", highlight=False)
    if added := {name: version for run in planned.runs.values() for name, version in _plugins(run).items()}:
        console.print(f"plugins  {', '.join(' '.join(pair) for pair in added.items())}", highlight=False)
    if planned.comparisons:
        console.print(_say_comparisons(planned), highlight=False)
    files = [runs / where for where, _, _ in planned.files()]
    there = f"; {there} of {len(files)} results are there" if (there := sum(file.is_file() for file in files)) else ""
    console.print(f"{_counts(planned)}{there}; results in results/{planned.name}/", highlight=False)


def _counts(planned: Plan) -> str:
    return f"{len(planned.searches)} searches, {len(planned.trials)} trials{_tuning(len(planned.tuning))}"


def _plugins(run: Search | Trial) -> dict[str, str]:
    """Return {package: version} of the plugins of a run, its attacks' included."""
    evaluation = run.evaluation if isinstance(run, Trial) else None
    return {**run.plugins, **(evaluation.params.get("plugins", {}) if evaluation else {})}


def _say_comparisons(planned: Plan) -> str:
    """Say how many comparisons are corrected together, and what the first of them could see at best."""
    from suite.power import CLAIM_SEEDS, INTERVAL_SEEDS, LEVEL, detectable

    seeds = [len(comparison.seeds) for comparison in planned.comparisons]
    family, most = sum(n >= INTERVAL_SEEDS for n in seeds), max(seeds)
    if not family:
        return f"{len(seeds)} comparisons, each with too few seeds for an interval, which takes {INTERVAL_SEEDS}"
    smallest = f"with {most} seeds a difference is seen if it is {detectable(most, LEVEL / family):.2g} times its own standard deviation"
    claim = f"; that describes, and a claim takes {CLAIM_SEEDS} seeds" if most < CLAIM_SEEDS else ""
    return f"{len(seeds)} comparison{'s' if len(seeds) != 1 else ''}, {family} of them corrected together (Holm): {smallest}{claim}"


def _tuning(num: int) -> str:
    return f", {num} tuning trials" if num else ""


def _rows(planned: Plan) -> Iterator[tuple[str, ...]]:
    """Yield one row of the table for all runs that differ in their seed alone, or that choose one learning rate."""
    seeds: dict[tuple[tuple[str, ...], str], list[tuple[int, int, str]]] = {}
    runs: list[Search | Trial] = [*planned.searches.values(), *planned.tuning.values(), *planned.trials.values()]
    grids = {tuner.id: f"lr {', '.join(f'{rate:g}' for rate, _ in t.tuning)}" for t in planned.trials.values() for tuner in t.tuners}
    for run in runs:
        if isinstance(run, Search):
            kind, network, rules, attacks = "search", run.name, " ".join(run.rule_set), ""
        else:
            kind, network, rules = "tuning" if run.id in grids else "trial", run.name.rpartition("/")[0], run.rules
            attacks = grids.get(run.id) or _attacks(run)
        row: tuple[str, ...] = (kind, run.dataset, network, rules, ", ".join(run.protocols), str(run.settings["epochs"]))
        settings = {k: v for k, v in run.settings.items() if k != "lr" or run.id not in grids}
        seeds.setdefault((row, json.dumps(settings, sort_keys=True)), []).append((run.unit, run.seed, attacks))
    for (row, _), found in seeds.items():
        units = {unit for unit, _, _ in found}
        trainings = len({seed for _, seed, _ in found}) // len(units)
        yield (
            *row,
            " or ".join(dict.fromkeys(attacks for *_, attacks in found)),
            _ranges(units) + (f" × {trainings}" if trainings > 1 else ""),
        )


def _attacks(trial: Trial) -> str:
    """Return how many attacks there are on how many images, and what is analysed."""
    evaluation = trial.evaluation
    words = [f"{len(evaluation.attacks)} on {evaluation.images} images"] if evaluation and evaluation.attacks else []
    return ", ".join([*words, *(evaluation.analyses if evaluation else ()), *trial.track]) or "none"


def _ranges(numbers: Iterable[int]) -> str:
    """Return 0..2 5 for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may have seen enough
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.plan: {error}")
