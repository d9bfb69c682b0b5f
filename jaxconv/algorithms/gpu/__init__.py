"""The algorithms for GPUs, of NVIDIA and AMD, and the choice between them.

Sizes alone decide, because nothing has been measured on a GPU:

- a matrix product where there is no spatial axis (`direct`), or where windows do not overlap
  (`tiles`);
- `shifts` for depthwise layers, where there is no sum over channels;
- `cudnn` otherwise, which writes each contraction in the form that XLA turns into the cuDNN routine
  made for it; and `shifts` where cuDNN has no routine, for more than three spatial axes.
"""

from ..._spec import ConvSpec
from .._catalogue import Catalogue, Choice
from .._problem import Problem
from ..shared._direct import Direct
from ..shared._tiles import Tiles
from ._cudnn import Cudnn
from ._shifts import Shifts

CATALOGUE = Catalogue([Direct(), Tiles(), Cudnn(), Shifts()])


def choose(problem: Problem, spec: ConvSpec) -> Choice:
    """The algorithm for a contraction's sizes; `direct` where it must not run unasked."""
    name = algorithm_for(problem)
    if CATALOGUE.algorithms[name].default_refusal(problem, spec.forward):
        name = "direct"
    return Choice(CATALOGUE.plan(name, problem), "what XLA runs best on a GPU")


def algorithm_for(problem: Problem) -> str:
    """The name of the algorithm for a problem's sizes, the same for all of its contractions."""
    algorithms = CATALOGUE.algorithms
    if not problem.geometry.rank and problem.geometry.groups == 1:
        return "direct"
    if not algorithms["tiles"].refusal(problem):
        return "tiles"
    if _is_depthwise(problem) and not algorithms["shifts"].refusal(problem):
        return "shifts"
    return "shifts" if algorithms["cudnn"].refusal(problem) else "cudnn"


def _is_depthwise(problem: Problem) -> bool:
    """Whether feature groups have one input channel each, and the input is not dilated."""
    geometry = problem.geometry
    dilated = any(e > 1 for e in geometry.input_dilation)
    return geometry.groups > 1 and problem.c == geometry.groups and not dilated
