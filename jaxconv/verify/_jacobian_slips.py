"""Slips that need each result's own share of the gradient: the Jacobian, row by row."""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from . import _constants
from ._arrays import Change
from ._layouts import Layouts
from ._problem import Leaf, Problem
from ._program import Program

# Strides of windows, and how far one reaches to either side of where it stands.
_STRIDES = range(1, 5)
_SIDES = range(5)


def jacobian_slips(
    program: Program, leaf: Leaf, problem: Problem, layouts: Layouts
) -> Iterator[Change]:
    """What the gradient of an array is, flat, after each slip; none for a large function."""
    if program.jacobian is None:
        return
    rows = program.jacobian[:, leaf.elements]
    shares = rows * program.w[:, None]
    true = shares.sum(axis=0)
    yield from _square(rows, program, true, leaf)
    for output in problem.outputs:
        part, own = shares[output.elements], layouts.of_result(output)
        rest = true - part.sum(axis=0)
        # The results in their usual order, and so are the elements where they are counted.
        numbers = own.usual(np.arange(output.size).reshape(output.shape))
        elements = layouts.of(leaf).usual(np.arange(leaf.size).reshape(leaf.shape))
        yield from _positions(part[numbers.ravel()], numbers.shape, rest, elements)


def _square(rows, program, true, leaf):
    """Where results and elements are as many: the diagonal, and the transpose."""
    if rows.shape[0] != rows.shape[1] or len(rows) < 2:
        return
    diagonal = np.diag(rows) * program.w
    yield "only the diagonal of the Jacobian", "the diagonal's share of the true one", diagonal
    yield (
        "the diagonal of the Jacobian is missing",
        "the true one without the diagonal's share",
        true - diagonal,
    )
    yield "Jacobian not transposed", "J w in place of Jᵀ w", rows @ program.w
    yield "derivative applied twice", "the true one for itself as cotangent", true @ rows


def _positions(shares, shape, rest, elements):
    """The shares of the positions of a result, one written over the other."""
    if not shape or max(shape) < 2:
        return
    spatial = shape[1:-1] if len(shape) > 2 else shape[-1:]
    count = prod(spatial)
    if count < 2 or count > _constants.SLIP_POSITIONS:
        return
    # (examples, positions, channels, elements), with no channels for two axes or one.
    channels = shape[-1] if len(shape) > 2 else 1
    by_position = shares.reshape(-1, count, channels, elements.size).sum(axis=(0, 2))
    # What an algorithm leaves of a zero is none.
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
        what = f"of the contributions to each element the {which} alone"
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
            what = f"of the windows over each element the {which} one's contribution alone"
            yield "overlaps written over", what, rest + by_position[kept, columns]


def _written_last(sizes):
    """Which window is the last, or the first, to reach each element: of all that are usual.

    A gradient may write zeros where its window's other elements lie, as that of a maximum does, so
    that its contributions don't show its windows. Window p covers s·p - lo to s·p + hi.
    """
    for stride, side in product(_STRIDES, _SIDES):
        last = [np.clip((np.arange(i) + side) // stride, 0, p - 1) for p, i in sizes]
        first = [np.clip(-((side - np.arange(i)) // stride), 0, p - 1) for p, i in sizes]
        counts = [p for p, _ in sizes]
        for which, at in (("last", last), ("first", first)):
            yield which, np.ravel_multi_index(np.meshgrid(*at, indexing="ij"), counts)
