"""How numbers are drawn: the figures by the names that the page's templates have for them."""

from reports.charts.accuracy import errors
from reports.charts.cost import cost
from reports.charts.curves import curves
from reports.charts.genotype import genotype
from reports.charts.robustness import attacked, budgets, worst
from reports.charts.searches import alphas, searches

__all__ = ["alphas", "attacked", "budgets", "cost", "curves", "errors", "genotype", "searches", "worst"]
