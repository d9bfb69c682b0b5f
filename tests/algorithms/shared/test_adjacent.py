"""Which windows lie side by side, so that a reshape gives each window axes of its own."""

import jax
import numpy as np

from jaxconv.algorithms.shared import _adjacent, _maxima
from jaxconv.algorithms.shared._hints import NONE
from tests.algorithms.meetings import lines, meetings, only
from tests.algorithms.problems import geometry_of


def test_windows_that_lie_side_by_side():
    """Window p sees the elements from p·r to before (p+1)·r, in the order of its taps."""
    told = {False: 0, True: 0}
    for geometry in lines(input_dilation=(1,)):
        axis = only(geometry)
        every = {(p * axis.r + r, r, p) for p in range(axis.p) for r in range(axis.r)}
        applies = meetings(axis) == every
        assert _adjacent.applies(geometry) == applies, geometry
        told[applies] += 1
    assert min(told.values()) > 10


def test_all_axes_must():
    side_by_side = next(g for g in lines((2,), (1,), (0,)) if _adjacent.applies(g))
    padded = next(g for g in lines((1,), (1,), (1,)) if not _adjacent.applies(g))

    def image(*axes):
        names = [name for name in vars(side_by_side) if name != "groups"]
        return type(side_by_side)(*(sum((getattr(a, n) for a in axes), ()) for n in names))

    assert _adjacent.applies(image(side_by_side, side_by_side))
    assert not _adjacent.applies(image(side_by_side, padded))
    assert not _adjacent.applies(image(padded, side_by_side))


def test_the_numbers_of_taps():
    geometry = next(g for g in lines((2,), (1,), (0,)) if g.window == (2,))
    twice = type(geometry)(*(getattr(geometry, n) * 2 for n in vars(geometry) if n != "groups"))
    numbers = np.asarray(_adjacent._tap_numbers(twice, np.int8))
    assert numbers.shape == (1, 1, 2, 1, 2, 1)
    np.testing.assert_array_equal(numbers.reshape(2, 2), [[0, 1], [2, 3]])


def test_the_last_tap_of_a_window_has_a_number():
    """The smallest integer that numbers 128 taps can't hold 128 itself."""
    geometries = [geometry_of((taps,), (taps,)) for taps in (127, 128, 129)]
    dtypes = [_maxima.index_dtype(geometry) for geometry in geometries]
    assert dtypes == ["int8", "int8", "int16"]

    @jax.jit
    def results(maps):
        return [
            _adjacent.first_maxima(x, dtype, geometry=geometry, hints=NONE)
            for x, dtype, geometry in zip(maps, dtypes, geometries, strict=True)
        ]

    maps = [
        np.eye(1, *geometry.window, k=geometry.window[0] - 1)[..., None] for geometry in geometries
    ]
    for geometry, (best, index) in zip(geometries, results(maps), strict=True):
        assert (best.item(), index.item()) == (1, geometry.window[0] - 1)
