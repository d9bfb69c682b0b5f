"""What XLA of JAX 0.10 does differently on a CPU from later versions. No other file looks.

- It hands float32 convolutions over two axes to YNNPACK, which is slow at some of them.
- It drops optimization barriers before it fuses loops.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..._spec import Slot
from ..._typing import Array
from .._problem import Problem
from ..shared._direct import as_forward

IS_JAX_0_10 = jax.__version_info__ < (0, 11)

# Whether computing more outputs than asked for can be faster (`_extra_outputs.py`).
NEEDS_EXTRA_OUTPUTS = IS_JAX_0_10

# The shortest sum that `two_products` cuts in two. XLA of JAX 0.10 takes up to three times as long
# for two short products as for one.
SHORTEST_SUM_TO_CUT = 4096 if IS_JAX_0_10 else 2

# Examples whose products `taps` adds up before they go to the accumulator. XLA of JAX 0.10 makes
# slow loops of more than one.
EXAMPLES_ADDED_FIRST = 1 if IS_JAX_0_10 else 4

# Whether a product of many rows is faster as a convolution.
CONVOLUTIONS_BEAT_PRODUCTS = not IS_JAX_0_10

# Operations in the time in which `taps` adds one term to a strided place.
PLACED_TERM = 60.0 if IS_JAX_0_10 else 20.0

# By how much a direct convolution is slower for strides whose product is up to 4, and for larger
# ones. XLA of JAX 0.10 reads what lies between windows.
STRIDED_WINDOWS = (1.1, 1.8) if IS_JAX_0_10 else (1.0, 1.0)

# By how much a direct kernel gradient is slower than a matrix product. XLA convolves the input with
# a window as large as y for it, the slower the fewer places the result has, which are the taps. For
# three axes, and for feature groups, it falls back to a slower implementation. For each rank: the
# factor for many taps; what is added to it for a single tap; and what is added instead with a
# stride, with dilation, or where y exceeds the cache.
KERNEL_VJP_FACTORS = (
    {1: (1.5, 0.0, 0.0), 2: (3.3, 0.0, 0.0), 3: (10.0, 0.0, 0.0)}
    if IS_JAX_0_10
    else {1: (1.3, 2.0, 2.0), 2: (1.1, 2.0, 6.5), 3: (10.0, 0.0, 0.0)}
)

# YNNPACK takes convolutions with more channels than this, in or out, …
_YNNPACK_CHANNELS = 16
# … and without any padding it is slower by this factor, from as many input channels on.
_UNPADDED = 2.8
# With padding it is slower from this many input channels on. Measured: by 1.8, 1.2 and 1.1 for 64,
# 128 and 256 input channels, which 1 + (55 / c)² fits.
_PADDED_CHANNELS, _PADDED_SCALE = 48, 55


def ynnpack_factor(problem: Problem) -> float:
    """By how much a direct convolution is slower because XLA hands it to YNNPACK."""
    slot, geometry, n, c, o, _ = problem
    geometry = as_forward(slot, geometry)
    c, o = {Slot.OUTPUT: (c, o), Slot.INPUT: (o, c), Slot.KERNEL: (n, o)}[slot]
    handed_over = (
        IS_JAX_0_10
        and (geometry.rank, geometry.groups) == (2, 1)
        and max(c, o) > _YNNPACK_CHANNELS
        and set(geometry.input_dilation) == {1}
        and all(max(axis.r, axis.p) <= axis.i for axis in geometry.axes())
    )
    if not handed_over:
        return 1.0
    padded = any(side > 0 for sides in geometry.padding for side in sides)
    if not padded and c >= _YNNPACK_CHANNELS:
        return _UNPADDED
    return 1 + (_PADDED_SCALE / c) ** 2 if c >= _PADDED_CHANNELS else 1.0


def not_repeated(index: Array, count: int) -> Array:
    """Non-negative integers below `count`, not computed again by each loop that reads them.

    XLA of JAX 0.10 never repeats an operation that it considers expensive, such as a remainder. The
    divisor is the largest value of the dtype: it is above `count`, and no power of two, for which
    the remainder would be simplified.
    """
    above = jnp.iinfo(index.dtype).max
    if IS_JAX_0_10 and count <= above:
        return lax.rem(index, jnp.asarray(above, index.dtype))
    return index
