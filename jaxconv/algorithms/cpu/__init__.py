"""The algorithms for CPUs, the choice between them, and pools as XLA's CPU compiler runs them best.

    direct          XLA's own convolution, in the layout that it knows best
    onednn          oneDNN's convolution, inside jaxlib; runs only where the user switches it on
    two_products    a kernel gradient's product of tall matrices, as two products at once
    pointwise       a product of many rows, as a convolution
    strips          few channels: rows cut into strips, with a banded kernel
    fourier         large windows: a basis in which T is diagonal; runs only if asked for
    taps            few channels a group: shifted slices times the taps of the kernel
    tiles           windows that do not overlap: a matrix product without copies of elements
    phases          strides and input dilation taken apart
    *_patches       taps folded into channels: im2col and its relatives
    *_depth         the same for the first spatial axis alone
    group_by_group  feature groups in a loop, each with the algorithm that suits it
    extra_outputs   the direct convolution where XLA of JAX 0.10 is slow at what was asked for

XLA's convolution is seldom the fastest on a CPU, and which algorithm is depends on all sizes. So
each algorithm estimates its time, and the plan with the lowest estimate runs, or the one that an
active `tuning` has measured to be faster. Half precision is summed in float32 and chosen for as
float32 is. Integers and complex numbers are convolved directly.

Patches, phases, strips and tiles rearrange a contraction and leave the new one to another
algorithm. So a plan is a chain of algorithms. The class of an algorithm says which remainders it
takes.
"""

from functools import partial

import jax.numpy as jnp

from ..._spec import ConvSpec
from .. import tuning
from .._catalogue import Catalogue, Choice
from .._problem import Problem
from ..shared import _maxima, _sums
from ..shared._resampling import resample as resample
from ..shared._resampling import resample_back as resample_back
from ._direct import CpuDirect
from ._extra_outputs import ExtraOutputs
from ._fourier import Fourier
from ._group_by_group import GroupByGroup
from ._hints import HINTS
from ._jax_0_10 import NEEDS_EXTRA_OUTPUTS
from ._onednn import OneDnn
from ._onednn_support import probe_onednn as probe_onednn
from ._onednn_support import why_not_supported
from ._patches import INPUT_DEPTH, INPUT_PATCHES, OUTPUT_DEPTH, OUTPUT_PATCHES, SPLIT_PATCHES
from ._phases import Phases
from ._pointwise import Pointwise
from ._rates import STRIDED as STRIDED
from ._strips import Strips
from ._taps import Taps
from ._tiles import CpuTiles
from ._two_products import TwoProducts

CATALOGUE = Catalogue(
    [
        CpuDirect(),
        OneDnn(),
        *([ExtraOutputs()] if NEEDS_EXTRA_OUTPUTS else []),
        TwoProducts(),
        Pointwise(),
        Strips(),
        Fourier(),
        Taps(),
        CpuTiles(),
        Phases(),
        INPUT_PATCHES,
        OUTPUT_PATCHES,
        SPLIT_PATCHES,
        INPUT_DEPTH,
        OUTPUT_DEPTH,
        GroupByGroup(),
    ]
)

_WITHOUT_ONEDNN = Catalogue(
    algorithm for name, algorithm in CATALOGUE.algorithms.items() if name != OneDnn.name
)

# Half precision is added up in float32 by every algorithm, so its estimates are those of float32.
ESTIMATED_DTYPES = tuple(map(jnp.dtype, (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16)))


def catalogue() -> Catalogue:
    """The algorithms that may run in the program that is being compiled."""
    return _WITHOUT_ONEDNN if why_not_supported() else CATALOGUE


def choose(problem: Problem, spec: ConvSpec) -> Choice:
    """The plan that was measured to be the fastest, else the one with the lowest estimate."""
    if problem.dtype not in ESTIMATED_DTYPES:
        plan = CATALOGUE.plan("direct", problem)
        return Choice(plan, "the others are for floating-point dtypes of 16 to 64 bits")
    found = catalogue().plans(problem, spec.forward)
    measured = tuning.choice(problem, "cpu")
    for plan in found:
        if plan.name == measured:
            return Choice(plan, "measured to be the fastest, by the active tuning")
    return Choice(found[0], "the lowest estimate")


# The pools of `algorithms`, with hints. The signatures are the same.
max_of_windows = partial(_maxima.max_of_windows, hints=HINTS)
max_and_argmax = partial(_maxima.max_and_argmax, hints=HINTS)
gather_windows = partial(_maxima.gather_windows, hints=HINTS)
scatter_windows = partial(_maxima.scatter_windows, hints=HINTS)
sum_where_equal = partial(_maxima.sum_where_equal, hints=HINTS)
spread_where_equal = partial(_maxima.spread_where_equal, hints=HINTS)
sum_windows = partial(_sums.sum_windows, hints=HINTS)
spread_windows = partial(_sums.spread_windows, hints=HINTS)
