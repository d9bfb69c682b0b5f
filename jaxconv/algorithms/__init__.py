"""The execution: which algorithm computes a corner of the triangle, on which platform.

The mathematics lives in `ops`; here live its algorithms, one file each. All of them are pure
functions of the operands in slot order (x, k, y, less the corner's own) and static values: the
`Geometry`, the dtypes of the three slots, and the precision that lax understands.

    direct     XLA's own convolution, in the layout that it knows best
    patches    taps folded into channels: im2col and its relatives, a matrix product
    phases     strides and input dilation taken apart: sub-pixel convolution, space to depth
    tiles      windows that do not overlap: a matrix product without copies of pixels
    halves     what these leave of a kernel gradient: two products of tall matrices at once
    pointwise  what they leave otherwise: a product of many rows as a pointwise convolution
    strips     few channels: rows cut into strips, with a banded kernel
    taps       few channels a group, depthwise too: shifted slices times numbers
    fourier    large windows: a basis in which the trilinear form is diagonal; on request only
    group_by_group  feature groups in a loop, each with the algorithm that suits it
    widened    the direct convolution where XLA of JAX 0.10 is slow at what was asked for
    cudnn      the forms that XLA turns into cuDNN's routines, with `shifts` for depthwise layers

Patches and phases rearrange a corner into another one and leave that to the others: a *plan* is a
chain of algorithms. `_registry` lists them, `_costs` estimates each, `_selection` chooses,
`_tuning` remembers what was measured on a machine, and `jaxconv.explain` shows it all.

Known by other names: patches are im2col (Chellapilla, Puri & Simard, 2006), phases the sub-pixel
convolution (Shi et al., 2016, arXiv:1609.05158), and products in a Fourier basis are those of
Mathieu, Henaff & LeCun, 2014, arXiv:1312.5851. What they make of each corner is derived in their
files.

Pools have no choice to make: `_windows` adds windows up and `_maxima` finds their largest elements,
both with slices, `_side_by_side` does either with a reshape, and `_resampling` interpolates.
"""

from . import cpu as cpu
from ._arrays import accumulator as accumulator
from ._arrays import common_dtype as common_dtype
from ._arrays import of_whole_bytes as of_whole_bytes
from ._arrays import rotate_kernel as rotate_kernel
from ._arrays import with_zeros_multiplied as with_zeros_multiplied
from ._maxima import gather_windows as gather_windows
from ._maxima import index_dtype as index_dtype
from ._maxima import max_and_argmax as max_and_argmax
from ._maxima import max_of_windows as max_of_windows
from ._maxima import scatter_windows as scatter_windows
from ._maxima import spread_where_equal as spread_where_equal
from ._maxima import sum_where_equal as sum_where_equal
from ._problem import Problem as Problem
from ._registry import applicable as applicable
from ._registry import why_not as why_not
from ._resampling import Mixing as Mixing
from ._resampling import resample as resample
from ._resampling import resample_back as resample_back
from ._selection import ALGORITHMS as ALGORITHMS
from ._selection import GPU_PLATFORMS as GPU_PLATFORMS
from ._selection import Choice as Choice
from ._selection import Plan as Plan
from ._selection import choose as choose
from ._selection import every_plan as every_plan
from ._selection import plans as plans
from ._selection import problem_of as problem_of
from ._selection import run as run
from ._selection import run_algorithm as run_algorithm
from ._selection import why_not_by_default as why_not_by_default
from ._windows import spread_windows as spread_windows
from ._windows import sum_windows as sum_windows
