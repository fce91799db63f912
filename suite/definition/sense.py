"""What the format alone cannot see: settings that exclude each other, names of nothing, bounds that no number keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bionas import catalog
from data_prep import Variant
from suite.definition.benchmark import RETRAINING, Benchmark
from suite.definition.schema import protocol_settings


def check(benchmark: Benchmark) -> None:
    """Raise ValueError with one line for what makes no sense."""
    if benchmark.name == "runs" or benchmark.name.endswith("-tiny"):
        raise ValueError(f"name: {benchmark.name!r} is reserved")
    if not (benchmark.models or benchmark.searches or benchmark.cells):
        raise ValueError("nothing to run; allowed: one or more of the keys models, search and cells")
    names = [protocol.name for protocol in benchmark.protocols]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"protocols: {name!r} stands twice")
    searches = [name for search in benchmark.searches for name in search.names]
    for name in searches:
        if searches.count(name) > 1:
            raise ValueError(f"search: {name!r} stands twice")
    for i, cells in enumerate(benchmark.cells):
        for name in cells.searches or ():
            catalog.choose(f"cells.{i}.searches", name, searches)
        if not cells.genotypes and not (searches if cells.searches is None else cells.searches):
            raise ValueError(f"cells.{i}: no genotype to build; name published ones, or a search")
        for seeds in [protocol.seeds or benchmark.seeds for protocol in benchmark.protocols]:
            if cells.found_by is not None and cells.found_by not in seeds:
                raise ValueError(f"cells.{i}.found_by: found {cells.found_by}; allowed: one of the seeds {', '.join(map(str, seeds))}")
        largest = max([*benchmark.seeds, *(seed for protocol in benchmark.protocols for seed in protocol.seeds)])
        if cells.retrainings > 1 and largest >= RETRAINING:
            raise ValueError(f"seeds: found {largest}; allowed with cells.{i}.retrainings: below {RETRAINING}, so that none meet")
    _check_tuning(benchmark)
    for name in benchmark.models.names if benchmark.models else ():
        for dataset in benchmark.datasets:
            side, found = catalog.SIDES.get(name), Variant.parse(dataset).size.side
            if side and side != found:
                raise ValueError(f"models.names: {name} takes images of {side}×{side}; {dataset} has {found}×{found}; set its resolution")
    rules = benchmark.models.rules if benchmark.models else ()
    for protocol in [protocol.name for protocol in benchmark.protocols]:
        for section, written in _written_settings(benchmark):
            merged = {**protocol_settings(protocol, section.partition(".")[0]), **written}
            if merged.get("selection") == "best_val" and not merged["holdout"]:
                raise ValueError(
                    f"{section}.settings.selection: 'best_val' needs a held-out share; set holdout above 0, or selection: last"
                )
            if merged["nesterov"] and not merged["momentum"]:
                raise ValueError(f"{section}.settings.nesterov: needs a momentum above 0")
            if merged.get("backend") == "biotorch":
                if (merged["scale"], merged["init"]) != ("init_std", "xavier"):
                    raise ValueError(f"{section}.settings.backend: biotorch's layers know scale 'init_std' and init 'xavier' alone")
                for name in ("precision", "compile"):  # they crash, or are redrawn inside the graph
                    if merged[name] != (off := catalog.SPEED[name][0]):
                        raise ValueError(f"{section}.settings.{name}: {merged[name]!r} is not for biotorch's layers; allowed: {off}")
                own = section.removeprefix("models.by_rule.")
                for rule in (own,) if own != section else rules:
                    if rule not in catalog.BIOTORCH:
                        raise ValueError(f"{section}.settings.backend: biotorch has no rule {rule!r}; allowed for it: native")
            if merged.get("compile", "none") != "none":
                _check_compiled(section, merged, benchmark)
        for i, search in enumerate(benchmark.searches):
            merged = {**protocol_settings(protocol, "search", "eg"), **search.settings}
            if merged["warmup"] >= merged["epochs"] and "eg" in search.methods:
                raise ValueError(f"search.{i}.settings.warmup: {merged['warmup']} epochs leave none of {merged['epochs']} to explore in")
    known = sorted({*benchmark.seeds, *(seed for protocol in benchmark.protocols for seed in protocol.seeds)})
    for attack in benchmark.attacks.each if benchmark.attacks else ():
        for seed in attack.seeds or ():
            if seed not in known:
                raise ValueError(f"attacks: {attack.label}: seeds: found {seed}; allowed: the definition's {', '.join(map(str, known))}")
    for pattern, bounds in benchmark.expect.items():
        for metric, bound in bounds.items():
            if bound.get("at_least", -math.inf) > bound.get("at_most", math.inf):
                raise ValueError(f"expect.{pattern}.{metric}: at_least lies above at_most; no number can keep both")


def _check_tuning(benchmark: Benchmark) -> None:
    """Refuse a rate beside the grid that would choose it, and seeds whose networks there are not."""
    tuned = [("models", benchmark.models.tune)] if benchmark.models else []
    tuned += [(f"cells.{i}", cells.tune) for i, cells in enumerate(benchmark.cells)]
    for where, tune in tuned:
        if tune is None:
            continue
        for section, written in _written_settings(benchmark):
            if f"{section}.".startswith(f"{where}.") and "lr" in written:
                place = section if "by_" in section else f"{section}.settings"
                raise ValueError(f"{place}.lr: {written['lr']} beside {where}.tune, which chooses it; allowed: one of the two")
        for seed in tune.seeds or ():
            if seed not in benchmark.seeds:
                raise ValueError(f"{where}.tune.seeds: found {seed}; allowed: the definition's {', '.join(map(str, benchmark.seeds))}")


def _check_compiled(section: str, merged: Mapping[str, Any], benchmark: Benchmark) -> None:
    """Refuse what a graph of one training step cannot hold."""
    where = f"{section}.settings.compile"
    if merged["compile"] == "cudagraphs" and benchmark.device != "cuda":
        raise ValueError(f"{where}: cudagraphs needs device: cuda; found {benchmark.device}")
    if merged.get("drop_path"):
        raise ValueError(f"{where}: a network that drops paths is another one in every epoch; set drop_path: 0")
    if merged["brsf_redraw"] == "forward":
        raise ValueError(f"{where}: brsf_redraw 'forward' draws in every step; set brsf_redraw: update")
    if benchmark.models and section.startswith("models"):
        for rule in set(benchmark.models.rules) & catalog.NETWORK_RULES.keys():
            raise ValueError(f"{where}: {rule!r} listens at the network's output, outside the graph; allowed with it: none")


def _written_settings(benchmark: Benchmark) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if models := benchmark.models:
        yield "models", models.settings
        for rule, settings in models.by_rule.items():
            yield f"models.by_rule.{rule}", {**models.settings, **settings}
    for i, search in enumerate(benchmark.searches):
        yield f"search.{i}", search.settings
    for i, cells in enumerate(benchmark.cells):
        yield f"cells.{i}", cells.settings
        for method, settings in cells.by_method.items():
            yield f"cells.{i}.by_method.{method}", {**cells.settings, **settings}
