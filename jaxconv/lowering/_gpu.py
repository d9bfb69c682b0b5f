"""Which algorithm computes a corner on a GPU.

Sizes alone decide, so that the rule can be read off a geometry: patches where windows do not
overlap, which is a matrix product; shifts where there is one input channel a group and so no sum
over channels; else the routine that cuDNN has for the corner.
"""

import math

from .._geometry import Geometry
from . import _patches

# Shifts are unrolled; a larger depthwise window is left to cuDNN.
_MAX_SHIFTS = 128
# cuDNN convolves in one, two or three dimensions.
_MAX_RANK = 3


def gpu_algorithm(geometry: Geometry, channels: int) -> str:
    """The name of the algorithm, for `channels` input channels in all; the same for each corner."""
    if _patches.fits(geometry):
        return "patches"
    depthwise = geometry.groups == channels and geometry.groups > 1
    if (
        depthwise
        and set(geometry.input_dilation) <= {1}
        and math.prod(geometry.window) <= _MAX_SHIFTS
    ):
        return "shifts"
    return "cudnn" if 1 <= geometry.rank <= _MAX_RANK else "shifts"
