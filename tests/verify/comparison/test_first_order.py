"""A large gradient of a function that JAX can't differentiate: slopes along directions decide.

Covers jaxconv/verify/comparison/_first_order.py, jaxconv/verify/truth/_search.py.
"""

import jax
import numpy as np
import pytest

from jaxconv.verify import _constants, check_gradients

pytestmark = pytest.mark.usefixtures("float64")

SIZE, PLACE = _constants.COORDINATES + 50, 37


def sines(wrong):
    """The sines of a host, with a gradient whose element at `PLACE` is multiplied by `wrong`."""

    @jax.custom_vjp
    def f(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def backward(x, y_bar):
        return ((y_bar * jax.numpy.cos(x)).at[PLACE].multiply(wrong),)

    f.defvjp(lambda x: (f(x), x), backward)
    return f


@pytest.mark.parametrize("wrong", [1.0, 1.5])
def test_one_wrong_element_is_found(wrong):
    x = np.linspace(-1.0, 1.0, SIZE)
    report = check_gradients(sines(wrong), (x,), order=1)
    assert report.ok == (wrong == 1)
    if wrong != 1:
        assert f"[{PLACE}]" in str(report)
        assert "the slope along a random direction is wrong" in str(report)
