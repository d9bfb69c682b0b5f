"""Mixings of the elements of an axis, as the matrices that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.algorithms.shared._resampling import Mixing, resample, resample_back

ROWS = {
    "interpolation": (((0, 1.0),), ((0, 0.25), (1, 0.75)), ((1, 0.5), (2, 0.5)), ((3, 1.0),)),
    "unequal windows": (((0, 1.0), (1, 1.0), (2, 1.0)), ((2, 1.0),), ((1, 1.0), (3, 1.0))),
    "nothing read": ((), ((2, -2.0),), ()),
    "backwards": (((3, 1.0),), ((1, 1.0),), ((0, 1.0),)),
    "no elements": (),
}
SIZE = 4


def matrix(mixing):
    """w[p, i], the weights by the element that is made and the one that is read."""
    weights = np.zeros((len(mixing.rows), mixing.size))
    for p, row in enumerate(mixing.rows):
        for i, weight in row:
            weights[p, i] += weight
    return weights


@pytest.mark.parametrize("name", ROWS)
def test_a_mixing_is_a_matrix_and_its_transpose_the_other(name):
    mixing = Mixing(SIZE, ROWS[name])
    back = mixing.transposed()
    np.testing.assert_array_equal(matrix(back), matrix(mixing).T)
    assert (back.size, len(back.rows)) == (len(mixing.rows), SIZE)
    assert back.transposed() == Mixing(SIZE, tuple(tuple(sorted(row)) for row in mixing.rows))
    for one in (mixing, back):
        columns = one.columns()
        assert len(columns) == max((len(row) for row in one.rows), default=0)
        for k, (index, weight) in enumerate(columns):
            for p, row in enumerate(one.rows):
                if k < len(row):
                    assert (index[p], weight[p]) == row[k]
                else:  # an index that is there, whose element is not used
                    assert np.isnan(weight[p])
                    assert index[p] == (row[-1][0] if row else 0)


@pytest.mark.usefixtures("float64")
def test_axes_are_mixed_one_after_the_other():
    """An infinity that no row reads stays out of all sums."""
    mixings = Mixing(4, ROWS["unequal windows"]), Mixing(4, ROWS["interpolation"])
    x = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3) + 1.0
    y_bar = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3) - 5.0
    spoiled = Mixing(4, ROWS["nothing read"])

    @jax.jit
    def results(x, y_bar, infinite):
        mixed = resample(infinite, mixings=(spoiled,))
        return resample(x, mixings=mixings), resample_back(y_bar, mixings=mixings), mixed

    infinite = np.array([np.inf, np.inf, 3, np.inf])[None, :, None]
    y, x_bar, mixed = results(x, y_bar, infinite)
    weights = [*map(matrix, mixings)]
    np.testing.assert_allclose(y, np.einsum("pi,qj,nijc->npqc", *weights, x))
    np.testing.assert_allclose(x_bar, np.einsum("pi,qj,npqc->nijc", *weights, y_bar))
    np.testing.assert_array_equal(mixed[0, :, 0], [0, -6, 0])


@pytest.mark.parametrize(("name", "are_sorted"), [("interpolation", True), ("backwards", False)])
def test_only_sorted_indices_are_called_sorted(name, are_sorted):
    x = jnp.ones((1, SIZE, 1))
    text = str(jax.make_jaxpr(lambda x: resample(x, mixings=(Mixing(SIZE, ROWS[name]),)))(x))
    assert ("indices_are_sorted=True" in text) == are_sorted
    assert ("indices_are_sorted=False" in text) != are_sorted
