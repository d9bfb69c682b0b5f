"""The algorithm for TPUs, and for every platform that has no folder of its own.

XLA's own convolution is what these platforms' compilers are made for. Nothing else has been tried.
"""

from .._catalogue import Catalogue, Choice
from .._problem import Problem
from ..shared._direct import Direct

CATALOGUE = Catalogue([Direct()])


def choose(problem: Problem, platform: str) -> Choice:
    """The direct convolution."""
    plan = CATALOGUE.plan("direct", problem)
    return Choice(plan, f"the convolution that XLA knows best on {platform}")
