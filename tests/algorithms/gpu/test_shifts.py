"""Products and sums of a few channels a group, as loops and as products of matrices."""

import jax
import numpy as np
import pytest

from jaxconv.algorithms.gpu._shifts import MAX_UNROLLED, _input_vjp


# The input and output channels of a group: sums of a few terms, of many, and of products.
@pytest.mark.parametrize(("c", "o"), [(1, 2), (1, MAX_UNROLLED), (1, MAX_UNROLLED + 1), (3, 2)])
def test_what_one_tap_gives_back(c, o):
    rng = np.random.default_rng(0)
    y = rng.integers(-3, 4, (2, 5, 4, o)).astype(np.float32)
    k = rng.integers(-3, 4, (c, 4, o)).astype(np.float32)
    expected = np.einsum("npgo,cgo->npgc", y, k)
    actual = jax.jit(lambda y, k: _input_vjp(y, k, None))(y, k)
    np.testing.assert_array_equal(np.asarray(actual).reshape(expected.shape), expected)
