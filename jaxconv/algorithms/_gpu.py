"""Which algorithm computes a corner on a GPU.

Sizes alone decide: a matrix product where there is no spatial axis, and where windows do not
overlap (tiles); shifts where there is one input channel a group and so no sum over channels; else
the routine that cuDNN has for the corner, and shifts once more where it has none.
"""

from . import _cudnn, _shifts, _tiles
from ._problem import Problem


def gpu_algorithm(problem: Problem) -> str:
    """The name of the algorithm; the same for each corner."""
    if not problem.geometry.rank and problem.geometry.groups == 1:
        return "direct"
    if not _tiles.why_not(problem):
        return "tiles"
    if _is_depthwise(problem) and not _shifts.why_not(problem):
        return "shifts"
    return "shifts" if _cudnn.why_not(problem) else "cudnn"


def _is_depthwise(problem: Problem) -> bool:
    """Whether feature groups have one channel each, and no zeros between their pixels."""
    _, geometry, _, c, _ = problem
    dilated = any(e > 1 for e in geometry.input_dilation)
    return geometry.groups > 1 and c == geometry.groups and not dilated
