"""A product of tall matrices as two products."""

import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from tests.algorithms.problems import geometry_of, spec_of


@pytest.mark.parametrize(("n", "c", "o"), [(8, 3, 5), (8, 5, 3), (7, 5, 3)])
@pytest.mark.usefixtures("float64")
def test_even_and_odd_lengths(n, c, o, normal):
    x, y, spec = normal((n, c)), normal((n, o)), spec_of(geometry_of((), ()))
    k = algorithms.run_algorithm("two_products", Slot.KERNEL, spec, x, y)
    np.testing.assert_allclose(k, np.asarray(x).T @ np.asarray(y), rtol=1e-14, atol=1e-14)
