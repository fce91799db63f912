"""The search network, whose every edge mixes all of its candidates: plain, and fused."""

from bionas.supernet.network import Paths, Supernet, Weights, initialise_alphas, steady

__all__ = ["Paths", "Supernet", "Weights", "initialise_alphas", "steady"]
