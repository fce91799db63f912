"""From a definition to the searches and trials that it asks for. Imports no torch."""

from suite.plan.expand import Plan, plan
from suite.plan.size import cut, load

__all__ = ["Plan", "cut", "load", "plan"]
