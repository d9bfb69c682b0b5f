"""Which algorithm computes a corner on a GPU.

Sizes alone decide: tiles where windows do not overlap, which is a matrix product; shifts where
there is one input channel a group and so no sum over channels; else the routine that cuDNN has for
the corner.
"""

import math

from . import _tiles
from ._problem import Problem

# Shifts are unrolled; a larger depthwise window is left to cuDNN.
_MAX_SHIFTS = 128
# cuDNN convolves in one, two or three dimensions.
_MAX_RANK = 3


def gpu_algorithm(problem: Problem) -> str:
    """The name of the algorithm; the same for each corner."""
    geometry = problem.geometry
    if not _tiles.why_not(problem):
        return "tiles"
    depthwise = geometry.groups == problem.c and geometry.groups > 1
    if (
        depthwise
        and set(geometry.input_dilation) <= {1}
        and math.prod(geometry.window) <= _MAX_SHIFTS
    ):
        return "shifts"
    return "cudnn" if 1 <= geometry.rank <= _MAX_RANK else "shifts"
