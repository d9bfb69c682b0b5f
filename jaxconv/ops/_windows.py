"""The maps that pooling and upscaling consist of, as operations of JAX.

Five pairs of linear maps, each the transpose of the other:

    window_sum    <->  window_spread      y[p] = Σ_r x[s·p + d·r - lo]
    window_gather <->  window_scatter     y[p] = x[s·p + d·m[p] - lo]   for fixed taps m
    window_equals <->  window_to_equals   y[p] = Σ_r x[s·p + d·r - lo] [tap r holds the maximum]
    window_share  <->  itself             y[p] = x[p] / #{r: tap r holds the maximum}
    resample      <->  resample_back      y[p] = Σ_k w[p,k] x[i[p,k]]   for fixed i and w

and one choice, whose derivative is `window_gather` at the taps m that it chose:

    window_max, window_max_and_tap        m[p] = argmax_r x[s·p + d·r - lo]

`jaxconv.algorithms` computes these maps, and has other programs for CPUs, GPUs and TPUs.
`_max_pooling.py`, `_sum_pooling.py` and the other files of pools define each pool in terms of the
maps.
"""

from functools import partial

import jax
import jax.numpy as jnp

from .. import algorithms
from .._geometry import Geometry
from ..algorithms import GPU_PLATFORMS, cpu, gpu, tpu
from ..forms import axis_by_axis, broadcast_batch, chosen, linear_pair, merge_leading_axes


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


# The maps are functions of this module, so that the operations made of them can be pickled.


def unless_empty(forward, transpose, result=_result):
    """A pair of maps, neither called where it would have nothing to slice and to add up."""
    run = _linear_unless_empty
    return partial(run, "out", forward, result), partial(run, "in", transpose, result)


def _linear_unless_empty(slot, map_, result, operand, *constants, geometry: Geometry):
    like = result(slot, operand, geometry=geometry)
    if 0 in (*operand.shape, *like.shape):
        return jnp.zeros(like.shape, like.dtype)
    return map_(operand, *constants, geometry=geometry)


def _maxima_unless_empty(max_of_windows, max_and_argmax):
    """The maps of a choice: an empty map has only padding, if any."""
    return partial(_max_unless_empty, max_of_windows), partial(_choice_unless_empty, max_and_argmax)


def _max_unless_empty(max_of_windows, x, *, geometry: Geometry):
    if 0 in (*x.shape, *geometry.output_size):
        return _of_padding(x, geometry)[0]
    return max_of_windows(x, geometry=geometry)


def _choice_unless_empty(max_and_argmax, x, *, geometry: Geometry):
    if 0 in (*x.shape, *geometry.output_size):
        return _of_padding(x, geometry)
    return max_and_argmax(x, geometry=geometry)


def _of_padding(x, geometry: Geometry):
    y, m = _chosen(x, geometry=geometry)
    return jnp.full(y.shape, algorithms.lowest_of(x.dtype), x.dtype), jnp.full_like(m, -1)


window_sum, window_spread = linear_pair(
    *unless_empty(algorithms.sum_windows, algorithms.spread_windows),
    name="jaxconv_window_sum",
    result=_result,
    batch=merge_leading_axes,
    shard=axis_by_axis,
    lowerings={
        "cpu": unless_empty(cpu.sum_windows, cpu.spread_windows),
        "tpu": unless_empty(tpu.sum_windows, tpu.spread_windows),
        **dict.fromkeys(GPU_PLATFORMS, unless_empty(gpu.sum_windows, gpu.spread_windows)),
    },
)
window_gather, window_scatter = linear_pair(
    *unless_empty(algorithms.gather_windows, algorithms.scatter_windows),
    name="jaxconv_window_gather",
    result=_result,
    batch=merge_leading_axes,
    shard=axis_by_axis,
    lowerings={
        "cpu": unless_empty(cpu.gather_windows, cpu.scatter_windows),
        "tpu": unless_empty(algorithms.gather_windows, tpu.scatter_windows),
    },
)
window_equals, window_to_equals = linear_pair(
    *unless_empty(algorithms.sum_where_equal, algorithms.spread_where_equal),
    name="jaxconv_window_equals",
    result=_result,
    batch=merge_leading_axes,
    shard=axis_by_axis,
    lowerings={"cpu": unless_empty(cpu.sum_where_equal, cpu.spread_where_equal)},
)
resample, resample_back = linear_pair(
    algorithms.resample,
    algorithms.resample_back,
    name="jaxconv_resample",
    result=_resampled,
    batch=merge_leading_axes,
    shard=axis_by_axis,
    lowerings={"cpu": (cpu.resample, cpu.resample_back)},
)


def _maxima(name: str, max_and_tap_on_gpus):
    on_gpus = _maxima_unless_empty(gpu.max_of_windows, max_and_tap_on_gpus)
    value, choice = _maxima_unless_empty(algorithms.max_of_windows, algorithms.max_and_argmax)
    return chosen(
        choice,
        window_gather,
        value=value,
        name=name,
        result=_chosen,
        batch=merge_leading_axes,
        shard=axis_by_axis,
        lowerings={
            "cpu": _maxima_unless_empty(cpu.max_of_windows, cpu.max_and_argmax),
            "tpu": _maxima_unless_empty(tpu.max_of_windows, tpu.max_and_argmax),
            **dict.fromkeys(GPU_PLATFORMS, on_gpus),
        },
    )


window_max, window_max_and_tap = _maxima("jaxconv_window_max", gpu.max_and_argmax)
# The same choice for an operation that computes with the tap before it remembers it.
window_max_in_loop, window_max_and_tap_in_loop = _maxima(
    "jaxconv_window_max_in_loop", gpu.max_and_argmax_in_loop
)


def _same(slot: str, operand, *_, **__) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(operand.shape, operand.dtype)


def _shared(sum_where_equal, y_dot, x, y, *, geometry: Geometry):
    if 0 in (*x.shape, *y.shape):
        return y_dot
    ones = jnp.ones(x.shape, y_dot.dtype)
    return y_dot / jnp.maximum(sum_where_equal(ones, x, y, geometry=geometry), 1)


_share, _share_on_cpus = (partial(_shared, of.sum_where_equal) for of in (algorithms, cpu))

# y_dot[p] divided by the number of taps that hold the maximum. The reverse pass counts them again,
# so that it keeps x and y only. Call it with a dtype that can hold the number.
window_share, _ = linear_pair(
    _share,
    _share,
    name="jaxconv_window_share",
    result=_same,
    batch=merge_leading_axes,
    shard=axis_by_axis,
    lowerings={"cpu": (_share_on_cpus, _share_on_cpus)},
)


def _where_chosen(y, index):
    return jnp.where(index >= 0, y, jnp.zeros((), y.dtype))


# y[p] where a tap was chosen, and 0 where the index is -1.
where_chosen, _ = linear_pair(
    _where_chosen,
    _where_chosen,
    name="jaxconv_where_chosen",
    result=_same,
    batch=broadcast_batch,
    shard=axis_by_axis,
)
