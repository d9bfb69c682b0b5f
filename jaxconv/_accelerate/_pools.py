"""Pools of lax, and what lax's derivatives make of them, as maps over windows.

    reduce_window_max, _min     the largest or smallest element of each window
    reduce_window_sum           the sum of each window; average pools divide it
    pad, reduce_window_sum      the gradient of a sum pool with strides
    reduce_window               these three, if it reduces by one of their operations
    select_and_scatter_add      the gradient of a max pool: the transpose for the taps it chose
    select_and_gather_add       the tangent of a max pool, at the taps it chose

*Which tap.* lax and this library choose the same tap, the first in row-major order among equals,
but for two kinds of windows. In a window with a NaN, the gradient goes to the NaN here; lax passes
it over. In a window whose maximum is -inf, the gradient goes to an element that holds it here; lax
gives it to the first tap, which may be padding, and its tangent is zero.

Resizes of `jax.image` are products and gathers before anyone can see them, and stay.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from .._arguments import convolution_geometry
from .._geometry import Geometry
from .._typing import Array
from ..algorithms.shared._maxima import lowest_of
from ..ops._windows import (
    window_gather,
    window_max,
    window_max_and_tap,
    window_scatter,
    window_spread,
    window_sum,
)
from ._replacement import Kept, Replacement, rule


def _maxima(x: Array, geometry: Geometry) -> Array:
    return window_max(x, geometry=geometry)


def _minima(x: Array, geometry: Geometry) -> Array:
    return _reversed_order(_maxima(_reversed_order(x), geometry))


def _sums(x: Array, geometry: Geometry) -> Array:
    return window_sum(x, geometry=geometry)


def _reversed_order(x: Array) -> Array:
    """Elements whose order is reversed; its own inverse. The smallest integer has no negative."""
    return jnp.negative(x) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.bitwise_not(x)


# Windows over any axes.


class _Windows(NamedTuple):
    """Windows over some axes of an array, as those of a feature map.

    Attributes:
      shape: Shape of the array, `(n, *spatial, c)`.
      given: The shape that it came in.
      out: Shape of the result.
      dilated: For each spatial axis how much it is cropped or dilated first, as `lax.pad` takes it.
      geometry: The windows on the feature map that this makes.
    """

    shape: tuple[int, ...]
    given: tuple[int, ...]
    out: tuple[int, ...]
    dilated: tuple[tuple[int, int, int], ...]
    geometry: Geometry

    def to_map(self, x: Array, fill: Any) -> Array:
        """The array as a feature map, with `fill` between the elements where they are dilated."""
        x = _reshaped(x, self.shape)
        if not any(map(any, self.dilated)):
            return x
        sides = ((0, 0, 0), *self.dilated, (0, 0, 0))
        return lax.pad(x, jnp.asarray(fill, x.dtype), sides)

    def pooled(self, y: Array) -> Array:
        """A result of `out`'s shape as a pooled map."""
        n, *_, c = self.shape
        return _reshaped(y, (n, *self.geometry.output_size, c))

    def result(self, y: Array) -> Array:
        """A pooled map as the result."""
        return _reshaped(y, self.out)


def _windows(
    aval: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
    **_: Any,
) -> _Windows | Kept:
    """The windows of an operation of lax with these parameters, or why they stay with it."""
    shape, rank = aval.shape, len(aval.shape)
    ones = (1,) * rank
    base_dilation, window_dilation = base_dilation or ones, window_dilation or ones
    axes = list(
        zip(window_dimensions, window_strides, padding, base_dilation, window_dilation, strict=True)
    )
    windowed = [i for i, axis in enumerate(axes) if axis[:4] != (1, 1, (0, 0), 1)]
    if not windowed:
        return Kept("its windows hold one element")
    first, last = windowed[0], windowed[-1] + 1
    n, c = math.prod(shape[:first]), math.prod(shape[last:])
    if _is_sharded(aval) and (first, last) != (1, rank - 1):
        return Kept("its array is sharded and would be reshaped")
    spatial = axes[first:last]
    dilated = tuple((min(lo, 0), min(hi, 0), e - 1) for _, _, (lo, hi), e, _ in spatial)
    size = tuple(
        (i - 1) * (inner + 1) + 1 + lo + hi if i else 0
        for i, (lo, hi, inner) in zip(shape[first:last], dilated, strict=True)
    )
    if 0 in (n, c, *shape) or min(size) < 1:
        return Kept("an axis has no elements")
    geometry = convolution_geometry(
        "reduce_window",
        size,
        [w for w, *_ in spatial],
        [s for _, s, *_ in spatial],
        [(max(lo, 0), max(hi, 0)) for _, _, (lo, hi), *_ in spatial],
        1,
        [d for *_, d in spatial],
        1,
        may_be_empty=True,
    )
    if 0 in geometry.output_size:
        return Kept("an axis has no elements")
    out = (*shape[:first], *geometry.output_size, *shape[last:])
    return _Windows((n, *shape[first:last], c), shape, out, dilated, geometry)


def _is_sharded(aval: Any) -> bool:
    """Whether an array is sharded over a mesh with explicit axes."""
    return any(axes is not None for axes in aval.sharding.spec)


def _reshaped(a: Array, shape: tuple[int, ...]) -> Array:
    return a if a.shape == shape else a.reshape(shape)


def _why_not(dtype: np.dtype, *, ordered: bool) -> str:
    """Why elements of a dtype are not pooled here; empty if they are."""
    if dtype == np.dtype(bool):
        return "its elements are booleans"
    if dtype == jnp.float8_e8m0fnu:
        return "its dtype has no zero"
    if ordered and jnp.issubdtype(dtype, jnp.complexfloating):
        return "its elements are complex"
    return ""


# XLA has a faster gradient there, which leaves the order among equal elements open.
_ON_TPUS = Kept("on TPUs lax's own pools are faster to differentiate")


def _stays_on_tpus(x: Any) -> bool:
    """Whether the largest elements of windows are left to lax, because JAX runs on a TPU."""
    return jax.default_backend() == "tpu" and jnp.issubdtype(x.dtype, jnp.floating)


# The most elements of an axis over which windows may grow.
_FEW = 32


def _is_cumulative(windows: _Windows) -> bool:
    """Whether windows reach over the whole of an axis at each of its positions."""
    return any(a.r >= a.i > _FEW and a.p == a.i and a.s == 1 for a in windows.geometry.axes())


# Rules.

_POOLS: dict[str, tuple[Callable[[Array, Geometry], Array], str]] = {
    "max": (_maxima, "jaxconv.max_pool"),
    "min": (_minima, "jaxconv.min_pool"),
    "add": (_sums, "jaxconv.sum_pool"),
}


def _identity(name: str, dtype: np.dtype) -> Any:
    """The element that changes no result of an operation."""
    if name == "add":
        return 0
    lowest = np.asarray(lowest_of(dtype)).astype(dtype)
    if name == "max":
        return lowest
    return -lowest if jnp.issubdtype(dtype, jnp.floating) else ~lowest


def _pool(name: str, avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    (x,) = avals
    if reason := _why_not(x.dtype, ordered=name != "add"):
        return Kept(reason)
    windows = _windows(x, **params)
    if isinstance(windows, Kept):
        return windows
    if _is_cumulative(windows):
        return Kept("its windows grow over a whole axis, as in a cumulative sum")
    if name != "add" and _stays_on_tpus(x):
        return _ON_TPUS
    pool, description = _POOLS[name]
    fill = _identity(name, x.dtype)

    def run(x):
        return [windows.result(pool(windows.to_map(x, fill), windows.geometry))]

    return Replacement(run, description)


@rule(lax.reduce_window_max_p)
def _reduce_window_max(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    return _pool("max", avals, params)


@rule(lax.reduce_window_min_p)
def _reduce_window_min(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    return _pool("min", avals, params)


@rule(lax.reduce_window_sum_p)
def _reduce_window_sum(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    return _transposed_sum(avals[0], **params) or _pool("add", avals, params)


def _transposed_sum(
    y: Any,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Replacement | None:
    """The gradient of a pool with strides, which lax writes as a sum over the dilated gradient.

        out[q] = Σ_t y[p] [q + d·t = e·p + lo]
               = Σ_r y[p] [e·p + d·r - (d(R-1) - lo) = q]    with r = R-1-t

    This is the transpose of a sum pool with strides e and low padding d(R-1) - lo.
    """
    if max(window_strides) > 1 or max(base_dilation) == 1 or _why_not(y.dtype, ordered=False):
        return None
    reach = [d * (w - 1) for w, d in zip(window_dimensions, window_dilation, strict=True)]
    ends = [e * (p - 1) for p, e in zip(y.shape, base_dilation, strict=True)]
    shape = tuple(
        end + 1 + lo + hi - r for end, (lo, hi), r in zip(ends, padding, reach, strict=True)
    )
    of_pool = [(r - lo, max(r - hi, 0)) for (lo, hi), r in zip(padding, reach, strict=True)]
    if min(shape) < 1 or any(lo < 0 for lo, _ in of_pool):
        return None
    windows = _windows(
        y.update(shape=shape), window_dimensions, base_dilation, of_pool, None, window_dilation
    )
    if isinstance(windows, Kept) or windows.out != y.shape:
        return None

    def run(y):
        return [_reshaped(window_spread(windows.pooled(y), geometry=windows.geometry), shape)]

    return Replacement(run, "the transpose of jaxconv.sum_pool")


def with_dilation(pad: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameters of a sum over windows that dilates its operand itself.

    Args:
      pad: The parameters of the `pad` that dilates its operand with zeros.
      params: The parameters of the `reduce_window_sum`.

    Returns:
      The parameters of the same sum over what is dilated, or None if it has none.
    """
    if max(params["base_dilation"]) > 1 or any(map(any, params["padding"])):
        return None
    sides = [tuple(map(int, of_axis)) for of_axis in pad["padding_config"]]
    return {
        **params,
        "base_dilation": tuple(inner + 1 for *_, inner in sides),
        "padding": tuple((lo, hi) for lo, hi, _ in sides),
    }


@rule(lax.reduce_window_p)
def _reduce_window(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    """A reduction of one operand by one of the three operations, from any first value.

    Its derivative stays lax's own, which halves the tangent of a maximum among two equals.
    """
    if len(avals) != 2:
        return Kept("it reduces several arrays together")
    name = _operation(params["jaxpr"])
    if name is None:
        return Kept("it reduces by another operation than max, min or add")
    if name == "add" and any(side != 0 for sides in params["padding"] for side in sides):
        return Kept("its padding holds the first value, which may not be zero")
    of_windows = {key: params[key] for key in params if key not in ("jaxpr", "consts")}
    found = _pool(name, avals[:1], of_windows)
    if isinstance(found, Kept):
        return found
    combine = {"max": jnp.maximum, "min": jnp.minimum, "add": jnp.add}[name]

    @jax.custom_jvp
    def run(x, start):
        return [combine(found.run(x)[0], start)]

    def jvp(primals, tangents):
        x, start = primals
        x_dot, start_dot = tangents

        def of_lax(*operands):
            return lax.reduce_window_p.bind(*operands, **params)

        if isinstance(start_dot, SymbolicZero):  # lax differentiates with respect to x only
            return jax.jvp(lambda x: of_lax(x, start), (x,), (_instantiated(x, x_dot),))
        return jax.jvp(of_lax, primals, (_instantiated(x, x_dot), start_dot))

    run.defjvp(jvp, symbolic_zeros=True)
    return Replacement(run, found.description)


def _instantiated(x: Array, x_dot: Any) -> Any:
    return jnp.zeros_like(x) if isinstance(x_dot, SymbolicZero) else x_dot


def _operation(jaxpr: Any) -> str | None:
    """The name of the operation that is all that a reduction does with its two values."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    if len(jaxpr.eqns) != 1:
        return None
    (equation,) = jaxpr.eqns
    is_all = list(equation.outvars) == list(jaxpr.outvars)
    takes_both = set(map(id, equation.invars)) == set(map(id, jaxpr.invars))
    name = equation.primitive.name
    return name if is_all and takes_both and name in _POOLS else None


def _chosen_windows(
    operand: Any, params: Mapping[str, Any]
) -> tuple[_Windows, Callable[[Array], Array]] | Kept:
    """The windows of a derivative, and the operand in the order in which the largest is chosen."""
    if not jnp.issubdtype(operand.dtype, jnp.floating):
        return Kept("its elements are no floating-point numbers")
    if _stays_on_tpus(operand):
        return _ON_TPUS
    of_windows = {key: value for key, value in params.items() if key != "select_prim"}
    windows = _windows(operand, **of_windows)
    if isinstance(windows, Kept):
        return windows
    order: Callable[[Array], Array] = lambda x: x  # noqa: E731
    if params["select_prim"] is not lax.ge_p:
        order = _reversed_order
    return windows, order


@rule(lax.select_and_scatter_add_p)
def _select_and_scatter_add(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    found = _chosen_windows(avals[1], params)
    if isinstance(found, Kept):
        return found
    windows, order = found
    if any(map(any, windows.dilated)):
        return Kept("its padding is negative")

    def run(source, operand):
        geometry = windows.geometry
        x = windows.to_map(order(operand), lowest_of(operand.dtype))
        _, index = window_max_and_tap(x, geometry=geometry)
        x_bar = window_scatter(windows.pooled(source), index, geometry=geometry)
        return [_reshaped(x_bar, windows.given)]

    return Replacement(run, "the transpose of jaxconv.max_pool")


@rule(lax.select_and_gather_add_p)
def _select_and_gather_add(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    found = _chosen_windows(avals[1], params)
    if isinstance(found, Kept):
        return found
    windows, order = found

    def run(tangent, operand):
        geometry = windows.geometry
        x = windows.to_map(order(operand), lowest_of(operand.dtype))
        _, index = window_max_and_tap(x, geometry=geometry)
        return [windows.result(window_gather(windows.to_map(tangent, 0), index, geometry=geometry))]

    return Replacement(run, "the derivative of jaxconv.max_pool")
