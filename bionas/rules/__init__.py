"""The learning rules: the table of equations, layers that learn by them, and what is done with whole models of such layers."""

from bionas import catalog
from bionas.rules.conversion import convert
from bionas.rules.layers import RuleConv2d, RuleLinear
from bionas.rules.models import Feedback, advance, connect_output, feedback_owners, seed_feedback, true_gradient

RULES = tuple(catalog.RULES)

__all__ = [
    "RULES",
    "Feedback",
    "RuleConv2d",
    "RuleLinear",
    "advance",
    "connect_output",
    "convert",
    "feedback_owners",
    "seed_feedback",
    "true_gradient",
]
