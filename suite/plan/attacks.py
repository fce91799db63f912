"""What is done to every trial once it is trained: its attacks, each through which gradients and from which other network. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bionas import catalog
from data_prep import Variant
from suite.definition.benchmark import Attacks, Benchmark
from suite.definition.runs import Attacked, Evaluation, Trial


@dataclass(frozen=True)
class Asked:
    """A trial that a definition asks for; `alike` is the same of all those that are the same but for their rules, and what is said of one."""

    trial: Trial
    alike: tuple[Any, ...]
    plain: bool  # all of its network learns by BP


def evaluation_of(benchmark: Benchmark, dataset: str, plain: bool, switchable: bool, skipped: dict[str, str]) -> Evaluation | None:
    """Return what is done to a trial, without transfers; `plain` as in `Asked`, `switchable`: its feedback can be switched off."""
    found, released = [], []
    classes = Variant.parse(dataset).size.classes
    for attack in benchmark.attacks.each if benchmark.attacks else ():
        spec = catalog.ATTACKS[attack.name]
        if classes < spec.classes:
            skipped[f"{attack.label} on {dataset}"] = f"it takes {spec.classes} classes or more; there are {classes}"
            continue
        gradients = []
        for gradient in attack.gradients if spec.uses_gradient else ("none",):
            if gradient == "true" and not switchable:
                skipped["attacks on biotorch's layers through the true gradient"] = "their feedback cannot be switched off"
            elif gradient == "rule" and plain and switchable and "true" in attack.gradients:
                skipped["attacks on bp through the rule"] = "bp's own gradient is the true one, which runs"
            else:
                gradients.append(gradient)
        found.append(Attacked(attack.label, attack.name, attack.parameters, tuple(gradients)))
        released += [attack.label] if attack.released else []
    analyses = tuple(sorted(name for name in benchmark.analyses if name not in catalog.TRACKED))
    if not (found or analyses):
        return None
    images = benchmark.attacks.images if benchmark.attacks else 0
    return Evaluation(tuple(found), images, analyses, tuple(released), switchable=switchable)


def with_sources(attacks: Attacks | None, asked: Sequence[Asked], skipped: dict[str, str]) -> Iterator[Trial]:
    """Yield the trials with the attacks whose images another one makes: the same but for its rules, trained with the same seed."""
    wanted = {attack.label: attack.transfer_from for attack in attacks.each if catalog.ATTACKS[attack.name].uses_gradient} if attacks else {}
    rules = sorted({rule for some in wanted.values() for rule in some})
    twins = {(one.alike, one.trial.rules, one.trial.seed): one.trial for one in asked}
    for one in asked:
        if one.trial.evaluation is None:
            yield one.trial
            continue
        sources: dict[str, str] = {}
        for rule in rules:
            # Of a seed that one assignment is trained with several times, and the other once, there is but that one.
            twin = twins.get((one.alike, rule, one.trial.seed)) or twins.get((one.alike, rule, one.trial.unit))
            reason = _unfit(one, rule, twin)
            if twin and not reason:
                sources[rule] = twin.id
            else:
                skipped[f"attacks on {one.trial.name} by images made on {rule}"] = reason
        yield dataclasses.replace(one.trial, evaluation=_given(one.trial.evaluation, sources, wanted))


def _unfit(one: Asked, rule: str, twin: Trial | None) -> str:
    """Say why this twin makes no images, if it does not."""
    if one.trial is twin or (one.plain and rule == "bp"):
        return "that is the network itself, through its true gradient"
    if one.trial.rules in ("uninformed", "random"):
        return "its genotype is its own, so that no other network is the same but for its rules"
    if twin is None:
        return f"the definition has no trial that is the same but under {rule}"
    return "the feedback of biotorch's layers cannot be switched off" if twin.settings.get("backend") == "biotorch" else ""


def _given(evaluation: Evaluation, sources: Mapping[str, str], wanted: Mapping[str, Sequence[str]]) -> Evaluation | None:
    """Return the evaluation with its transfers, and without attacks that no gradient is left for; none if nothing is left."""
    attacks = []
    for attacked in evaluation.attacks:
        others = [f"from-{rule}" for rule in sources if rule in wanted.get(attacked.label, ())]
        if gradients := (*others, *attacked.gradients):
            attacks.append(dataclasses.replace(attacked, gradients=gradients))
    if not (attacks or evaluation.analyses):
        return None
    return dataclasses.replace(evaluation, attacks=tuple(attacks), images=evaluation.images if attacks else 0, sources=sources)
