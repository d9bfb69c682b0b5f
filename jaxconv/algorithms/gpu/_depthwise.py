"""The kernel gradient of depthwise layers in one pass over both maps.

A depthwise layer has no sum over channels, so a GPU spends its time on memory. The forward pass and
the input gradient of `shifts` are one pass already. The kernel gradient is R sums over all examples
and positions,

    k_bar[r,o] = Σ_np x[n, s·p + d·r - lo, o // m] y_bar[n,p,o],      m = o/c                  (1)

for which XLA reads both maps once for each tap. The kernel here keeps all R sums in registers.

    strip    W neighbouring positions of one row of outputs, along the last spatial axis
    thread   one channel of one strip
    block    32 channels of 8 strips, then the next 8

For each strip a thread reads W elements of y_bar. For each row of taps it reads the elements of x
that the strip sees, (W-1)·s + (R_w-1)·d + 1 of them, or less with gaps, and uses each in all
products of (1) that contain it. For a window of 3x3 and W = 7 that is 5 reads for 9 products. A
block adds up its strips and writes R·32 numbers. One small reduction adds up the blocks. The order
of all additions is fixed, and with it every bit.

There are at least as many blocks as multiprocessors, if there are strips enough. Beyond that a
block takes so many strips that the numbers it writes are few beside those it reads.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._problem import Problem
from ..shared._arrays import add_up
from ..shared._dtypes import common_dtype, to_accumulator
from ..shared._kernels import kernel_or_plain, result_of
from ..shared._taps import all_taps
from ._shifts import Shifts

STRIPS, CHANNELS, WARPS = 8, 32, 8  # of a block: a thread for each channel of each strip
LONGEST_STRIP = 8
MAX_SUMS = 64  # a thread has 255 registers
FEWEST_BLOCKS = 128  # about the multiprocessors of a GPU
MOST_BLOCKS = 2048  # where each still has work enough
READS_FOR_A_WRITE = 8


class Depthwise(Shifts):
    """(1) as one kernel; the other contractions are those of `shifts`."""

    name = "depthwise"

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve) -> Kernel:
        """∂T/∂k: (1)."""
        shape = spec.shape_of(Slot.KERNEL, x.shape, y.shape)
        like = jax.ShapeDtypeStruct(shape, spec.dtypes.k)
        if common_dtype(x.dtype, y.dtype) not in _DTYPES or max(x.size, y.size) >= 2**31:
            return stacked(x, y, spec=spec)
        return kernel_or_plain("cuda", one_pass, stacked, like, x, y, spec=spec)

    def why_not(self, problem: Problem) -> str:
        """Why it is not a depthwise layer of few taps; empty if it is."""
        geometry = problem.geometry
        if not geometry.rank:
            return "there is no spatial axis"
        if problem.c != geometry.groups or geometry.groups == 1:
            return "feature groups have more than one input channel, or there is only one"
        if any(e > 1 for e in geometry.input_dilation):
            return "the input is dilated"
        if geometry.window[-1] > MAX_SUMS:
            return f"a row of the window has more than {MAX_SUMS} taps"
        return super().why_not(problem)


_DTYPES = tuple(map(np.dtype, (jnp.float32, jnp.bfloat16, jnp.float16)))


def stacked(x: Array, y: Array, *, spec: ConvSpec) -> Array:
    """(1) as one reduction of the products of all taps, which XLA doesn't write to memory."""
    x, y = to_accumulator(spec.dtypes.k, x, y)
    x = jnp.repeat(x, y.shape[-1] // x.shape[-1], axis=-1)
    products = jnp.stack([x_r * y for x_r in all_taps(x, spec.geometry)])
    sums = jnp.sum(products, axis=range(1, products.ndim - 1))
    return sums.reshape(*spec.geometry.window, 1, -1).astype(spec.dtypes.k)


@dataclass(frozen=True)
class _Tiling:
    """How (1) is shared out."""

    strip: int  # W
    strips_in_row: int
    tap_rows: int  # the rows of taps that a block has sums for
    tap_blocks: int
    channel_blocks: int
    rounds: int  # how many times STRIPS strips a block takes
    blocks: int


def _tiling(geometry: Geometry, n: int, o: int) -> _Tiling:
    *_, axis = geometry.axes()
    strip = min(
        range(1, LONGEST_STRIP + 1), key=lambda w: -(-axis.p // w) * (len(_seen(axis, w)) + 1)
    )
    strips_in_row = -(-axis.p // strip)
    all_rows = math.prod(geometry.window[:-1])
    tap_rows = min(all_rows, MAX_SUMS // axis.r)
    tap_blocks, channel_blocks = -(-all_rows // tap_rows), -(-o // CHANNELS)
    strips = n * math.prod(geometry.output_size[:-1]) * strips_in_row
    whole = -(-strips // STRIPS)  # blocks, if each took one round
    taken = -(-READS_FOR_A_WRITE * tap_rows * axis.r // (2 * STRIPS * strip))
    all_blocks = whole * channel_blocks * tap_blocks
    rounds = max(1, min(taken, all_blocks // FEWEST_BLOCKS), all_blocks // MOST_BLOCKS)
    return _Tiling(
        strip, strips_in_row, tap_rows, tap_blocks, channel_blocks, rounds, -(-whole // rounds)
    )


def _seen(axis, strip: int) -> list[int]:
    """Which elements of the input a strip sees, counted from the first tap's first."""
    return sorted({axis.s * q + axis.d * r for q in range(strip) for r in range(axis.r)})


def one_pass(x: Array, y: Array, *, spec: ConvSpec, interpret: bool = False) -> Array:
    """(1) as the kernel that this module describes.

    Args:
      x: Input, in float32, bfloat16 or float16.
      y: Output gradient.
      spec: The convolution.
      interpret: Whether to run the kernel as operations of JAX, on any device.

    Returns:
      The kernel gradient.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    geometry, o = spec.geometry, y.shape[-1]
    tiling = _tiling(geometry, y.shape[0], o)
    taps = tiling.tap_blocks * tiling.tap_rows * geometry.window[-1]
    partial_sums = pl.pallas_call(
        partial(_block, geometry=geometry, shapes=(x.shape, y.shape), tiling=tiling),
        out_shape=result_of(x, (tiling.blocks * taps * o,), jnp.float32),
        grid=(tiling.blocks, tiling.channel_blocks, tiling.tap_blocks),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name="depthwise_kernel_gradient",
    )(x.reshape(-1), y.reshape(-1))
    sums = partial_sums.reshape(tiling.blocks, taps, o).sum(axis=0)
    sums = sums[: math.prod(geometry.window)]  # the last block may have rows beyond the window
    return sums.reshape(*geometry.window, 1, o).astype(spec.dtypes.k)


def _block(x_ref, y_ref, sums_ref, *, geometry: Geometry, shapes, tiling: _Tiling):
    """What one block does. Arrays are `(strips, channels)`; the maps are flat."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    (n, *_, c), (*_, o) = shapes
    *outer, axis = geometry.axes()
    block, channel_block, tap_block = (pl.program_id(i) for i in range(3))
    channel = channel_block * CHANNELS + lax.iota(jnp.int32, CHANNELS)[None, :]
    x_channel = lax.div(channel, jnp.int32(o // c))
    number = lax.iota(jnp.int32, STRIPS)[:, None]
    strips = n * math.prod(geometry.output_size[:-1]) * tiling.strips_in_row

    def load(ref, index, mask):
        return triton.load(ref.at[index], mask=mask, other=0).astype(jnp.float32)

    def add_strips(turn, sums):
        strip = (block * tiling.rounds + turn) * STRIPS + number
        exists = (strip < strips) & (channel < o)
        row, place = _divmod(strip, tiling.strips_in_row)
        first = place * tiling.strip
        bars = [
            load(y_ref, (row * axis.p + first + q) * o + channel, exists & (first + q < axis.p))
            for q in range(tiling.strip)
        ]
        example, p = _unravel(row, geometry.output_size[:-1])
        sums = iter(sums)
        added = []
        for tap_row in range(tiling.tap_rows):
            x_row, inside = example, exists
            beyond, taps = _unravel(tap_block * tiling.tap_rows + tap_row, geometry.window[:-1])
            inside &= beyond == 0
            for at, tap, along in zip(p, taps, outer, strict=True):
                i = along.s * at + along.d * tap - along.lo
                x_row, inside = x_row * along.i + i, inside & (i >= 0) & (i < along.i)
            start = axis.s * first - axis.lo
            xs = {
                step: load(
                    x_ref,
                    (x_row * axis.i + start + step) * c + x_channel,
                    inside & (start + step >= 0) & (start + step < axis.i),
                )
                for step in _seen(axis, tiling.strip)
            }
            for r in range(axis.r):
                terms = (xs[axis.s * q + axis.d * r] * bar for q, bar in enumerate(bars))
                added.append(next(sums) + add_up(terms))
        return tuple(added)

    taps = tiling.tap_rows * axis.r
    zeros = (jnp.zeros((STRIPS, CHANNELS), jnp.float32),) * taps
    sums = lax.fori_loop(0, tiling.rounds, add_strips, zeros)
    first_tap = (block * tiling.tap_blocks + tap_block) * taps
    lane = channel_block * CHANNELS + lax.iota(jnp.int32, CHANNELS)
    for tap, terms in enumerate(sums):
        place = (first_tap + tap) * o + lane
        triton.store(sums_ref.at[place], jnp.sum(terms, axis=0), mask=lane < o)


def _divmod(a, b: int):
    """Quotient and remainder of numbers that are not negative."""
    return lax.div(a, jnp.int32(b)), lax.rem(a, jnp.int32(b))


def _unravel(number, sizes):
    """The indices of a row-major number over axes of these sizes, and what is left over them."""
    indices = []
    for size in reversed(sizes):
        number, index = _divmod(number, size)
        indices.append(index)
    return number, indices[::-1]
