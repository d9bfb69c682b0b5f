"""The linear maps that pooling and upscaling are made of, in pairs: each the other's transpose.

    window_sum    <->  window_spread      y[p] = Σ_r x[s·p + d·r - lo]
    window_gather <->  window_scatter     y[p] = x[s·p + d·m[p] - lo]   for a fixed choice m of taps
    window_equals <->  window_to_equals   y[p] = Σ_r x[s·p + d·r - lo] [tap r holds the maximum]
    resample      <->  resample_back      y[p] = Σ_k w[p,k] x[i[p,k]]   for fixed i and w

Here they are declared; what a pool is in terms of them is said where the pool is. The options of
all pools are checked here, too.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .. import lowering
from .._geometry import Geometry, Padding, Size, convolution_geometry, per_axis
from .._linear import linear_pair
from .._typing import Array
from ._call import as_array


def _result(slot: str, operand, *_, geometry: Geometry) -> jax.ShapeDtypeStruct:
    n, *_, c = operand.shape
    size = geometry.output_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((n, *size, c), operand.dtype)


def _resampled(slot: str, operand, *, mixings: tuple[lowering.Mixing, ...]):
    n, *_, c = operand.shape
    size = (len(m.rows) if slot == "out" else m.size for m in mixings)
    return jax.ShapeDtypeStruct((n, *size, c), operand.dtype)


window_sum, window_spread = linear_pair(
    "jaxconv_window_sum", lowering.sum_windows, lowering.spread_windows, result=_result
)
window_gather, window_scatter = linear_pair(
    "jaxconv_window_gather", lowering.gather_windows, lowering.scatter_windows, result=_result
)
window_equals, window_to_equals = linear_pair(
    "jaxconv_window_equals", lowering.sum_where_equal, lowering.spread_where_equal, result=_result
)
resample, resample_back = linear_pair(
    "jaxconv_resample", lowering.resample, lowering.resample_back, result=_resampled
)


def pool_geometry(
    function: str,
    size: tuple[int, ...],
    window_shape: Size,
    strides: Size | None,
    padding: Padding,
    dilation: Size = 1,
) -> Geometry:
    """Check the options of a pool; the geometry is that of a convolution with the same windows."""
    window = per_axis(window_shape, len(size), f"{function}: window_shape")
    strides = window if strides is None else strides
    dilation = per_axis(dilation, len(size), f"{function}: window_dilation")
    geometry = convolution_geometry(function, size, window, strides, padding, 1, dilation, 1)
    if any(side < 0 for pads in geometry.padding for side in pads):
        raise ValueError(f"{function}: padding must not be negative, got {padding!r}.")
    return geometry


def geometry_of(function: str, x: Array, *options) -> Geometry:
    """The checked geometry of a pool over a feature map."""
    spatial_rank(function, x)
    return pool_geometry(function, x.shape[1:-1], *options)


def spatial_rank(function: str, x: Array, name: str = "x") -> int:
    """The number of spatial axes of a feature map, at least one."""
    if x.ndim < 3:
        raise ValueError(f"{function}: {name} must be (n, *spatial, c), got shape {x.shape}.")
    return x.ndim - 2


def real_map(function: str, x: Any) -> Array:
    """A feature map whose elements have an order."""
    x = as_array(f"{function}: x", x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{function}: x must be real, complex numbers have no order.")
    return x


def inexact_map(function: str, x: Any) -> Array:
    """A feature map that can be divided."""
    x = as_array(f"{function}: x", x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{function}: x must be floating point, got dtype {x.dtype}.")
    return x
