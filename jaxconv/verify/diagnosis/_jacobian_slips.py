"""Slips that need the contribution of each result to the gradient: the Jacobian, row by row."""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from .. import _constants
from .._problem import Leaf, Problem
from ._array_slips import Change
from ._layouts import Layouts
from ._true_rule import TrueRule

# Strides of windows, and how far a window extends to either side.
_STRIDES = range(1, 5)
_SIDES = range(5)


def jacobian_slips(
    program: TrueRule, leaf: Leaf, problem: Problem, layouts: Layouts
) -> Iterator[Change]:
    """The gradient of an array, flat, after each slip; none for a large function."""
    if program.jacobian is None:
        return
    rows = program.jacobian[:, leaf.elements]
    shares = rows * program.w[:, None]
    true = shares.sum(axis=0)
    yield from _square(rows, program, true, leaf)
    for output in problem.outputs:
        part, own = shares[output.elements], layouts.of_result(output)
        rest = true - part.sum(axis=0)
        # Results and elements in the usual order of their axes.
        numbers = own.usual(np.arange(output.size).reshape(output.shape))
        elements = layouts.of(leaf).usual(np.arange(leaf.size).reshape(leaf.shape))
        yield from _positions(part[numbers.ravel()], numbers.shape, rest, elements)


def _square(rows, program, true, leaf):
    """If there are as many results as elements: the diagonal, and the transpose."""
    if rows.shape[0] != rows.shape[1] or len(rows) < 2:
        return
    diagonal = np.diag(rows) * program.w
    yield (
        "only the diagonal of the Jacobian",
        "the contribution of the diagonal to the true gradient",
        diagonal,
    )
    yield (
        "the diagonal of the Jacobian is missing",
        "the true gradient without the contribution of the diagonal",
        true - diagonal,
    )
    yield "Jacobian not transposed", "J w in place of Jᵀ w", rows @ program.w
    yield (
        "derivative applied twice",
        "the true gradient for the true gradient as cotangent",
        true @ rows,
    )


def _positions(shares, shape, rest, elements):
    """Contributions of the positions of a result that overwrite each other."""
    if not shape or max(shape) < 2:
        return
    spatial = shape[1:-1] if len(shape) > 2 else shape[-1:]
    count = prod(spatial)
    if count < 2 or count > _constants.SLIP_POSITIONS:
        return
    # The shape is (examples, positions, channels, elements); one or two axes have no channels.
    channels = shape[-1] if len(shape) > 2 else 1
    by_position = shares.reshape(-1, count, channels, elements.size).sum(axis=(0, 2))
    # Some algorithms leave rounding errors in place of zeros.
    is_there = np.abs(by_position) > _constants.CLOSE * np.abs(by_position).max(initial=0)
    many = is_there.sum(axis=0) > 1
    if not many.any():
        return
    columns = np.arange(elements.size)
    first = is_there.argmax(axis=0)
    last = count - 1 - is_there[::-1].argmax(axis=0)
    everywhere = (last == count - 1).all() and (first == 0).all()
    slip = "missing sum over the positions" if everywhere else "overlaps written over"
    for which, kept in (("last", last), ("first", first)):
        what = f"the {which} contribution to each element alone"
        yield slip, what, rest + by_position[kept, columns]
    for position in (0, count - 1):
        what = f"the contributions of position {position} alone"
        yield "missing sum over the positions", what, rest + by_position[position]
    averaged = by_position.sum(axis=0) / np.maximum(is_there.sum(axis=0), 1)
    yield "overlaps averaged", "the mean of the contributions to each element", rest + averaged
    if elements.ndim == len(shape) > 2:
        sizes = list(zip(spatial, elements.shape[1:-1], strict=True))
        for which, at in _written_last(sizes):
            kept = np.empty(elements.size, int)
            kept[elements] = at[None, ..., None]
            what = f"the contribution of the {which} window over each element alone"
            yield "overlaps written over", what, rest + by_position[kept, columns]


def _written_last(sizes):
    """The last and the first window over each element, for all usual geometries.

    A rule may also write zeros to the other elements of a window, as that of a maximum does. The
    contributions then don't show the windows. Window p covers s·p - lo to s·p + hi.
    """
    for stride, side in product(_STRIDES, _SIDES):
        last = [np.clip((np.arange(i) + side) // stride, 0, p - 1) for p, i in sizes]
        first = [np.clip(-((side - np.arange(i)) // stride), 0, p - 1) for p, i in sizes]
        counts = [p for p, _ in sizes]
        for which, at in (("last", last), ("first", first)):
            yield which, np.ravel_multi_index(np.meshgrid(*at, indexing="ij"), counts)
