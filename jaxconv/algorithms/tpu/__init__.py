"""The algorithms for TPUs, and for every platform that has no folder of its own; pools on TPUs.

XLA's own convolution is what these platforms' compilers are made for, with gradients in the form of
lax's own. On TPUs, depthwise layers and gradients of max pools are left to kernels for the vector
unit. Other platforms than TPUs have the pools of `shared/`.
"""

from .._catalogue import Catalogue, Choice
from .._problem import Problem
from ._depthwise import Depthwise, suits
from ._direct import TpuDirect
from ._windows import max_and_argmax as max_and_argmax
from ._windows import max_of_windows as max_of_windows
from ._windows import scatter_windows as scatter_windows
from ._windows import spread_windows as spread_windows
from ._windows import sum_windows as sum_windows

CATALOGUE = Catalogue([TpuDirect(), Depthwise()])
# For platforms of which nothing is known: sums in float32 are asked for.
OTHERS = Catalogue([TpuDirect(rounds_once=False)])


def choose(problem: Problem, platform: str) -> Choice:
    """The direct convolution, or a kernel."""
    if platform == "tpu" and suits(problem):
        return Choice(CATALOGUE.plan("depthwise", problem), "a kernel that reads every map once")
    plan = CATALOGUE.plan("direct", problem)
    return Choice(plan, f"the convolution that XLA knows best on {platform}")
