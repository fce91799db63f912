"""What is done to every trained trial: its attacks, through which gradients and on whose images, and its analyses. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bionas import catalog
from data_prep import Variant
from suite.definition.benchmark import Attack, Benchmark
from suite.definition.runs import Attacked, Evaluation, Trial


@dataclass(frozen=True)
class Asked:
    """A trial that a definition asks for, before it is known what is done to it.

    `alike` is equal for trials that are the same but for their rules, and for what a definition says of one rule alone; `plain`: all of
    the network learns by BP; `switchable`: its feedback can be switched off.
    """

    trial: Trial
    alike: tuple[Any, ...]
    plain: bool
    switchable: bool = True


def evaluated(benchmark: Benchmark, asked: Sequence[Asked], skipped: dict[str, str]) -> Iterator[Trial]:
    """Yield the trials with what is done to them. Raises ValueError if an attack is for networks that there are not."""
    if benchmark.attacks:
        networks = sorted({one.trial.network for one in asked})
        for attack in benchmark.attacks.each:
            for name in attack.networks or ():
                catalog.choose(f"attacks: {attack.label}: networks", name, networks)
    tracked = [
        dataclasses.replace(one, trial=dataclasses.replace(one.trial, track=_analysed(benchmark, one, skipped, tracked=True)))
        for one in asked
    ]
    twins = {(one.alike, one.trial.rules, one.trial.seed): one for one in tracked}
    for one in tracked:
        attacks = [attack for attack in benchmark.attacks.each if _meant(attack, one.trial, skipped)] if benchmark.attacks else []
        sources: dict[str, str] = {}
        for rule in sorted({rule for attack in attacks for rule in attack.transfer_from if catalog.ATTACKS[attack.name].uses_gradient}):
            # Of a seed that one assignment is trained with several times, and the other once, there is but that one.
            twin = twins.get((one.alike, rule, one.trial.seed)) or twins.get((one.alike, rule, one.trial.unit))
            reason = _unfit(one, rule, twin)
            if twin and not reason:
                sources[rule] = twin.trial.id
            else:
                skipped[f"attacks on {one.trial.name if twin is not one else rule} with images made on {rule}"] = reason
        found = [Attacked(a.label, a.name, a.parameters, tuple(_gradients(a, one, sources, skipped))) for a in attacks]
        found = [attacked for attacked in found if attacked.gradients]
        evaluation = Evaluation(
            attacks=tuple(found),
            images=benchmark.attacks.images if benchmark.attacks and found else 0,
            analyses=_analysed(benchmark, one, skipped, tracked=False),
            released=tuple(attack.label for attack in attacks if attack.released),
            sources=sources,
            switchable=one.switchable,
        )
        yield dataclasses.replace(one.trial, evaluation=evaluation if found or evaluation.analyses else None)


def _meant(attack: Attack, trial: Trial, skipped: dict[str, str]) -> bool:
    """Whether an attack is one on this trial."""
    if trial.network not in (attack.networks or (trial.network,)) or trial.unit not in (attack.seeds or (trial.unit,)):
        return False
    needed, classes = catalog.ATTACKS[attack.name].classes, Variant.parse(trial.dataset).size.classes
    if classes < needed:
        skipped[f"{attack.label} on {trial.dataset}"] = f"it takes {needed} classes or more; there are {classes}"
    return classes >= needed


def _gradients(attack: Attack, one: Asked, sources: Mapping[str, str], skipped: dict[str, str]) -> Iterator[str]:
    """Yield through which gradients an attack goes."""
    if not catalog.ATTACKS[attack.name].uses_gradient:
        yield "none"
        return
    yield from (f"from-{rule}" for rule in sources if rule in attack.transfer_from)
    for gradient in attack.gradients:
        if gradient == "true" and not one.switchable:
            skipped["attacks on biotorch's layers through the true gradient"] = "their feedback cannot be switched off"
        elif gradient == "rule" and one.plain and one.switchable and "true" in attack.gradients:
            skipped["attacks on bp through the rule"] = "bp's own gradient is the true one, which runs"
        else:
            yield gradient


def _unfit(one: Asked, rule: str, twin: Asked | None) -> str:
    """Say why this twin makes no images, if it does not."""
    if one is twin or (one.plain and rule == "bp"):
        return "that is the network itself, and its true gradient"
    if one.trial.rules in ("uninformed", "random"):
        return "its genotype is its own, so that no other network is the same but for its rules"
    if twin is None:
        return f"the definition has no trial that is the same but under {rule}"
    return "" if twin.switchable else "the feedback of biotorch's layers cannot be switched off"


def _analysed(benchmark: Benchmark, one: Asked, skipped: dict[str, str], tracked: bool) -> tuple[str, ...]:
    """Return the analyses of a trained trial, or those of its training, which are `tracked`."""
    names = sorted(name for name in benchmark.analyses if catalog.ANALYSES[name].tracked == tracked)
    if not one.switchable:
        skipped |= {
            f"analysis of biotorch's layers: {name}": "their feedback cannot be switched off" for name in names if name != "weights"
        }
        names = [name for name in names if name == "weights"]
    return tuple(names)
