"""Networks under learning rules: built from genotypes, the ResNet baselines, and the parts of which they are made."""

from bionas.networks.cells import Network
from bionas.networks.parts import Normalize, evaluating, initialise
from bionas.networks.resnet import resnet20, resnet56

__all__ = ["Network", "Normalize", "evaluating", "initialise", "resnet20", "resnet56"]
