"""The literal meaning of the equations, against loops over their indices."""

from itertools import product

import numpy as np
import pytest

from jaxconv.derivations import _positions as positions

OPTIONS = ((2, 1), ((1, 0), (-1, 2)), (1, 2), (2, 1), 2)  # strides, padding, dilations, groups


def counted(*shape):
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


def test_a_complex_step_divides_exactly():
    """The step is a power of two whose square is below the last digit of every value."""
    assert np.frexp(positions.TINY)[0] == 0.5
    assert 0 < positions.TINY**2 < 1e-100
    x = np.array([[0.1, 0.7, 1.3], [2.1, -0.3, 5.9]])
    slopes = positions.derivative(lambda x: x * x[::-1], x)
    assert slopes.shape == (2, 3, 2, 3)
    for i, j in product(np.ndindex(2, 3), repeat=2):
        a, b = (1 - i[0], i[1]), i
        assert slopes[(*i, *j)] == (x[a] if j == i else 0) + (x[b] if j == a else 0)


def test_the_derivative_has_the_axes_of_the_result_first():
    slopes = positions.derivative(lambda x: np.outer(x, [1.0, 2.0, 3.0, 4.0]), np.array([0.3, 0.7]))
    assert slopes.shape == (2, 4, 2)
    np.testing.assert_array_equal(slopes[:, 2], 3 * np.eye(2))
    assert positions.derivative(np.sum, np.ones((2, 3))).shape == (2, 3)


def test_nothing_has_an_empty_derivative():
    nothing = positions.derivative(lambda x: np.ones((3, 2)) * x.sum(), np.ones((2, 0)))
    assert nothing.shape == (3, 2, 2, 0)


def test_options_are_passed_on_by_name():
    assert positions.Spacing(*OPTIONS).options() == {
        "strides": OPTIONS[0],
        "padding": OPTIONS[1],
        "input_dilation": OPTIONS[2],
        "kernel_dilation": OPTIONS[3],
        "feature_group_count": 2,
    }
    assert positions.Spacing() == (1, "VALID", 1, 1, 1)


def test_options_may_be_lists():
    assert positions._hashable([[0, 1], (2,)]) == ((0, 1), (2,))
    assert positions._hashable("SAME") == "SAME"
    assert positions._hashable(3) == 3
    x, w = counted(1, 5, 4, 2), counted(2, 3, 1, 2)
    listed = positions.Spacing(*map(list, OPTIONS[:1]), [[1, 0], [-1, 2]], [1, 2], [2, 1], 2)
    assert listed.geometry(x, w) == positions.Spacing(*OPTIONS).geometry(x, w)


@pytest.fixture
def geometry():
    """Of an input of 5 by 4 and a window of 2 by 3."""
    return positions.Spacing(*OPTIONS).geometry(counted(1, 5, 4, 2), counted(2, 3, 1, 2))


def pairs(geometry):
    """The pixels, taps and outputs that meet, each by its index and by its number."""
    shapes = geometry.input_size, geometry.window, geometry.output_size
    for three in product(*(enumerate(np.ndindex(*shape)) for shape in shapes)):
        (_, i), (_, r), (_, p) = three
        if all(
            e * a + lo == s * c + d * b
            for a, b, c, (*_, s, lo, e, d) in zip(i, r, p, geometry.axes(), strict=True)
        ):
            yield three


def test_the_bracket_is_one_where_three_positions_meet(geometry):
    bracket = np.zeros((20, 6, np.prod(geometry.output_size)))
    for (i, _), (r, _), (p, _) in pairs(geometry):
        bracket[i, r, p] = 1
    assert 0 < bracket.sum() < bracket.size
    np.testing.assert_array_equal(positions.meets(geometry), bracket)


def test_a_convolution_is_a_sum_over_what_meets(geometry):
    x, w = counted(2, 5, 4, 4) % 7, counted(2, 3, 2, 6) % 5
    expected = np.zeros((2, *geometry.output_size, 6))
    for (_, i), (_, r), (_, p) in pairs(geometry):
        for o in range(6):
            group = o // 3
            expected[:, *p, o] += x[:, *i, 2 * group : 2 * group + 2] @ w[(*r, slice(None), o)]
    np.testing.assert_array_equal(positions.convolved(x, w, positions.Spacing(*OPTIONS)), expected)


def test_the_windows_of_a_pool():
    found = positions.pool_windows((5, 6), [2, 3], [1, 2], [[1, 0], [0, 1]], [2, 1])
    assert (found.window, found.strides) == ((2, 3), (1, 2))
    assert (found.input_size, found.output_size) == ((5, 6), (4, 3))
    assert (found.kernel_dilation, found.input_dilation) == ((2, 1), (1, 1))
    beside = positions.pool_windows((4, 6), 2)  # side by side
    assert (beside.strides, beside.output_size) == ((2, 2), (2, 3))


def test_positions_of_a_table():
    expected = [[5 + 3 * p - 2 * r for r in range(3)] for p in range(4)]
    np.testing.assert_array_equal(positions.table(5, 4, 3, 3, -2), expected)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
def test_a_lookup_is_zero_where_there_is_no_pixel(grid):
    """Positions between the pixels, before the first and behind the last one."""
    y = counted(2, 3, 2, 2)
    places = positions.table(-2, 4, 2, 3, 1), positions.table(-2, 3, 3, 2, 2)
    expected = np.zeros((2, 4 * 3, 3 * 2, 2))
    for (a, b), (c, d) in product(np.ndindex(4, 3), np.ndindex(3, 2)):
        i, j = places[0][a, b] / grid[0], places[1][c, d] / grid[1]
        if i in range(3) and j in range(2):
            expected[:, 3 * a + c, 2 * b + d] = y[:, int(i), int(j)]
    assert (expected != 0).any()
    np.testing.assert_array_equal(positions.lookup(y, places, grid), expected)


def test_a_lookup_in_nothing_is_zero():
    assert not positions.lookup(np.zeros((1, 0, 2)), [positions.table(0, 3, 1, 2, 1)], [1]).any()


def test_pairs_of_axes_are_collected():
    y = counted(2, 2, 3, 4, 5, 3, 2, 2)  # (n, a, b, a', b', a'', b'', c)
    found = positions.paired(y)
    assert found.shape == (2, 2 * 4 * 3, 3 * 5 * 2, 2)
    for index in np.ndindex(2, 2, 3, 4, 5, 3, 2, 2):
        n, a, b, a1, b1, a2, b2, c = index
        assert found[n, (a * 4 + a1) * 3 + a2, (b * 5 + b1) * 2 + b2, c] == y[index]


@pytest.mark.parametrize("lows", [(1, 2), (-2, 0), (-3, 4)])
@pytest.mark.parametrize("sizes", [(9, 8), (3, 2), (5, 4)])
def test_pixels_are_laid_apart_and_what_lies_outside_is_cropped(lows, sizes):
    y, grid = counted(2, 3, 2, 2), (2, 3)
    expected = np.zeros((2, *sizes, 2))
    for i, j in np.ndindex(3, 2):
        a, b = lows[0] + grid[0] * i, lows[1] + grid[1] * j
        if 0 <= a < sizes[0] and 0 <= b < sizes[1]:
            expected[:, a, b] = y[:, i, j]
    np.testing.assert_array_equal(positions.dilate_and_pad(y, grid, lows, sizes), expected)
    assert positions.dilate_and_pad(y.astype(complex), grid, lows, sizes).dtype == complex


def test_channels_are_split_into_groups():
    x, w = counted(2, 3, 2, 6), counted(3, 2, 2, 6)
    np.testing.assert_array_equal(positions.split_groups(x, 2)[..., 1, :], x[..., 3:])
    assert positions.split_groups(x, 3).shape == (2, 3, 2, 3, 2)
    np.testing.assert_array_equal(positions.flat(x, 2)[:, 4, 1], x[:, 2, 0, 3:])
    assert positions.flat(x, 2).shape == (2, 6, 2, 3)
    np.testing.assert_array_equal(positions.flat_kernel(w, 3)[3, :, 2], w[1, 1, :, 4:])
    assert positions.flat_kernel(w, 3).shape == (6, 2, 3, 2)
