"""What padding, cropping and dilation leave of a geometry, and how arrays are moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._geometry import extent
from jaxconv.algorithms.shared._padding import (
    apply_cropping,
    apply_dilation,
    from_phases,
    pad_and_dilate,
    pad_axis,
    to_phases,
    undo_pad_and_dilate,
)
from tests.algorithms.meetings import lines, meetings, only


def moved(triples, side):
    """Meetings after the input was padded, cropped or dilated."""
    low, _, gap = side
    return {(low + (gap + 1) * i, r, p) for i, r, p in triples}


@pytest.mark.parametrize("and_padding", [False, True])
def test_what_is_left_without_dilation_meets_the_same(and_padding):
    for geometry in lines():
        axis = only(geometry)
        (side,), left = apply_dilation(geometry, and_padding=and_padding)
        low, high, gap = side
        assert left.input_size == (low + extent(axis.i, gap + 1) + high,), geometry
        assert left.input_dilation == (1,)
        assert min(*left.padding[0]) >= 0
        assert not (and_padding and any(left.padding[0]))
        if axis.e == 1 and min(*geometry.padding[0]) >= 0 and not and_padding:
            assert side == (0, 0, 0)
        # A gap between elements has nothing that meets.
        own = {m for m in meetings(only(left)) if (m[0] - low) % (gap + 1) == 0}
        inside = {m for m in own if 0 <= (m[0] - low) // (gap + 1) < axis.i}
        assert inside == moved(meetings(axis), side), geometry


def test_what_is_left_without_cropping_meets_the_same():
    for geometry in lines():
        (side,), left = apply_cropping(geometry)
        low, high, gap = side
        assert low <= 0
        assert high <= 0
        assert gap == 0
        assert left.input_size[0] == geometry.input_size[0] + low + high, geometry
        assert meetings(only(left)) == moved(meetings(only(geometry)), side), geometry
        assert left.input_size[0] >= 1
        # No more is cropped than lies beyond the ends.
        assert side == (0, 0, 0) or min(*left.padding[0]) < only(left).e
        assert min(*left.padding[0]) >= 0 or left == geometry


@pytest.mark.parametrize(
    "sides",
    [
        ((1, 2, 0), (0, 0, 0)),
        ((-1, 0, 0), (0, -2, 0)),
        ((0, 0, 2), (-1, 3, 0)),
        ((2, -1, 1), (0, 0, 1)),
        ((0, 0, 0), (0, 0, 0)),
    ],
    ids=str,
)
def test_arrays_are_padded_cropped_and_dilated(sides):
    x = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2) + 1.0
    expected = x
    for axis, (low, high, gap) in enumerate(sides, 1):
        expected = np.moveaxis(expected, axis, 0)
        wide = np.zeros((extent(len(expected), gap + 1), *expected.shape[1:]))
        wide[:: gap + 1] = expected
        ends = [(max(low, 0), max(high, 0)), *[(0, 0)] * 3]
        wide = np.pad(wide[max(-low, 0) : len(wide) + min(high, 0)], ends)
        expected = np.moveaxis(wide, 0, axis)
    y = pad_and_dilate(jnp.asarray(x), sides)
    np.testing.assert_array_equal(y, expected)
    # The transpose brings each element back to its place, but for those that were cropped.
    kept = np.where(np.isin(x, expected), x, 0)
    np.testing.assert_array_equal(undo_pad_and_dilate(y, sides), kept)


def test_one_axis_is_padded_with_a_value():
    x = jnp.arange(6.0).reshape(2, 3)
    y = pad_axis(x, 1, 1, -1, fill=7, gap=1)
    np.testing.assert_array_equal(y, [[7, 0, 7, 1, 7], [7, 3, 7, 4, 7]])
    assert pad_axis(x, 1, 0, 0) is x


def test_phases_of_an_array():
    x = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    parts = to_phases(x, (3, 2))
    assert parts.shape == (2, 2, 2, 3, 2, 3)
    for q, s, f, g in np.ndindex(2, 2, 3, 2):
        np.testing.assert_array_equal(parts[:, q, s, f, g], x[:, 3 * q + f, 2 * s + g])
    np.testing.assert_array_equal(from_phases(parts), x)


def test_single_phases_of_an_array_are_a_reshape():
    x = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    parts = to_phases(x, (1, 1))
    np.testing.assert_array_equal(parts, x.reshape(2, 6, 4, 1, 1, 3))
    np.testing.assert_array_equal(from_phases(parts), x)


@pytest.mark.parametrize(("factors", "primitives"), [((1, 1), 2), ((1, 2), 4)])
def test_only_phases_that_are_several_are_transposed(factors, primitives):
    program = jax.make_jaxpr(lambda x: from_phases(to_phases(x, factors)))(np.zeros((2, 6, 4, 3)))
    assert len(program.eqns) == primitives
