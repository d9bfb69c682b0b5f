"""The maps that pooling and upscaling are made of, as operations of JAX.

Three pairs of linear maps, each the other's transpose:

    window_sum    <->  window_spread      y[p] = Σ_r x[s·p + d·r - lo]
    window_gather <->  window_scatter     y[p] = x[s·p + d·m[p] - lo]   for a fixed choice m of taps
    window_equals <->  window_to_equals   y[p] = Σ_r x[s·p + d·r - lo] [tap r holds the maximum]
    resample      <->  resample_back      y[p] = Σ_k w[p,k] x[i[p,k]]   for fixed i and w

and one choice, which has the derivative of `window_gather` for the m that it chose:

    window_max, window_max_and_tap        m[p] = argmax_r x[s·p + d·r - lo]

`_max_pooling.py`, `_sum_pooling.py` and the other files of pools say what a pool is in terms of
these maps. `jaxconv.algorithms` computes them, for CPUs in a form of its own. The last part of this
file checks the options of all pools.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .. import algorithms
from .._forms import choice, linear_pair
from .._geometry import (
    Geometry,
    Padding,
    Size,
    convolution_geometry,
    explicit_padding,
    extent,
    per_axis,
)
from .._typing import Array
from ..algorithms import cpu
from ._checks import as_array


def _result(slot: str, operand, *_, geometry: Geometry) -> jax.ShapeDtypeStruct:
    n, *_, c = operand.shape
    size = geometry.output_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((n, *size, c), operand.dtype)


def _chosen(x, *, geometry: Geometry) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    y = _result("out", x, geometry=geometry)
    return y, jax.ShapeDtypeStruct(y.shape, algorithms.index_dtype(geometry))


def _resampled(slot: str, operand, *, mixings: tuple[algorithms.Mixing, ...]):
    n, *_, c = operand.shape
    size = (len(m.rows) if slot == "out" else m.size for m in mixings)
    return jax.ShapeDtypeStruct((n, *size, c), operand.dtype)


window_sum, window_spread = linear_pair(
    "jaxconv_window_sum",
    algorithms.sum_windows,
    algorithms.spread_windows,
    result=_result,
    lowerings={"cpu": (cpu.sum_windows, cpu.spread_windows)},
)
window_gather, window_scatter = linear_pair(
    "jaxconv_window_gather",
    algorithms.gather_windows,
    algorithms.scatter_windows,
    result=_result,
    lowerings={"cpu": (cpu.gather_windows, cpu.scatter_windows)},
)
window_equals, window_to_equals = linear_pair(
    "jaxconv_window_equals",
    algorithms.sum_where_equal,
    algorithms.spread_where_equal,
    result=_result,
    lowerings={"cpu": (cpu.sum_where_equal, cpu.spread_where_equal)},
)
resample, resample_back = linear_pair(
    "jaxconv_resample",
    algorithms.resample,
    algorithms.resample_back,
    result=_resampled,
    lowerings={"cpu": (cpu.resample, cpu.resample_back)},
)
window_max, window_max_and_tap = choice(
    "jaxconv_window_max",
    algorithms.max_of_windows,
    algorithms.max_and_argmax,
    window_gather,
    result=_chosen,
    lowerings={"cpu": (cpu.max_of_windows, cpu.max_and_argmax)},
)


def pool_geometry(
    function: str,
    size: tuple[int, ...],
    window_shape: Size,
    strides: Size | None,
    padding: Padding,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Geometry:
    """Check the options of a pool; the geometry is that of a convolution with the same windows.

    `ceil_mode` rounds the number of windows on an axis up: one more than fit into the padded input
    goes over its high end, provided that it starts on the input or the low padding. All that this
    window reaches is high padding in the geometry, more than what `written_padding` gives.
    """
    window = per_axis(window_shape, len(size), f"{function}: window_shape")
    strides = window if strides is None else per_axis(strides, len(size), f"{function}: strides")
    dilation = per_axis(dilation, len(size), f"{function}: window_dilation")
    if not isinstance(ceil_mode, bool):
        raise TypeError(f"{function}: ceil_mode must be a bool, got {ceil_mode!r}.")
    reach = tuple(map(extent, window, dilation))
    sides = explicit_padding(function, padding, size, reach, strides)
    if any(side < 0 for pads in sides for side in pads):
        raise ValueError(f"{function}: padding must not be negative, got {padding!r}.")
    if ceil_mode:
        axes = zip(size, reach, strides, sides, strict=True)
        sides = tuple((lo, hi + _over_the_end(i, r, s, lo, hi)) for i, r, s, (lo, hi) in axes)
    return convolution_geometry(function, size, window, strides, sides, 1, dilation, 1)


def _over_the_end(size: int, reach: int, stride: int, lo: int, hi: int) -> int:
    """How far the window that `ceil_mode` adds goes over the high end of the padded input."""
    room = size + lo + hi - reach
    start = -(-room // stride) * stride  # rounded up: the next window after those that fit
    return start - room if 0 <= start < size + lo else 0


def written_padding(geometry: Geometry, padding: Padding) -> tuple[tuple[int, int], ...]:
    """The `(lo, hi)` of each axis that a pool was given, without what `ceil_mode` adds."""
    reach = tuple(map(extent, geometry.window, geometry.kernel_dilation))
    return explicit_padding("pool", padding, geometry.input_size, reach, geometry.strides)


def geometry_of(function: str, x: Array, *options) -> Geometry:
    """The checked geometry of a pool over a feature map; `options` as for `pool_geometry`."""
    spatial_rank(function, x)
    return pool_geometry(function, x.shape[1:-1], *options)


def spatial_rank(function: str, x: Array, name: str = "x") -> int:
    """The number of spatial axes of a feature map, at least one."""
    if x.ndim < 3:
        raise ValueError(f"{function}: {name} must be (n, *spatial, c), got shape {x.shape}.")
    return x.ndim - 2


def numeric_map(function: str, x: Any, name: str = "x") -> Array:
    """A feature map of numbers that can be added up."""
    x = as_array(f"{function}: {name}", x)
    if x.dtype == jnp.float8_e8m0fnu:
        raise TypeError(
            f"{function}: {name} must have a dtype with a zero and a sign, got {x.dtype}."
        )
    return x


def real_map(function: str, x: Any) -> Array:
    """A feature map whose elements have an order."""
    x = numeric_map(function, x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{function}: x must be real, complex numbers have no order.")
    return x


def inexact_map(function: str, x: Any) -> Array:
    """A feature map that can be divided."""
    x = numeric_map(function, x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{function}: x must be floating point, got dtype {x.dtype}.")
    return x
