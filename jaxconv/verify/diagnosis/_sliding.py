"""The convolutions and window sums of a program in one form.

The convolutions of lax, those of jaxconv and their transposes slide a kernel over a feature map. So
does a sum over windows, whose kernel is ones. All are written as

    y[n,p,o] = Σ_{r,c} x[n, (s·p + d·r - lo) / e, c] k[r,c,o]                              (1)

with a `Grid` that can be changed. (1) is computed in NumPy, so that a changed convolution need not
be compiled.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._grids import Grid


@dataclass(frozen=True)
class Slide:
    """An equation in the form (1).

    Attributes:
      equation: The equation; the last one if there are several.
      sources: The variables that it is computed from, the feature map first.
      geometry: Sizes, strides, padding, dilations and groups.
      batch_groups: The number of groups of examples, each with its own outputs.
      is_pool: Whether the kernel is ones.
      operands: The function from the values of the sources to x and k.
      result: The function from y to the result of the equation.
    """

    equation: Any
    sources: tuple[Any, ...]
    geometry: Grid
    batch_groups: int
    is_pool: bool
    operands: Callable[..., tuple[np.ndarray, np.ndarray]]
    result: Callable[[np.ndarray], np.ndarray]


def slide_of(equation: Any, producers: dict) -> Slide | None:
    """An equation in the form (1), or None if it does not have this form.

    Args:
      equation: Any equation.
      producers: The equation that computes each variable.
    """
    name = equation.primitive.name
    if name == "conv_general_dilated":
        return _of_lax(equation, producers)
    if name in _OURS:
        return _OURS[name](equation)
    if name in ("reduce_window_sum", "jaxconv_window_sum_out", "jaxconv_window_sum_in"):
        return _of_windows(equation, producers)
    return None


def compute(x: np.ndarray, kernel: np.ndarray, geometry: Grid, batch_groups: int = 1) -> np.ndarray:
    """Equation (1) in NumPy. The high padding follows from the sizes."""
    windows = _windows(x, geometry)
    groups = geometry.groups * batch_groups
    kernels = np.split(kernel, groups, axis=-1)
    axis = 0 if batch_groups > 1 else -1
    parts = np.split(windows, groups, axis=axis) if groups > 1 else [windows]
    rank = geometry.rank
    taps = list(range(1 + rank, 1 + 2 * rank))
    pairs = zip(parts, kernels, strict=True)
    return np.concatenate(
        [
            np.tensordot(part, k, ([*taps, part.ndim - 1], [*range(rank), rank]))
            for part, k in pairs
        ],
        axis=-1,
    )


def _windows(x, geometry):
    """The elements that each window reads, `(n, *p, *r, c)`."""
    rank = geometry.rank
    line, here, there = [len(x)], [slice(None)], [slice(None)]
    for i, r, p, s, lo, e, d in geometry.axes():
        length = s * (p - 1) + d * (r - 1) + 1
        # Element j lies at e·j + lo. Elements at negative places are cropped.
        first = max(0, -(lo // e))
        last = min(i, (length - 1 - lo) // e + 1)
        line.append(length)
        here.append(slice(first, max(last, first)))
        start = e * first + lo
        there.append(slice(start, start + e * (max(last, first) - first), e))
    padded = np.zeros((*line, x.shape[-1]), x.dtype)
    padded[tuple(there)] = x[tuple(here)]
    strides = padded.strides
    view = np.lib.stride_tricks.as_strided(
        padded,
        (len(x), *geometry.output_size, *geometry.window, x.shape[-1]),
        (
            strides[0],
            *(step * s for step, s in zip(strides[1:-1], geometry.strides, strict=True)),
            *(step * d for step, d in zip(strides[1:-1], geometry.kernel_dilation, strict=True)),
            strides[-1],
        ),
        writeable=False,
    )
    assert view.ndim == 2 + 2 * rank
    return view


def _of_lax(equation, producers):
    params = equation.params
    numbers = params["dimension_numbers"]
    x, k = equation.invars
    (y,) = equation.outvars
    source, padding, dilation = _unpadded(x, producers)
    spatial = numbers.lhs_spec[2:]
    if any(padding[axis] != (0, 0) for axis in numbers.lhs_spec[:2]) or any(
        e != 1 for e in params["lhs_dilation"]
    ):
        source, padding, dilation = x, [(0, 0)] * x.aval.ndim, [1] * x.aval.ndim
    sides = zip(params["padding"], (padding[axis] for axis in spatial), strict=True)
    geometry = Grid(
        _sizes(source, spatial),
        _sizes(k, numbers.rhs_spec[2:]),
        _sizes(y, numbers.out_spec[2:]),
        tuple(params["window_strides"]),
        tuple(int(a[0] + b[0]) for a, b in sides),
        tuple(dilation[axis] * e for axis, e in zip(spatial, params["lhs_dilation"], strict=True)),
        tuple(params["rhs_dilation"]),
        params["feature_group_count"],
    )
    batch, channel, *rest = numbers.lhs_spec
    out, into, *taps = numbers.rhs_spec
    back = np.argsort([numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1]])
    return Slide(
        equation,
        (source, k),
        geometry,
        params["batch_group_count"],
        False,
        lambda x, k: (
            np.transpose(x, (batch, *rest, channel)),
            np.transpose(k, (*taps, into, out)),
        ),
        lambda y: np.transpose(y, back),
    )


def _sizes(variable, axes):
    return tuple(variable.aval.shape[axis] for axis in axes)


def _unpadded(variable, producers):
    """The feature map before zeros were padded around it and dilated into it."""
    plain = [(0, 0)] * variable.aval.ndim, [1] * variable.aval.ndim
    producer = producers.get(variable)
    if producer is None or producer.primitive.name != "pad":
        return variable, *plain
    source, value = producer.invars
    if not hasattr(value, "val") or np.any(np.asarray(value.val)):
        return variable, *plain
    config = producer.params["padding_config"]
    return source, [(lo, hi) for lo, hi, _ in config], [between + 1 for *_, between in config]


def _grid(equation):
    """The grid of one of jaxconv's primitives."""
    params = equation.params
    g = params["spec"].geometry if "spec" in params else params["geometry"]
    low = tuple(lo for lo, _ in g.padding)
    sizes = g.input_size, g.window, g.output_size, g.strides, low
    return Grid(*sizes, g.input_dilation, g.kernel_dilation, g.groups)


def _ours_forward(equation):
    return _ours(equation, _grid(equation), lambda x, k: (x, k), lambda y: y)


def _ours_input(equation):
    geometry = _grid(equation)

    def operands(y, k):
        taps = tuple(range(k.ndim - 2))
        groups = np.split(np.flip(k, taps), geometry.groups, axis=-1)
        return y, np.concatenate([np.swapaxes(group, -1, -2) for group in groups], axis=-1)

    kernel, y = equation.invars
    slide = _ours(equation, geometry.transposed(), operands, lambda x: x)
    return replace(slide, sources=(y, kernel))


def _ours_kernel(equation):
    geometry = _grid(equation)
    return _ours(
        equation,
        replace(geometry.correlated(), groups=1),
        lambda x, y: (np.swapaxes(x, 0, -1), np.moveaxis(y, 0, -2)),
        lambda k: np.moveaxis(k, 0, -2),
        geometry.groups,
    )


def _ours(equation, geometry, operands, result, batch_groups=1):
    sources = tuple(equation.invars)
    return Slide(equation, sources, geometry, batch_groups, False, operands, result)


_OURS = {"jaxconv_y": _ours_forward, "jaxconv_x": _ours_input, "jaxconv_k": _ours_kernel}


def _of_windows(equation, producers):
    params = equation.params
    (x,), (y,) = equation.invars, equation.outvars
    if "geometry" in params:
        rank = x.aval.ndim
        geometry = _grid(equation)
        if equation.primitive.name.endswith("_in"):
            geometry = geometry.transposed()
        return _pool(equation, x, range(1, rank - 1), geometry)
    source, padding, dilation = _unpadded(x, producers)
    if any(e != 1 for e in params["base_dilation"]):
        source, padding, dilation = x, [(0, 0)] * x.aval.ndim, [1] * x.aval.ndim
    sides = [int(a[0] + b[0]) for a, b in zip(params["padding"], padding, strict=True)]
    grids = [e * d for e, d in zip(params["base_dilation"], dilation, strict=True)]
    windows, strides = params["window_dimensions"], params["window_strides"]
    given = list(zip(windows, strides, sides, grids, strict=True))
    sizes = list(zip(source.aval.shape, y.aval.shape, strict=True))
    spatial = [a for a, (i, p) in enumerate(sizes) if given[a] != (1, 1, 0, 1) or i != p]
    if not spatial:
        return None
    geometry = Grid(
        _sizes(source, spatial),
        tuple(windows[a] for a in spatial),
        _sizes(y, spatial),
        tuple(strides[a] for a in spatial),
        tuple(sides[a] for a in spatial),
        tuple(grids[a] for a in spatial),
        tuple(params["window_dilation"][a] for a in spatial),
    )
    return _pool(equation, source, spatial, geometry)


def _pool(equation, source, spatial: Sequence[int], geometry):
    """A window sum in the form (1); all other axes are examples."""
    shape = equation.outvars[0].aval.shape
    outer = [axis for axis in range(len(shape)) if axis not in spatial]
    order = [*outer, *spatial]

    def operands(x):
        moved = np.transpose(x, order)
        examples = math.prod(moved.shape[: len(outer)])
        x = moved.reshape(examples, *moved.shape[len(outer) :], 1)
        return x, np.ones((*geometry.window, 1, 1))

    def result(y):
        return np.transpose(y.reshape([shape[axis] for axis in order]), np.argsort(order))

    return Slide(equation, (source,), geometry, 1, True, operands, result)
