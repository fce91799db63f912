"""Robust accuracy under a named attack, through the rule's gradient, the true one, or another network's (paper §3.5)."""

from bionas.attacks.cosine import gradient_cosine
from bionas.attacks.outcomes import CHUNK, Outcome, chunks, evaluate
from bionas.attacks.released import released_accuracy

__all__ = ["CHUNK", "Outcome", "chunks", "evaluate", "gradient_cosine", "released_accuracy"]
