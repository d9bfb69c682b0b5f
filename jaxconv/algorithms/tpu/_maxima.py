"""The taps of a max pool and the scatter of its gradient on a TPU, each as one kernel.

    m[n,p,c] = argmax_r x[n, s·p + d·r - lo, c]                                                (1)
    x_bar[n,i,c] = Σ_p y_bar[n,p,c] [s·p + d·m[n,p,c] - lo = i]                                (2)

XLA computes these as reductions over windows, several of them for (2) where windows overlap, and
copies maps for it. Its own `select_and_scatter`, which searches the windows again in the reverse
pass, leaves the order among equal elements open.

A kernel keeps what the windows of a chunk see: for (1) integers of the same order as the elements,
for (2) the sums. The windows of a row are computed one by one, each of its positions a number of
whole tiles, and a tap is a matter of addresses. Where columns fill tiles, they are computed at a
time, and a tap is read with a stride.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled, Taps
from ..shared._kernels import result_of
from ..shared._maxima import index_dtype
from ..shared._taps import MAX_TAPS
from ._tiling import MAX_RANK, Plan, layout_of, plan_of, with_two_axes

MOST_WASTED = 2.0  # tiles hold this many times the numbers that are in them
LARGE = 8 * 2**20  # the bytes of a map from which on it is left in the main memory

_DTYPES = tuple(map(np.dtype, (jnp.float32, jnp.bfloat16)))
# In the order of elements: padding, which is below all of them, and NaN.
_PADDING, _NAN = -(2**31), 2**31 - 1
_INFINITY = 0x7F800000  # as the bits of a float32

# `columns(first, step)` is an index of columns: of one, or of all at once.
Columns: TypeAlias = Callable[[int, int], Any]
# `for_columns(count, body)` calls `body(columns)`.
ForColumns: TypeAlias = Callable[[int, Callable[[Columns], None]], None]


def suits(n: int, c: int, dtype: Any, geometry: Geometry) -> bool:
    """Whether the kernels compute a pool of maps of n examples and c channels without waste."""
    if np.dtype(dtype) not in _DTYPES or not 1 <= geometry.rank <= MAX_RANK:
        return False
    if not all(isinstance(size, int) and size for size in (n, *geometry.input_size, c)):
        return False
    if math.prod(geometry.window) > MAX_TAPS or set(geometry.input_dilation) != {1}:
        return False
    if any(side < 0 for sides in geometry.padding for side in sides):
        return False
    layout = layout_of(n, c, with_two_axes(geometry, new=1))
    if layout.wasted > MOST_WASTED:
        return False
    # Where positions are whole tiles, XLA computes windows that lie side by side in one loop with
    # what is before and after it. Small maps stay on the chip.
    if not (layout.has_columns_in_tiles or any(a.d * (a.r - 1) >= a.s for a in geometry.axes())):
        return False
    return all(_plan(result, geometry, n, c, dtype) for result in "xy")


# `interpret` runs a kernel as operations of JAX, on any device.


def taps(x: Input, *, geometry: Geometry, interpret: bool = False) -> Taps:
    """(1): the first of equal elements; NaN is the largest; -1 for padding alone."""
    plan = _plan("y", geometry, x.shape[0], x.shape[-1], x.dtype)
    assert plan is not None, "the kernel does not suit"
    dtype = index_dtype(geometry)
    return _run(_taps, plan, geometry, [x], dtype, jnp.int32, "max_pool_taps", interpret)


def scatter(y: Pooled, index: Taps, *, geometry: Geometry, interpret: bool = False) -> Input:
    """(2), summed in float32. The gradient of a window whose tap is -1 goes nowhere."""
    plan = _plan("x", geometry, y.shape[0], y.shape[-1], y.dtype)
    assert plan is not None, "the kernel does not suit"
    maps, name = [y, index], "max_pool_gradient"
    return _run(_scatter, plan, geometry, maps, y.dtype, jnp.float32, name, interpret)


def _plan(result: str, geometry: Geometry, n: int, c: int, dtype: Any) -> Plan | None:
    itemsize = np.dtype(dtype).itemsize
    of_windows = index_dtype(geometry).itemsize + (itemsize if result == "x" else 0)
    return plan_of(result, with_two_axes(geometry, new=1), n, c, {"x": itemsize, "y": of_windows})


def _run(
    kernel: Callable[..., None],
    plan: Plan,
    geometry: Geometry,
    operands: Sequence[Array],
    dtype: Any,
    kept: Any,
    name: str,
    interpret: bool,
) -> Array:
    """Run a kernel on each block of the operands, all of which are maps of x or of windows."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    layout, flat = plan.layout, with_two_axes(geometry, new=1)
    n, c = operands[0].shape[0], operands[0].shape[-1]
    sizes = [flat.output_size, flat.input_size]
    given, computed = sizes if plan.result == "x" else reversed(sizes)
    shape, result = layout.arranged((n, *given, c)), layout.arranged((n, *computed, c))
    blocks = [-(-shape[axis] // plan.block[axis]) for axis in layout.others]
    held = plan.block_of(plan.held.held, shape[layout.columns])

    def place(i, j, row, step: Sequence[int]):
        at: list[Any] = [0, 0, 0, 0]
        at[layout.rows] = row
        for number, axis, count in zip((i, j), layout.others, blocks, strict=True):
            # 0 says that a single block is aligned, however narrow it is.
            at[axis] = 0 if count == 1 else number * step[axis]
        return tuple(at)

    def arranged(a: Array) -> Array:
        a = a.reshape(n, *given, c).transpose(layout.order)
        if interpret or a.nbytes < LARGE:
            return a
        # XLA would copy it to VMEM ahead, from where the kernel would copy it once more.
        return pltpu.with_memory_space_constraint(a, pltpu.HBM)

    # The rows on which blocks depend overlap. So they are placed by element.
    beyond = [0 if axis == layout.rows else -shape[axis] % held[axis] for axis in range(4)]
    elements = [pl.Element(size, (0, end)) for size, end in zip(held, beyond, strict=True)]
    found = pl.pallas_call(
        partial(_each_chunk, partial(kernel, geometry=flat, plan=plan), plan),
        out_shape=result_of(operands[0], result, dtype),
        grid=(*blocks, plan.blocks),
        in_specs=[
            pl.BlockSpec(tuple(elements), lambda i, j, k: place(i, j, plan.held.start(k), held))
        ]
        * len(operands),
        out_specs=pl.BlockSpec(
            plan.block_of(plan.chunks * plan.rows, result[layout.columns]),
            lambda i, j, k: place(i, j, k, (1, 1, 1, 1)),
        ),
        scratch_shapes=[pltpu.VMEM(plan.scratch, kept)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        cost_estimate=pl.CostEstimate(
            flops=0, transcendentals=0, bytes_accessed=plan.moved * math.prod(blocks)
        ),
        interpret=interpret,
        name=name,
    )(*map(arranged, operands))
    size = geometry.input_size if plan.result == "x" else geometry.output_size
    return found.transpose(layout.inverse).reshape(n, *size, c)


def _each_chunk(chunk: Callable[..., None], plan: Plan, *refs):
    """Run `chunk(block, number, for_columns, *refs)` for each chunk of each example of a block."""
    from jax.experimental import pallas as pl

    block = pl.program_id(2)  # of the grid, and so not inside a loop
    if not plan.layout.has_columns_in_tiles:
        _for_each(plan.chunks, lambda j: chunk(block, j, _one_by_one, *refs))
        return
    *maps, kept = refs

    def example(e):
        of_one = [ref.at[e] for ref in maps]
        _for_each(plan.chunks, lambda j: chunk(block, j, _at_once, *of_one, kept))

    _for_each(plan.block[0], example)


# What a kernel does with chunk j of block k.


def _taps(
    k, j, for_columns: ForColumns, x_ref, index_ref, order, *, geometry: Geometry, plan: Plan
):
    number = k * plan.chunks + j
    _, columns = geometry.axes()
    _fill(order, x_ref, for_columns, columns.lo, columns.i, plan.seen, number, plan.held.start(k))

    def windows(p, of: Columns):
        first, *others = _places(p, of, geometry)
        best = order[first]
        index = jnp.zeros_like(best)
        for tap, place in enumerate(others, 1):
            seen = order[place]
            index = jnp.where(seen > best, tap, index)
            best = jnp.maximum(seen, best)
        index = jnp.where(best == _PADDING, -1, index)
        index_ref[j * plan.rows + p, of(0, 1)] = index.astype(index_ref.dtype)

    _for_windows(number, for_columns, windows, geometry, plan)


def _scatter(
    k,
    j,
    for_columns: ForColumns,
    y_ref,
    index_ref,
    x_ref,
    sums,
    *,
    geometry: Geometry,
    plan: Plan,
):
    number = k * plan.chunks + j
    _, columns = geometry.axes()
    ahead = plan.windows.wanted(number) - plan.held.start(k)

    def clear(i):
        for_columns(sums.shape[1], lambda of: _set(sums, (i, of(0, 1)), 0.0))

    def windows(p, of: Columns):
        held = (p + ahead, of(0, 1))
        index, value = index_ref[held].astype(jnp.int32), y_ref[held].astype(jnp.float32)
        for tap, place in enumerate(_places(p, of, geometry)):
            sums[place] += jnp.where(index == tap, value, 0)

    def finish(i):
        def some(of: Columns):
            total = sums[i + plan.ahead, of(columns.lo, 1)]
            x_ref[j * plan.rows + i, of(0, 1)] = total.astype(x_ref.dtype)

        for_columns(columns.i, some)

    _for_each(sums.shape[0], clear)
    _for_windows(number, for_columns, windows, geometry, plan)
    _for_each(plan.rows, finish)


def _for_windows(number, for_columns: ForColumns, body, geometry: Geometry, plan: Plan):
    """Call `body(p, columns)` for the windows of a chunk that exist; p counts rows in the chunk."""
    _, columns = geometry.axes()
    first = plan.windows.wanted(number)
    exist = jnp.minimum(plan.windows.count, plan.windows.size - first)
    _for_each(
        exist, lambda p: for_columns(columns.p, partial(body, p)), first=jnp.maximum(0, -first)
    )


def _places(p, of: Columns, geometry: Geometry) -> list[tuple[Any, Any]]:
    """What the taps of some windows see, in row-major order."""
    rows, columns = geometry.axes()
    return [
        (rows.s * p + rows.d * r, of(columns.d * t, columns.s))
        for r, t in np.ndindex(*geometry.window)
    ]


def _fill(order, x_ref, for_columns: ForColumns, left: int, columns: int, seen, number, start):
    """Write the order of the elements that a chunk sees, and padding around them.

    The block begins with row `start` of the map.
    """

    def row(at):
        place = seen.wanted(number) + at
        exists = (place >= 0) & (place < seen.size)
        held = jnp.clip(place - start, 0, x_ref.shape[0] - 1)

        def elements(of: Columns):
            value = _order(x_ref[held, of(0, 1)])
            order[at, of(left, 1)] = jnp.where(exists, value, _PADDING)

        for_columns(left, lambda of: _set(order, (at, of(0, 1)), _PADDING))
        for_columns(columns, elements)
        right = left + columns
        for_columns(order.shape[1] - right, lambda of: _set(order, (at, of(right, 1)), _PADDING))

    _for_each(order.shape[0], row)


def _order(x: Array) -> Array:
    """Integers of the same order as the elements: NaN is the largest, and -0 equals 0."""
    bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    size = bits & _NAN
    order = jnp.where(bits < 0, -size, size)
    return jnp.where(size > _INFINITY, _NAN, order)


def _set(ref, at: tuple[Any, ...], value: float):
    ref[at] = jnp.full(ref.at[at].shape, value, ref.dtype)


def _for_each(count: Any, body: Callable[[Any], None], first: Any = 0):
    def one(i, _):
        body(i)
        return _

    lax.fori_loop(first, count, one, None)


def _one_by_one(count: int, body: Callable[[Columns], None]):
    _for_each(count, lambda q: body(lambda first, step: first + step * q))


def _at_once(count: int, body: Callable[[Columns], None]):
    from jax.experimental import pallas as pl

    if count:
        body(lambda first, step: pl.ds(first, count, stride=step))
