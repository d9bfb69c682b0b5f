"""Wrong gradients that known slips produce, made from the true one.

Each slip is tried: the true gradient is transformed, or taken again at other arguments, for another
cotangent or with a convolution's options changed. A slip explains a gradient that equals one of
these.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import jax
import numpy as np

from . import _constants
from ._evidence import Evidence
from ._interpreter import equations, evaluate
from ._places import batch_size
from ._problem import Leaf, split

# A slip's name, what the gradient then equals, and that gradient.
Slip = tuple[str, str, np.ndarray]


def slips(evidence: Evidence, leaf: Leaf, true: np.ndarray, row: int) -> Iterator[Slip]:
    """Every slip that applies to the gradient of an array, the plainer ones first."""
    w = evidence.draws.cotangents[row]
    yield from _rearranged(leaf, true)
    yield from _exchanged(evidence, leaf, row)
    yield from _other_arguments(evidence, leaf, w)
    yield from _other_cotangents(evidence, leaf, w)
    yield from _other_options(evidence, leaf, w)


def _rearranged(leaf, true):
    """The true gradient with its elements elsewhere."""
    array = true.reshape(leaf.shape)
    for slip, what, changed in (*rearrangements(array), *shifts(array)):
        yield slip, f"the true one {what}", changed.ravel()


def rearrangements(array: np.ndarray) -> Iterator[Slip]:
    """An array rotated, and with two axes of one size exchanged."""
    rank = array.ndim
    if rank >= 3:
        for first, last in ((0, rank - 2), (1, rank - 1)):
            axes = [axis for axis in range(first, last) if array.shape[axis] > 1]
            if not axes:
                continue
            turned = np.flip(array, tuple(axes))
            rotation = "rotated by 180°" if len(axes) > 1 else f"reversed along axis {axes[0]}"
            yield "kernel not rotated", rotation, turned
            if array.shape[-1] == array.shape[-2]:
                yield (
                    "kernel not rotated, channel axes not exchanged",
                    f"{rotation}, with its channel axes exchanged",
                    np.swapaxes(turned, -1, -2),
                )
    if rank >= 2 and array.shape[-1] == array.shape[-2]:
        slip = "channel axes not exchanged" if rank > 2 else "matrix not transposed"
        yield slip, "with its last two axes exchanged", np.swapaxes(array, -1, -2)
    for a, b in combinations(range(rank - 1), 2):
        if array.shape[a] == array.shape[b] > 1 and b - a == 1 and rank >= 3:
            yield (
                "spatial axes transposed",
                f"with axes {a} and {b} exchanged",
                np.swapaxes(array, a, b),
            )


def _exchanged(evidence, leaf, row):
    """The true gradient of another array."""
    if evidence.truth.reverse is None:
        return
    for other in evidence.problem.leaves:
        if other != leaf and other.shape == leaf.shape:
            yield (
                "cotangents of two arguments exchanged",
                f"the true one of {other.name}",
                evidence.truth.reverse[row][other.elements],
            )


def _other_arguments(evidence, leaf, w):
    """The true gradient where another argument is rotated, transposed or shifted."""
    point = evidence.primal.point
    for other in evidence.problem.leaves:
        if other == leaf and len(evidence.problem.leaves) > 1:
            continue
        array = point[other.elements].reshape(other.shape)
        for slip, what, changed in [*rearrangements(array), *shifts(array)]:
            if np.array_equal(changed, array):
                continue
            moved = point.copy()
            moved[other.elements] = changed.ravel()
            found = evidence.reverse_at(moved, w)
            if found is not None:
                yield slip, f"the true one for {other.name} {what}", found[leaf.elements]


def _other_cotangents(evidence, leaf, w):
    """The true gradient for a part of the cotangent only, or for another one."""
    problem = evidence.problem
    batch = batch_size(problem)
    arrays = split(problem.outputs, w)
    # What has a row for each example is no sum over them.
    sums = batch > 1 and (not leaf.shape or leaf.shape[0] != batch)
    for kept in {0, batch - 1} if sums else ():
        if all(array.ndim and array.shape[0] == batch for array in arrays):
            masked = [np.where(_row(array, kept), array, 0) for array in arrays]
            found = evidence.reverse_at(evidence.primal.point, _flat(masked))
            if found is not None:
                what = f"the true one of example {kept} of the batch alone"
                yield "missing sum over the batch", what, found[leaf.elements]
    ones = evidence.reverse_at(evidence.primal.point, np.ones_like(w))
    if ones is not None:
        yield "cotangent ignored", "the true one for a cotangent of ones", ones[leaf.elements]
    changes = [(rearrangements, 8), (shifts, 8)]
    for change, limit in changes:
        for slip, what, changed in list(change(arrays[0]))[:limit]:
            found = evidence.reverse_at(evidence.primal.point, _flat([changed, *arrays[1:]]))
            if found is not None:
                yield slip, f"the true one for a cotangent {what}", found[leaf.elements]


def shifts(array: np.ndarray) -> Iterator[Slip]:
    """A feature map moved by one along its spatial axes, zeros following."""
    rank = array.ndim
    if rank < 3:
        return
    spatial = tuple(range(1, rank - 1))
    for axes in ((axis,) for axis in spatial):
        yield from _shifted(array, axes)
    if len(spatial) > 1:
        yield from _shifted(array, spatial)


def _shifted(array, axes):
    for step in (1, -1):
        moved = array
        for axis in axes:
            moved = np.roll(moved, step, axis)
            edge = [slice(None)] * array.ndim
            edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
            moved[tuple(edge)] = 0
        named = "axis" if len(axes) == 1 else "axes"
        what = f"shifted by {step:+d} along {named} {', '.join(map(str, axes))}"
        yield "padding off by one", what, moved


def _other_options(evidence, leaf, w):
    """The true gradient's convolutions with strides for dilation, or the padding moved by one."""
    trace = evidence.derivatives.traces.get("true_reverse")
    problem = evidence.problem
    if trace is None or problem.size + problem.output_size > _constants.SLIP_NUMBERS:
        return
    found = [e for e in equations(trace) if e.primitive.name == "conv_general_dilated"]
    args = [
        *split(problem.leaves, evidence.primal.point),
        *(
            part
            for other in (w, *evidence.draws.cotangents[1:])
            for part in split(problem.outputs, other)
        ),
    ]
    for chosen in found if len(found) <= _constants.SLIP_CONVOLUTIONS else ():
        for slip, what, params in _options(chosen):
            with jax.enable_x64(True):
                try:
                    results = evaluate(trace, args, _Replace(chosen, params))
                except (TypeError, ValueError):  # such a convolution doesn't exist
                    continue
                flat = _flat([np.asarray(result) for result in results])
            yield slip, f"the true one with {what}", flat[leaf.elements]


class _Replace:
    """Computes one convolution with other options."""

    def __init__(self, equation: Any, params: dict):
        self.equation, self.params = equation, params

    def __call__(self, equation, operands, results, is_narrow):
        if equation is not self.equation:
            return results
        params = {**equation.params, **self.params}
        params["preferred_element_type"] = None
        changed = equation.primitive.bind(*operands, **params)
        if changed.shape != results[0].shape:
            raise ValueError("the options change the shape")
        return [changed]


def _options(equation) -> Iterator[tuple[str, str, dict]]:
    """A convolution's options after a slip, its output of the same size."""
    params = equation.params
    strides, high = params["window_strides"], params["rhs_dilation"]
    low = params["lhs_dilation"]
    ones = (1,) * len(strides)
    changes = [
        ("stride and kernel dilation exchanged", {"window_strides": high, "rhs_dilation": strides}),
        ("input dilation in place of kernel dilation", {"lhs_dilation": high, "rhs_dilation": low}),
        ("stride in place of input dilation", {"lhs_dilation": strides, "window_strides": low}),
        ("no kernel dilation", {"rhs_dilation": ones}),
        ("no input dilation", {"lhs_dilation": ones}),
    ]
    for what, change in changes:
        if all(params[key] == value for key, value in change.items()):
            continue
        changed = {**params, **change}
        yield "stride taken for dilation", what, {**change, "padding": _fitting(equation, changed)}
    for axes in _axis_sets(len(strides)):
        for step in (1, -1):
            padding = [
                (lo + step, hi - step) if axis in axes else (lo, hi)
                for axis, (lo, hi) in enumerate(params["padding"])
            ]
            what = f"the padding of a convolution moved by {step:+d}"
            yield "padding off by one", what, {"padding": tuple(padding)}


def _axis_sets(rank):
    return [(axis,) for axis in range(rank)] + ([tuple(range(rank))] if rank > 1 else [])


def _fitting(equation, params):
    """The padding with the same low side that keeps the size of the output."""
    numbers = params["dimension_numbers"]
    x, k, y = (
        [v.aval.shape[axis] for axis in spec[2:]]
        for v, spec in zip(
            (*equation.invars, *equation.outvars),
            (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec),
            strict=True,
        )
    )
    padding = []
    for axis, (lo, _) in enumerate(params["padding"]):
        window = (k[axis] - 1) * params["rhs_dilation"][axis] + 1
        inputs = (x[axis] - 1) * params["lhs_dilation"][axis] + 1
        needed = (y[axis] - 1) * params["window_strides"][axis] + window
        padding.append((lo, needed - inputs - lo))
    return tuple(padding)


def _row(array, kept):
    index = np.arange(len(array)) == kept
    return index.reshape(-1, *(1 for _ in array.shape[1:]))


def _flat(arrays):
    return np.concatenate([np.asarray(a).ravel() for a in arrays])
