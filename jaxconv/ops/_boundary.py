"""Padding modes that fill the padding with elements of the feature map instead of zeros.

On one axis of size N, with `lo` elements of padding before and `hi` after,

    y[j] = x[m(j - lo)],    0 <= j < lo + N + hi                                                 (1)

The map m leaves positions inside the feature map as they are and sends positions outside back in:

    circular     m(i) = i mod N                the feature map is repeated
    reflect      m(i) = -i,  2(N-1) - i        it is mirrored in its first and in its last element
    replicate    m(i) = 0,   N-1               its first and its last element are repeated

The padding may be wider than the feature map, which is then repeated several times, or mirrored in
the last element of each mirror image. So m has the period N for "circular" and 2(N-1) for
"reflect". A feature map of one element is its own mirror image, and "reflect" repeats it.

(1) only copies elements, so it is linear. Its transpose sums over the copies of each element:

    x_bar[i] = Σ_j y_bar[j] ∂y[j]/∂x[i] = Σ_j y_bar[j] [m(j - lo) = i]                           (2)

The gradient of an element of the padding goes to the element that it was copied from. Negative
padding crops the feature map.

(1) is computed in steps. Each step copies elements of the map as the steps before have padded it,
so it adds at most as many elements to either side as that map has, and the size of an axis can
triple. (2) takes the same steps in reverse order.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from .. import algorithms
from .._geometry import Geometry
from .._spec import ConvSpec
from .._typing import Array
from ..forms import axis_by_axis, linear_pair, merge_leading_axes

PaddingMode: TypeAlias = Literal["zeros", "circular", "reflect", "replicate"]


def check_sides(function: str, geometry: Geometry, mode: PaddingMode) -> None:
    """Check that a padding mode can fill the padding of a call of the public `function`.

    Raises:
      ValueError: An axis to pad has no elements, or the input is dilated.
    """
    if mode == "zeros":
        return
    if any(e > 1 for e in geometry.input_dilation):
        raise ValueError(
            f"{function}: padding_mode={mode!r} needs input_dilation = 1, "
            f"got {geometry.input_dilation}."
        )
    for axis, (size, sides) in enumerate(zip(geometry.input_size, geometry.padding, strict=True)):
        if not size and max(sides) > 0:
            raise ValueError(
                f"{function}: padding {sides} along spatial axis {axis} needs a pixel to pad with "
                f"in padding_mode={mode!r}, but the input has none."
            )


def without_padding(spec: ConvSpec, mode: PaddingMode) -> ConvSpec:
    """The convolution that is left to do after `pad_boundary`: it pads only for "zeros"."""
    return spec if mode == "zeros" else spec.replace(geometry=spec.geometry.padded())


def pad_boundary(x: Array, spec: ConvSpec, mode: PaddingMode) -> Array:
    """Pad the input of a convolution. For "zeros" `x` is returned as it is."""
    if _fills_padding(spec, mode):
        return _pad_axes(x, geometry=spec.geometry, mode=mode)
    return x


def fold_boundary(x_bar: Array, spec: ConvSpec, mode: PaddingMode) -> Array:
    """The transpose of `pad_boundary`: add gradients of the padding to those of its sources."""
    if _fills_padding(spec, mode):
        return _fold_axes(x_bar, geometry=spec.geometry, mode=mode)
    return x_bar


def _fills_padding(spec: ConvSpec, mode: PaddingMode) -> bool:
    return mode != "zeros" and any(map(any, spec.geometry.padding))


class _Step(NamedTuple):
    """One step of (1): add `low` elements before and `high` elements after an axis."""

    mode: PaddingMode
    size: int  # of the axis before the step
    period: int  # the most elements that the step can add to one side
    low: int
    high: int


def _steps(mode: PaddingMode, size: int, low: int, high: int) -> list[_Step]:
    """The steps that add `low` elements before and `high` elements after an axis."""
    steps: list[_Step] = []
    if mode == "reflect" and size == 1:
        mode = "replicate"
    now = size
    while low or high:
        if mode == "replicate":
            period = max(low, high)
        elif mode == "circular":  # whole repetitions
            period = now // size * size
        else:  # whole mirror images, so that the axis ends where one ends
            period = (now - 1) // (size - 1) * (size - 1)
        step = _Step(mode, now, period, min(low, period), min(high, period))
        steps.append(step)
        low, high, now = low - step.low, high - step.high, now + step.low + step.high
    return steps


def _pad(x: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    """(1) along each axis."""
    dtype = x.dtype
    x = x.astype(algorithms.of_whole_bytes(dtype))
    for axis, (lo, hi) in enumerate(geometry.padding, start=1):
        before, after = max(lo, 0), max(hi, 0)
        for step in _steps(mode, x.shape[axis], before, after):
            sides = _side(x, axis, step, low=True), x, _side(x, axis, step, low=False)
            x = jnp.concatenate(sides, axis)
        x = lax.slice_in_dim(x, before - lo, x.shape[axis] - after + hi, axis=axis)
    return x.astype(dtype)


def _sum(y: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    """(2) along each axis."""
    dtype = y.dtype
    y = y.astype(algorithms.accumulator(dtype))
    for axis in reversed(range(1, y.ndim - 1)):
        size, (lo, hi) = geometry.input_size[axis - 1], geometry.padding[axis - 1]
        before, after = max(lo, 0), max(hi, 0)
        y = _pad_with_zeros(y, axis, before - lo, after - hi)
        for step in reversed(_steps(mode, size, before, after)):
            below, y, above = jnp.split(y, (step.low, step.low + step.size), axis)
            y += _fold_side(below, axis, step, low=True)
            y += _fold_side(above, axis, step, low=False)
    return y.astype(dtype)


def _side(x: Array, axis: int, step: _Step, *, low: bool) -> Array:
    """The elements that a step adds to one side of an axis."""
    count = step.low if low else step.high
    start, length = _source(step, count, low=low)
    strip = lax.slice_in_dim(x, start, start + length, axis=axis)
    if step.mode == "reflect":
        return jnp.flip(strip, axis)
    return jnp.repeat(strip, count, axis) if step.mode == "replicate" else strip


def _fold_side(y_bar: Array, axis: int, step: _Step, *, low: bool) -> Array | int:
    """The transpose of `_side`: gradients of one side, at the positions of their sources."""
    count = y_bar.shape[axis]
    if not count:
        return 0  # 0.0 would make integers floats
    start, length = _source(step, count, low=low)
    if step.mode == "reflect":
        y_bar = jnp.flip(y_bar, axis)
    elif step.mode == "replicate":
        y_bar = y_bar.sum(axis, keepdims=True)
    return _pad_with_zeros(y_bar, axis, start, step.size - start - length)


def _source(step: _Step, count: int, *, low: bool) -> tuple[int, int]:
    """First position and number of the elements that `count` elements of padding are copied from.

    The padding is on the low or on the high side.
    """
    if step.mode == "circular":
        return (step.period - count if low else step.size - step.period), count
    if step.mode == "reflect":
        return (1 if low else step.size - 1 - count), count
    return (0 if low else step.size - 1), min(count, 1)


def _pad_with_zeros(x: Array, axis: int, lo: int, hi: int) -> Array:
    """The transpose of a slice."""
    sides = [(lo, hi, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _result(slot: str, operand, *, geometry: Geometry, mode: PaddingMode) -> jax.ShapeDtypeStruct:
    inner = geometry.padded()
    size = inner.input_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((operand.shape[0], *size, operand.shape[-1]), operand.dtype)


_pad_axes, _fold_axes = linear_pair(
    _pad,
    _sum,
    name="jaxconv_boundary",
    result=_result,
    batch=merge_leading_axes,
    shard=axis_by_axis,
)
