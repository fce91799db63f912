"""Networks under learning rules: built from genotypes, the ResNet baselines, and the parts of which they are made."""

from bionas.networks.cells import Network
from bionas.networks.parts import DEFAULTS, Normalize, Options, evaluating, initialise
from bionas.networks.resnet import resnet20, resnet56

__all__ = [
    "DEFAULTS",
    "Network",
    "Normalize",
    "Options",
    "evaluating",
    "initialise",
    "resnet20",
    "resnet56",
]
