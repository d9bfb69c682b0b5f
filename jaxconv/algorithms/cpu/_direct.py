"""The direct convolution on a CPU: when XLA's own convolution is slow there.

XLA collects patches in the caches and multiplies them. With several feature groups, with three
axes, or for few channels that is far from a matrix product's rate.
"""

import math

import jax.numpy as jnp
import numpy as np

from ..._spec import Slot
from .._problem import Problem
from ..shared._direct import Direct
from ._hints import HINTS
from ._jax_0_10 import KERNEL_VJP_FACTORS, STRIDED_WINDOWS, ynnpack_factor
from ._rates import CACHED, CACHED_KERNEL, LAUNCH, thin

# All factors say by how much a convolution is slower than a matrix product of as many operations.

_THREE_AXES = 5.0
_GROUPS, _GROUPS_ONE_TAP, _KERNEL_VJP_GROUPS = 7.0, 3.2, 4.0
_ONE_COLUMN = 15.0  # a product with a vector
_KERNEL_BEYOND_CACHE, _KERNEL_VJP_BEYOND_CACHE = 1.5, 1.3
_KERNEL_VJP_STRIDED_SIGNAL = 2.5  # one axis with a stride
_KERNEL_VJP_DILATED_INPUT = 10.0  # its zeros cost more than the elements between which they lie

# Patches of few channels are packed a few elements at a time, and those of one channel by rows of
# the window. These are the patch sizes that halve the speed, for one channel, for up to as many
# channels, and for more.
_HALF_SPEED_ONE, _HALF_SPEED_FEW, _HALF_SPEED = 20, 45, 16
_FEW_CHANNELS = 16

# A window of more taps than the map has elements: XLA exchanges the two, and convolves a map of
# many examples and channels with a kernel of few.
_EXCHANGED = 50.0

# Most zeros of a dilated map are skipped if they fill up to three places in four: the time falls
# with this power of the dilation. For few channels they are packed and multiplied. Of more zeros
# none are skipped.
_SKIPPING_POWER, _SKIPPING_HALF_SPEED = -0.8, 32
_MANY_ZEROS = 3.5


class CpuDirect(Direct):
    """XLA's own convolution on a CPU."""

    hints = HINTS

    def skips_zeros(self, dtype: np.dtype) -> bool:
        """XLA hands 64 bits to no library, and its own loops skip the padding."""
        return jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits == 64

    def cost(self, problem: Problem) -> float:
        """A product, or a convolution that is slower by what the sizes make of it."""
        if not problem.geometry.rank:
            return LAUNCH + product_cost(problem)
        if problem.slot == Slot.KERNEL:
            return LAUNCH + _kernel_vjp_factor(problem) * problem.operations
        return LAUNCH + _convolution_cost(problem) * ynnpack_factor(problem)


def product_cost(problem: Problem) -> float:
    """A matrix product for each group."""
    slot, geometry, n, c, o, _ = problem
    if slot == Slot.KERNEL:
        return problem.operations * thin(c, 32) * thin(o, 64) * thin(n, 128)
    c, o = c / geometry.groups, o / geometry.groups
    inner, columns = (c, o) if slot == Slot.OUTPUT else (o, c)
    return problem.operations * thin(n, 8) * thin(inner, 8) * thin(columns)


def _convolution_cost(problem: Problem) -> float:
    slot, geometry, n, c, o, _ = problem
    c, o = c / geometry.groups, o / geometry.groups
    if slot == Slot.OUTPUT:
        dilation, spacing = geometry.input_dilation, geometry.strides
        positions, rows, columns = geometry.output_size, c, o
    else:
        dilation, spacing = geometry.strides, geometry.input_dilation
        positions, rows, columns = geometry.input_size, o, c
    taps = math.prod(geometry.window)
    operations = 2.0 * n * math.prod(positions) * taps * c * o * geometry.groups
    slow = _THREE_AXES if geometry.rank > 2 else 1.0
    if geometry.groups > 1:
        slow *= _GROUPS if taps > 1 else _GROUPS_ONE_TAP
    many = _HALF_SPEED_FEW if rows <= _FEW_CHANNELS else _HALF_SPEED
    slow *= thin(rows * taps, _HALF_SPEED_ONE if rows == 1 else many)
    slow *= thin(columns) if columns > 1 else _ONE_COLUMN
    skipping = math.prod(dilation) ** _SKIPPING_POWER * thin(rows, _SKIPPING_HALF_SPEED)
    slow *= _by_spacing(math.prod(spacing), *STRIDED_WINDOWS)
    slow *= _by_spacing(math.prod(dilation), skipping, _MANY_ZEROS)
    if taps > math.prod(geometry.input_size if slot == Slot.OUTPUT else geometry.output_size):
        slow *= _EXCHANGED
    if geometry.rank == 2 and taps * c * o > CACHED_KERNEL:
        slow *= _KERNEL_BEYOND_CACHE
    return slow * operations


def _kernel_vjp_factor(problem: Problem) -> float:
    _, geometry, n, c, o, _ = problem
    y_elements, taps = n * math.prod(geometry.output_size) * o, math.prod(geometry.window)
    c, o = c / geometry.groups, o / geometry.groups
    spaced = max(*geometry.strides, *geometry.kernel_dilation) > 1
    many_taps, one_tap, one_tap_spaced = KERNEL_VJP_FACTORS[min(geometry.rank, 3)]
    slow = many_taps + (one_tap_spaced if spaced or y_elements > CACHED else one_tap) / taps
    # The rows of its product are channels and taps, the columns output channels.
    slow *= thin(c, 1) * thin(c * taps, 32) * thin(o, 8) ** 2 * ynnpack_factor(problem)
    slow *= _KERNEL_VJP_STRIDED_SIGNAL if geometry.rank == 1 and geometry.strides[0] > 1 else 1.0
    slow *= _KERNEL_VJP_BEYOND_CACHE if taps * c * o > CACHED_KERNEL else 1.0
    slow *= _KERNEL_VJP_DILATED_INPUT if max(geometry.input_dilation) > 1 else 1.0
    return slow * (_KERNEL_VJP_GROUPS if geometry.groups > 1 else 1.0)


def _by_spacing(spacing: int, few: float, many: float) -> float:
    """The factor for no spacing, 1; for at most three zeros in four places; and for more."""
    return 1.0 if spacing == 1 else few if spacing <= 4 else many
