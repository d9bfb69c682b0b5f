"""What lies beyond the border of a feature map, where it is not zeros.

Padding in a mode writes pixels of the map itself around it. On one axis of size N, with `lo` pixels
before and `hi` after,

    y[j] = x[m(j - lo)],    0 <= j < lo + N + hi                                                 (1)

where `m` is the identity inside and sends what is outside back in:

    circular     m(i) = i mod N                the map goes round
    reflect      m(i) = -i,  2(N-1) - i        a mirror in the first and the last pixel
    replicate    m(i) = 0,   N-1               the border goes on

however far outside: the map goes round several times, and mirrors are mirrored. So m has the period
N or 2(N-1), and a single pixel, which is its own mirror image, is repeated.

(1) only copies, so it is linear, and its VJP sums what was copied from each place:

    x_bar[i] = Σ_j y_bar[j] ∂y[j]/∂x[i] = Σ_j y_bar[j] [m(j - lo) = i]                           (2)

the error of a pixel in the padding flows back to where it came from. Negative padding crops (1).

What (1) needs is written around the map in steps, each at most as wide as the pixels that are there
by then; the map grows threefold with each. (2) takes the steps back.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from .. import algorithms
from .._forms import linear_pair
from .._geometry import Geometry
from .._spec import ConvSpec
from .._typing import Array

PaddingMode: TypeAlias = Literal["zeros", "circular", "reflect", "replicate"]


def check_sides(function: str, geometry: Geometry, mode: PaddingMode) -> None:
    """Refuse padding that a mode does not define, under the name of the public function.

    Raises:
      ValueError: There are no pixels to pad with, or the input is dilated.
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
    """The convolution of an input that has its padding already, unless the padding is zeros."""
    return spec if mode == "zeros" else spec.replace(geometry=spec.geometry.padded())


def pad_boundary(x: Array, spec: ConvSpec, mode: PaddingMode) -> Array:
    """The input of a convolution, padded in a mode; as it is if the padding is zeros."""
    if mode == "zeros" or spec.geometry.padding == spec.geometry.padded().padding:
        return x
    return _extend(x, geometry=spec.geometry, mode=mode)


def fold_boundary(x_bar: Array, spec: ConvSpec, mode: PaddingMode) -> Array:
    """The transpose of `pad_boundary`: each gradient in the padding goes to where it came from."""
    if mode == "zeros" or spec.geometry.padding == spec.geometry.padded().padding:
        return x_bar
    return _fold(x_bar, geometry=spec.geometry, mode=mode)


class _Step(NamedTuple):
    """Pixels to write before and after an axis: `low` and `high` of them."""

    mode: PaddingMode
    size: int  # of the axis before the step
    period: int  # the longest one that the axis holds
    low: int
    high: int


def _steps(mode: PaddingMode, size: int, low: int, high: int) -> list[_Step]:
    """The steps that write `low` pixels before and `high` after an axis of the map."""
    steps: list[_Step] = []
    if mode == "reflect" and size == 1:
        mode = "replicate"
    now = size
    while low or high:
        if mode == "replicate":
            period = max(low, high)
        elif mode == "circular":
            period = now // size * size
        else:  # to where the next mirror is
            period = (now - 1) // (size - 1) * (size - 1)
        step = _Step(mode, now, period, min(low, period), min(high, period))
        steps.append(step)
        low, high, now = low - step.low, high - step.high, now + step.low + step.high
    return steps


def _pad(x: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    dtype = x.dtype
    x = x.astype(algorithms.of_whole_bytes(dtype))
    for axis, (lo, hi) in enumerate(geometry.padding, start=1):
        before, after = max(lo, 0), max(hi, 0)
        for step in _steps(mode, x.shape[axis], before, after):
            sides = _beyond(x, axis, step, low=True), x, _beyond(x, axis, step, low=False)
            x = jnp.concatenate(sides, axis)  # (1)
        x = lax.slice_in_dim(x, before - lo, x.shape[axis] - after + hi, axis=axis)
    return x.astype(dtype)


def _sum(y: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    dtype = y.dtype
    y = y.astype(algorithms.accumulator(dtype))
    for axis in reversed(range(1, y.ndim - 1)):
        size, (lo, hi) = geometry.input_size[axis - 1], geometry.padding[axis - 1]
        before, after = max(lo, 0), max(hi, 0)
        y = _widened(y, axis, before - lo, after - hi)
        for step in reversed(_steps(mode, size, before, after)):
            below, y, above = jnp.split(y, (step.low, step.low + step.size), axis)
            y += _taken_back(below, axis, step, low=True)  # (2), term by term
            y += _taken_back(above, axis, step, low=False)
    return y.astype(dtype)


def _beyond(x: Array, axis: int, step: _Step, *, low: bool) -> Array:
    """The pixels that a step writes beyond one border."""
    count = step.low if low else step.high
    start, length = _source(step, count, low=low)
    strip = lax.slice_in_dim(x, start, start + length, axis=axis)
    if step.mode == "reflect":
        return jnp.flip(strip, axis)
    return jnp.repeat(strip, count, axis) if step.mode == "replicate" else strip


def _taken_back(errors: Array, axis: int, step: _Step, *, low: bool) -> Array | float:
    """The transpose of `_beyond`: the errors beyond one border where their pixels came from."""
    count = errors.shape[axis]
    if not count:
        return 0.0
    start, length = _source(step, count, low=low)
    if step.mode == "reflect":
        errors = jnp.flip(errors, axis)
    elif step.mode == "replicate":
        errors = errors.sum(axis, keepdims=True)
    return _widened(errors, axis, start, step.size - start - length)


def _source(step: _Step, count: int, *, low: bool) -> tuple[int, int]:
    """First pixel and number of those that fill `count` places beyond the low or high border."""
    if step.mode == "circular":
        return (step.period - count if low else step.size - step.period), count
    if step.mode == "reflect":
        return (1 if low else step.size - 1 - count), count
    return (0 if low else step.size - 1), min(count, 1)


def _widened(x: Array, axis: int, lo: int, hi: int) -> Array:
    """Zeros before and after: the transpose of a slice."""
    sides = [(lo, hi, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _result(slot: str, operand, *, geometry: Geometry, mode: PaddingMode) -> jax.ShapeDtypeStruct:
    inner = geometry.padded()
    size = inner.input_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((operand.shape[0], *size, operand.shape[-1]), operand.dtype)


_extend, _fold = linear_pair("jaxconv_boundary", _pad, _sum, result=_result)
