"""Depthwise layers on a TPU's vector unit: each contraction one kernel that reads every map once.

A depthwise layer has no sum over channels, so the matrix unit of a TPU has little to do. The vector
unit works on 8 positions of 128 channels at a time, with one product and one addition for each tap:

    y[n,p,c] = Σ_r x[n, s·p + d·r - lo, c] k[r,c]                                              (1)
    k_bar[r,c] = Σ_np x[n, s·p + d·r - lo, c] y_bar[n,p,c]                                     (2)

The input gradient is (1) of the transposed convolution with the rotated kernel.

    grid     blocks of 128 channels, and for each of them blocks of examples, one after another
    whole    one example in float32, padded and dilated, in the chip's vector memory (VMEM)
    tile     a few rows of outputs, up to 64 positions of each: as much as fits into registers

Every term of (1) or (2) reads a row of `whole` from s·q + d·r_w on. VMEM is addressed in steps of
one position, so such a read costs nothing more than an aligned one. What a read gives is used in
all products of the tile that contain it: a window of R_h rows reads it once, not R_h times. The
sums (2) stay in VMEM over all examples, 8 numbers for each tap and channel, which are added up at
the end. Nothing depends on the order of blocks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Axis, Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._problem import Problem, problem_of
from ..shared._arrays import rotate_kernel
from ..shared._kernels import kernel_or_plain, result_of
from ._direct import TpuDirect
from ._tiling import LANES, MAX_RANK, MEMORY, SUBLANES, rounded, with_two_axes

MAX_TAPS = 128
LONGEST = 64  # positions of one row in a tile
REGISTERS = 24  # of 64, for a tile's outputs
BLOCK = 2**20  # the bytes of a map after which larger blocks of examples gain nothing


class Depthwise(TpuDirect):
    """(1) and (2) as kernels."""

    name = "depthwise"
    finishes = frozenset()

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve) -> Output:
        """∂T/∂y: (1)."""
        return _run(Slot.OUTPUT, spec, x, kernel)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve) -> Input:
        """∂T/∂x: (1) of the transposed convolution."""
        return _run(Slot.INPUT, spec, kernel, y)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve) -> Kernel:
        """∂T/∂k: (2)."""
        return _run(Slot.KERNEL, spec, x, y)

    def why_not(self, problem: Problem) -> str:
        """Why the kernels are not made for it; empty if they are."""
        geometry = problem.geometry
        if not 1 <= geometry.rank <= MAX_RANK:
            return f"the kernels have 1 to {MAX_RANK} spatial axes"
        if not problem.c == problem.o == geometry.groups > 1:
            return "feature groups have more than one channel, or there is only one"
        if math.prod(geometry.window) > MAX_TAPS:
            return f"there are more than {MAX_TAPS} taps to unroll"
        if _memory(problem, examples=1) > MEMORY:
            return f"an example of {LANES} channels needs more than {MEMORY >> 20} MiB"
        return super().why_not(problem)


def suits(problem: Problem) -> bool:
    """Whether the kernels are faster than XLA's convolution, as estimated for a TPU v5e.

    Channels must fill at least half of the lanes. A kernel has the columns of a map in sublanes. If
    examples fill these better, XLA stores the maps that way, and a kernel would cost two copies.
    """

    def wasted(size: int) -> float:
        return rounded(size, SUBLANES) / size

    geometry, n = problem.geometry, max(problem.n, 1)
    if Depthwise().refusal(problem) or 2 * problem.c < rounded(problem.c, LANES):
        return False
    columns = (geometry.input_size[-1], geometry.output_size[-1])
    return all(wasted(size) <= wasted(n) for size in columns)


_DTYPES = tuple(map(np.dtype, (jnp.float32, jnp.bfloat16, jnp.float16)))


def _run(slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
    shape = spec.shape_of(slot, first.shape, second.shape)
    like = jax.ShapeDtypeStruct(shape, spec.dtypes.of(slot))
    plain = PLAIN[slot]
    dtypes = {first.dtype, second.dtype, like.dtype}
    problem = problem_of(slot, (first.shape, second.shape), spec)
    # `impl` asks for an algorithm by name, and the one for GPUs applies to more problems.
    if not dtypes.issubset(_DTYPES) or Depthwise().refusal(problem):
        return plain(first, second, spec=spec)
    return kernel_or_plain("tpu", KERNELS[slot], plain, like, first, second, spec=spec)


# The plain forms.


def _plain(slot: Slot, first: Array, second: Array, *, spec: ConvSpec) -> Array:
    def solve(*_):
        raise AssertionError("nothing is left to solve")

    return TpuDirect().run(slot, spec, first, second, solve)


PLAIN = {slot: partial(_plain, slot) for slot in Slot}


# The kernels.


def forward(x: Array, kernel: Array, *, spec: ConvSpec, interpret: bool = False) -> Array:
    """(1) as a kernel.

    Args:
      x: Input, in float32, bfloat16 or float16.
      kernel: Kernel, one channel a group.
      spec: The convolution.
      interpret: Whether to run the kernel as operations of JAX, on any device.

    Returns:
      The convolution.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    n, c = x.shape[0], x.shape[-1]
    shape = (n, *spec.geometry.output_size, c)
    spec, x = _with_two_axes(spec, x)
    problem = Problem(Slot.OUTPUT, spec.geometry, n, c, c)
    grid, block = _grid(problem)
    taps = math.prod(spec.geometry.window)
    y = pl.pallas_call(
        partial(_forward_block, geometry=spec.geometry, examples=n),
        out_shape=result_of(x, (n, *spec.geometry.output_size, c), spec.dtypes.y),
        grid=grid,
        in_specs=[
            _map_block(block, spec.geometry.input_size, grid),
            pl.BlockSpec((taps, block[-1]), lambda channels, examples: (0, channels)),
        ],
        out_specs=_map_block(block, spec.geometry.output_size, grid),
        scratch_shapes=[pltpu.VMEM((*_whole_size(spec.geometry), block[-1]), jnp.float32)],
        compiler_params=_compiler_params(),
        interpret=interpret,
        name="depthwise_forward",
    )(x, kernel.reshape(taps, c).astype(jnp.float32))
    return y.reshape(shape)


def input_vjp(kernel: Array, y: Array, *, spec: ConvSpec, interpret: bool = False) -> Array:
    """The input gradient, as `forward` of the transposed convolution."""
    rotated = rotate_kernel(kernel, spec.geometry.groups)
    return forward(y, rotated, spec=spec.transposed(), interpret=interpret)


def kernel_vjp(x: Array, y: Array, *, spec: ConvSpec, interpret: bool = False) -> Array:
    """(2) as a kernel; arguments as for `forward`, with the output gradient `y`."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    shape = (*spec.geometry.window, 1, y.shape[-1])
    spec, x, y = _with_two_axes(spec, x, y)
    geometry, n, c = spec.geometry, x.shape[0], x.shape[-1]
    grid, block = _grid(Problem(Slot.KERNEL, geometry, n, c, c))
    taps = math.prod(geometry.window)
    sums = pl.pallas_call(
        partial(_kernel_vjp_block, geometry=geometry, examples=n),
        out_shape=result_of(x, (taps, SUBLANES, c), jnp.float32),
        grid=grid,
        in_specs=[
            _map_block(block, geometry.input_size, grid),
            _map_block(block, geometry.output_size, grid),
        ],
        out_specs=pl.BlockSpec(
            (taps, SUBLANES, block[-1]), lambda channels, examples: (0, 0, channels)
        ),
        scratch_shapes=[
            pltpu.VMEM((*_whole_size(geometry), block[-1]), jnp.float32),
            pltpu.VMEM((*_bars_size(geometry), block[-1]), jnp.float32),
        ],
        compiler_params=_compiler_params(),
        interpret=interpret,
        name="depthwise_kernel_gradient",
    )(x, y)
    return sums.sum(axis=1).reshape(shape).astype(spec.dtypes.k)


KERNELS: dict[Slot, Callable[..., Array]] = {
    Slot.OUTPUT: forward,
    Slot.INPUT: input_vjp,
    Slot.KERNEL: kernel_vjp,
}


def _compiler_params() -> Any:
    from jax.experimental.pallas import tpu as pltpu

    return pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary"))


def _with_two_axes(spec: ConvSpec, *maps: Array) -> tuple[Any, ...]:
    if spec.geometry.rank == MAX_RANK:
        return (spec, *maps)
    return (spec.replace(geometry=with_two_axes(spec.geometry, new=0)), *(a[:, None] for a in maps))


# What of the maps is in memory.


@dataclass(frozen=True)
class _Place:
    """Where input and windows lie on one axis of `whole`.

    Input i lies at e·i + lo, or from 0 on if lo is negative: then the windows begin at -lo.
    """

    axis: Axis
    positions: int  # outputs, and those that fill up a register

    @property
    def input(self) -> int:
        return max(self.axis.lo, 0)

    @property
    def window(self) -> int:
        return max(-self.axis.lo, 0)

    @property
    def size(self) -> int:
        """Enough for the input and for what all windows see."""
        axis = self.axis
        seen = axis.s * (self.positions - 1) + axis.d * (axis.r - 1) + 1
        return max(self.input + axis.e * (axis.i - 1) + 1, self.window + seen)


def _places(geometry: Geometry) -> tuple[_Place, _Place]:
    """The places of rows and columns. Columns are the axis of sublanes."""
    rows, columns = geometry.axes()
    return _Place(rows, rows.p), _Place(columns, rounded(columns.p, SUBLANES))


def _whole_size(geometry: Geometry) -> tuple[int, int]:
    rows, columns = _places(geometry)
    return rows.size, columns.size


def _bars_size(geometry: Geometry) -> tuple[int, int]:
    rows, columns = geometry.output_size
    return rows, rounded(columns, SUBLANES)


def _memory(problem: Problem, examples: int) -> int:
    """An upper bound of the VMEM, in bytes, of a block of examples in float32."""
    geometry = with_two_axes(problem.geometry, new=0)
    if problem.slot == Slot.INPUT:
        geometry = geometry.transposed()

    def map_bytes(size: tuple[int, ...]) -> int:
        rows, columns = size
        return rows * rounded(columns, 2 * SUBLANES) * LANES * 4

    twice = 2 * examples  # a block is computed while the next is copied
    maps = twice * (map_bytes(geometry.input_size) + map_bytes(geometry.output_size))
    sums = 2 * math.prod(geometry.window) * SUBLANES * LANES * 4
    return maps + sums + map_bytes(_whole_size(geometry)) + map_bytes(_bars_size(geometry))


def _grid(problem: Problem) -> tuple[tuple[int, int], tuple[int, int]]:
    """Blocks of channels and of examples; how many examples and channels a block has."""
    n, c = problem.n, problem.c
    one = max(problem.geometry.input_size, problem.geometry.output_size, key=math.prod)
    wanted = max(1, BLOCK // (math.prod(one) * LANES * 4))
    fitting = (e for e in range(min(wanted, n), 0, -1) if _memory(problem, e) <= MEMORY)
    examples, channels = next(fitting, 1), min(c, LANES)
    return (-(-c // channels), -(-n // examples)), (examples, channels)


def _map_block(block: tuple[int, int], size: tuple[int, ...], grid) -> Any:
    from jax.experimental import pallas as pl

    def index(channels, examples):
        return examples, 0, 0, channels

    return pl.BlockSpec((block[0], *size, block[1]), index)


# What one block does.


def _forward_block(x_ref, k_ref, y_ref, whole, *, geometry: Geometry, examples: int):
    rows, columns = _places(geometry)
    _zero_at_first(whole)

    def tile(example, row, column, height, width):
        sums: list[Any] = [None] * height
        for tap in range(columns.axis.r):
            for step, uses in _uses(rows.axis, height):
                seen = _read(whole, rows, columns, row, column, step, tap, width)
                for at, r in uses:
                    term = seen * k_ref[_slice(r * columns.axis.r + tap, 1)]
                    sums[at] = term if sums[at] is None else sums[at] + term
        for at, total in enumerate(sums):
            y_ref[example, row + at, _slice(column, width)] = total.astype(y_ref.dtype)

    def one(example):
        _fill(whole, x_ref, example, rows, columns)
        _for_tiles(geometry.output_size, partial(tile, example))

    _for_examples(x_ref.shape[0], examples, one)


def _kernel_vjp_block(x_ref, y_ref, sums_ref, whole, bars, *, geometry: Geometry, examples: int):
    rows, columns = _places(geometry)
    for ref in (sums_ref, whole, bars):
        _zero_at_first(ref)

    def tile(row, column, height, width):
        seen_bars = [bars[row + at, _slice(column, width)] for at in range(height)]
        for tap in range(columns.axis.r):
            sums: list[Any] = [None] * rows.axis.r
            for step, uses in _uses(rows.axis, height):
                seen = _read(whole, rows, columns, row, column, step, tap, width)
                for at, r in uses:
                    terms = seen * seen_bars[at]
                    for first in range(0, width, SUBLANES):
                        term = terms[first : first + SUBLANES]
                        sums[r] = term if sums[r] is None else sums[r] + term
            for r, total in enumerate(sums):
                sums_ref[r * columns.axis.r + tap] += total

    def one(example):
        _fill(whole, x_ref, example, rows, columns)
        _copy_rows(
            geometry.output_size[0],
            lambda i: (bars, (i, _slice(0, columns.axis.p)), y_ref[example, i]),
        )
        _for_tiles(_bars_size(geometry), tile)

    _for_examples(x_ref.shape[0], examples, one)


def _zero_at_first(ref):
    """Zero a block of memory before the first block of examples; padding stays zero after it."""
    from jax.experimental import pallas as pl

    @pl.when(pl.program_id(1) == 0)
    def _():
        ref[...] = jnp.zeros(ref.shape, ref.dtype)


def _fill(whole, x_ref, example, rows: _Place, columns: _Place):
    """Write one example to its place. What lies around and between was zero before."""
    across = _slice(columns.input, columns.axis.i, columns.axis.e)
    _copy_rows(
        rows.axis.i,
        lambda i: (whole, (rows.input + rows.axis.e * i, across), x_ref[example, i]),
    )


def _copy_rows(count: int, copy: Callable[[Any], tuple[Any, Any, Array]]):
    def one(i, _):
        ref, place, value = copy(i)
        ref[place] = value.astype(ref.dtype)
        return _

    lax.fori_loop(0, count, one, 0)


def _uses(axis: Axis, height: int):
    """Each row that a tile sees, and the outputs and taps that use it."""
    found: dict[int, list[tuple[int, int]]] = {}
    for at in range(height):
        for r in range(axis.r):
            found.setdefault(axis.s * at + axis.d * r, []).append((at, r))
    return sorted(found.items())


def _read(whole, rows: _Place, columns: _Place, row, column, step: int, tap: int, width: int):
    """What the columns of a tile see, with one column of taps, in one row of the input."""
    h = rows.window + rows.axis.s * row + step
    w = columns.window + columns.axis.s * column + columns.axis.d * tap
    return whole[_slice(h, 1), _slice(w, width, columns.axis.s)][0]


def _slice(start, size: int, stride: int = 1):
    from jax.experimental import pallas as pl

    return pl.ds(start, size, stride=stride)


def _for_examples(block: int, examples: int, body: Callable[[Any], None]):
    """Run `body(example)` for each example of a block; the last block may have fewer."""
    from jax.experimental import pallas as pl

    left = examples - pl.program_id(1) * block
    count = jnp.minimum(block, left) if examples % block else block

    def one(example, _):
        body(example)
        return _

    lax.fori_loop(0, count, one, 0)


def _for_tiles(size: tuple[int, ...], body: Callable[..., None]):
    """Run `body(row, column, height, width)` for tiles that cover an array of this size."""
    rows, columns = size
    width = min(columns, LONGEST)
    height = min(rows, max(1, REGISTERS // -(-width // SUBLANES)))

    def along(count, step, inside):
        """Whole steps in a loop, and what is left."""
        if count // step > 1:
            lax.fori_loop(0, count // step, lambda i, _: (inside(i * step, step), _)[1], 0)
        elif count >= step:
            inside(0, step)
        if count % step:
            inside(count - count % step, count % step)

    along(
        columns,
        width,
        lambda column, wide: along(rows, height, lambda row, high: body(row, column, high, wide)),
    )
