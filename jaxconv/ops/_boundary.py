"""What lies beyond the border of a feature map, where it is not zeros.

Padding in a mode writes pixels of the map itself around it. On one axis of size N, with `lo` pixels
before and `hi` after,

    y[j] = x[m(j - lo)],    0 <= j < lo + N + hi                                                 (1)

where `m` is the identity inside and sends what is outside back in:

    circular     m(i) = i mod N                the map goes round
    reflect      m(i) = -i,  2(N-1) - i        a mirror in the first and the last pixel
    replicate    m(i) = 0,   N-1               the border goes on

(1) only copies, so it is linear, and its VJP sums what was copied from each place:

    x_bar[i] = Σ_j y_bar[j] ∂y[j]/∂x[i] = Σ_j y_bar[j] [m(j - lo) = i]                           (2)

the error of a pixel in the padding flows back to where it came from. Negative padding crops (1).
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._linear import linear_pair
from .._typing import Array

PaddingMode: TypeAlias = Literal["zeros", "circular", "reflect", "replicate"]


def check_sides(function: str, geometry: Geometry, mode: PaddingMode) -> None:
    """Refuse padding that a mode does not define, under the name of the public function.

    Raises:
      ValueError: The padding is wider than what there is to fill it with, or the input is dilated.
    """
    if mode == "zeros":
        return
    if any(e > 1 for e in geometry.input_dilation):
        raise ValueError(
            f"{function}: padding_mode={mode!r} needs input_dilation = 1, "
            f"got {geometry.input_dilation}."
        )
    for axis, (size, sides) in enumerate(zip(geometry.input_size, geometry.padding, strict=True)):
        available = {"circular": size, "reflect": size - 1}.get(mode, max(sides) if size else 0)
        if max(sides) > max(available, 0):
            raise ValueError(
                f"{function}: padding {sides} along spatial axis {axis} is more than "
                f"padding_mode={mode!r} has pixels for: {available} of an input of {size}."
            )


def pad_boundary(x: Array, geometry: Geometry, mode: PaddingMode) -> tuple[Array, Geometry]:
    """The input padded in a mode, and the geometry that is left: one without padding."""
    inner = geometry.padded()
    if geometry.padding == inner.padding:
        return x, inner
    return _extend(x, geometry=geometry, mode=mode), inner


def fold_boundary(x_bar: Array, geometry: Geometry, mode: PaddingMode) -> Array:
    """The transpose of `pad_boundary`: the padding's errors, taken back to where it came from."""
    if geometry.padding == geometry.padded().padding:
        return x_bar
    return _fold(x_bar, geometry=geometry, mode=mode)


def _pad(x: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    for axis, (lo, hi) in enumerate(geometry.padding, start=1):
        before, after = max(lo, 0), max(hi, 0)
        extended = jnp.concatenate(
            [_beyond(x, axis, mode, before, low=True), x, _beyond(x, axis, mode, after, low=False)],
            axis,
        )  # (1)
        x = lax.slice_in_dim(extended, before - lo, extended.shape[axis] - after + hi, axis=axis)
    return x


def _sum(y: Array, *, geometry: Geometry, mode: PaddingMode) -> Array:
    for axis in reversed(range(1, y.ndim - 1)):
        size, (lo, hi) = geometry.input_size[axis - 1], geometry.padding[axis - 1]
        before, after = max(lo, 0), max(hi, 0)
        y = _widened(y, axis, before - lo, after - hi)
        below, inside, above = jnp.split(y, (before, before + size), axis)
        y = inside  # (2), term by term
        y += _taken_back(below, axis, mode, size, low=True)
        y += _taken_back(above, axis, mode, size, low=False)
    return y


def _beyond(x: Array, axis: int, mode: PaddingMode, count: int, *, low: bool) -> Array:
    """The pixels of `count` places beyond one border."""
    start, length = _source(mode, x.shape[axis], count, low=low)
    strip = lax.slice_in_dim(x, start, start + length, axis=axis)
    if mode == "reflect":
        return jnp.flip(strip, axis)
    return jnp.repeat(strip, count, axis) if mode == "replicate" else strip


def _taken_back(
    errors: Array, axis: int, mode: PaddingMode, size: int, *, low: bool
) -> Array | float:
    """The transpose of `_beyond`: the errors beyond one border where their pixels came from."""
    count = errors.shape[axis]
    if not count:
        return 0.0
    start, length = _source(mode, size, count, low=low)
    if mode == "reflect":
        errors = jnp.flip(errors, axis)
    elif mode == "replicate":
        errors = errors.sum(axis, keepdims=True)
    return _widened(errors, axis, start, size - start - length)


def _source(mode: PaddingMode, size: int, count: int, *, low: bool) -> tuple[int, int]:
    """First pixel and number of those that fill `count` places beyond the low or high border."""
    if mode == "circular":
        return (size - count if low else 0), count
    if mode == "reflect":
        return (min(1, size) if low else max(size - 1 - count, 0)), count
    return (0 if low else max(size - 1, 0)), min(count, 1)


def _widened(x: Array, axis: int, lo: int, hi: int) -> Array:
    """Zeros before and after: the transpose of a slice."""
    sides = [(lo, hi, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _result(slot: str, operand, *, geometry: Geometry, mode: PaddingMode) -> jax.ShapeDtypeStruct:
    inner = geometry.padded()
    size = inner.input_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((operand.shape[0], *size, operand.shape[-1]), operand.dtype)


_extend, _fold = linear_pair("jaxconv_boundary", _pad, _sum, result=_result)
