"""What the taps of a window see, by the definition of a meeting, and the transpose."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.algorithms.shared import _taps
from jaxconv.algorithms.shared._hints import NONE
from tests.algorithms.meetings import lines, meetings, only
from tests.algorithms.problems import geometry_of

IMAGES = [
    ((5, 7), (2, 3), (1, 2), ((1, 0), (2, 1))),
    ((6, 5), (3, 2), 1, ((-1, 2), (0, -2)), 1, (1, 2)),
    ((4, 9), (2, 2), (3, 2), ((0, 0), (-2, -1))),
]


def seen_by_definition(x, geometry, fill):
    """What each tap sees at each output, `(taps, n, *output, c)`."""
    seen = np.full((*geometry.window, len(x), *geometry.output_size, x.shape[-1]), fill, x.dtype)
    rows, columns = map(meetings, geometry.axes())
    for i, r, p in rows:
        for j, t, q in columns:
            seen[r, t, :, p, q] = x[:, i, j]
    return seen.reshape(-1, *seen.shape[2:])


@pytest.mark.parametrize("options", IMAGES, ids=str)
def test_the_taps_of_an_image(options):
    geometry = geometry_of(*options)
    x = np.arange(2 * np.prod(geometry.input_size) * 3).reshape(2, *geometry.input_size, 3) + 1.0
    expected = seen_by_definition(x, geometry, 0)
    terms = np.arange(expected.size).reshape(expected.shape) % 11 + 1.0

    @jax.jit
    def results(x, terms):
        whole, without = _taps.pad_or_crop_to_taps(x, geometry, fill=9)
        return (
            jnp.stack(_taps.all_taps(x, geometry)),
            _taps.place_all_taps(lambda number: terms[number], geometry),
            jnp.stack(_taps.all_taps(whole, without)),
            whole,
        )

    seen, placed, filled, whole = results(x, terms)
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(filled, seen_by_definition(x, geometry, 9))
    # The transpose: <terms, seen(e)> for each element e, as the same numbers are added up there.
    of_elements = np.zeros((np.prod(geometry.input_size) + 1, 2, 3))
    places = np.arange(1, len(of_elements)).reshape(1, *geometry.input_size, 1)
    of_places = seen_by_definition(places, geometry, 0)[:, 0, ..., 0]
    for term, numbers in zip(terms, of_places, strict=True):
        for at in np.ndindex(numbers.shape):
            of_elements[numbers[at]] += term[:, *at]
    np.testing.assert_array_equal(
        placed, np.moveaxis(of_elements[1:].reshape(*geometry.input_size, 2, 3), -2, 0)
    )
    # Neither more nor less than what the taps see is left.
    for axis, size in zip(geometry.axes(), whole.shape[1:-1], strict=True):
        assert size == axis.s * (axis.p - 1) + axis.d * (axis.r - 1) + 1


def test_the_taps_of_an_axis():
    """Before the array, behind it and between its elements there is the fill."""
    tried = [g for g in lines((1, 2, 3), (1,)) if only(g).r > 1][::40]
    assert len(tried) > 5

    @jax.jit
    def results(arrays):
        return [
            [
                jnp.stack(_taps.taps(x, 0, geometry)),
                jnp.stack(_taps.taps_filled(x, 0, geometry, fill=7, hints=NONE)),
            ]
            for x, geometry in zip(arrays, tried, strict=True)
        ]

    arrays = [np.arange(1.0, 1 + only(geometry).i)[None, :, None] for geometry in tried]
    for x, geometry, both in zip(arrays, tried, results(arrays), strict=True):
        axis = only(geometry)
        for fill, found in zip((0, 7), both, strict=True):
            expected = np.full((axis.r, axis.p), float(fill))
            for i, r, p in meetings(axis):
                expected[r, p] = x[0, i, 0]
            np.testing.assert_array_equal(found[:, 0, :, 0], expected, str(geometry))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("start", "step", "count"), [(0, 1, 4), (-3, 2, 5), (1, 3, 4), (-1, 1, 2)])
def test_every_so_many_elements(start, step, count, axis):
    a = np.arange(1.0, 1 + 1 * 4 * 4 * 30).reshape(1, 4, 4, 30)
    found = _taps.every(jnp.asarray(a), axis, start, step, count)
    moved = np.moveaxis(a, axis + 1, 0)
    places = [start + step * m for m in range(count)]
    expected = [moved[i] if 0 <= i < 4 else np.zeros_like(moved[0]) for i in places]
    np.testing.assert_array_equal(np.moveaxis(np.asarray(found), axis + 1, 0), np.stack(expected))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("phases", "step"), [((0, 1, 2), 3), ((2, 0), 3), ((0,), 2), ((0,), 1)])
def test_interleaved_phases(phases, step, axis):
    """A phase that is missing is zero."""
    parts = {q: np.full((1, 2, 3, 2), q + 1.0) + np.arange(3)[:, None] * 10 for q in phases}
    found = jax.jit(partial(_taps.interleaved, axis=axis, step=step))(parts)
    sizes = [1, 2, 3, 2]
    sizes[axis + 1] *= step
    expected = np.zeros(sizes)
    for q, part in parts.items():
        expected[(slice(None),) * (axis + 1) + (slice(q, None, step),)] = part
    np.testing.assert_array_equal(found, expected)


def test_where_the_taps_begin_and_end():
    for geometry in lines(input_dilation=(1,)):
        axis = only(geometry)
        lo, hi = _taps.sides_seen(0, geometry, axis.i)
        places = [axis.s * p + axis.d * r - axis.lo for p in range(axis.p) for r in range(axis.r)]
        assert (-lo, axis.i + hi - 1) == (min(places), max(places))
        assert _taps.reach(0, geometry) == len(range(0, axis.s * (axis.p - 1) + 1))
        assert _taps.first_seen(0, geometry) == max(0, min(places))
