"""BioNAS: neural architecture search whose search space holds learning rules beside operations.

What a user of the library wants is here, and loaded when it is asked for: `import bionas` itself imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; the table below is what runs
    from bionas.attacks import evaluate as evaluate
    from bionas.networks import Network as Network
    from bionas.networks import resnet20 as resnet20
    from bionas.networks import resnet56 as resnet56
    from bionas.rules import RuleConv2d as RuleConv2d
    from bionas.rules import RuleLinear as RuleLinear
    from bionas.rules import advance as advance
    from bionas.rules import convert as convert
    from bionas.rules import seed_feedback as seed_feedback
    from bionas.rules import true_gradient as true_gradient
    from bionas.space import Genotype as Genotype
    from bionas.space import SearchSpace as SearchSpace
    from bionas.supernet import Supernet as Supernet

__version__ = "0.1.0"

_ROOMS = {
    "attacks": ("evaluate",),
    "networks": ("Network", "resnet20", "resnet56"),
    "rules": ("RuleConv2d", "RuleLinear", "advance", "convert", "seed_feedback", "true_gradient"),
    "space": ("Genotype", "SearchSpace"),
    "supernet": ("Supernet",),
}
__all__ = [name for names in _ROOMS.values() for name in names]


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"bionas.{room}"), name)
    if name in _ROOMS:
        return import_module(f"bionas.{name}")
    raise AttributeError(f"bionas has no {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
