"""Which algorithm computes a corner on a GPU.

Sizes alone decide: tiles where windows do not overlap, which is a matrix product; shifts where
there is one input channel a group and so no sum over channels; else the routine that cuDNN has for
the corner, and shifts once more where it has none.
"""

from . import _cudnn, _taps, _tiles
from ._problem import Problem


def gpu_algorithm(problem: Problem) -> str:
    """The name of the algorithm; the same for each corner."""
    if not _tiles.why_not(problem):
        return "tiles"
    if problem.geometry.groups > 1 and not _taps.why_not(problem):
        return "shifts"
    return "shifts" if _cudnn.why_not(problem) else "cudnn"
