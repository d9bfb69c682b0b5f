"""What rounding can't explain, and large gradients of functions that JAX can't differentiate.

Covers jaxconv/verify/comparison/_first_order.py, jaxconv/verify/truth/_search.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants, check_gradients

from ..rules import with_jvp, with_vjp

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


@pytest.mark.parametrize("wrong", [1.0, 1.5, np.inf, np.nan])
def test_one_wrong_element_is_found(wrong):
    x = np.linspace(-1.0, 1.0, SIZE)
    report = check_gradients(sines(wrong), (x,), order=1)
    assert report.ok == (wrong == 1)
    if wrong != 1:
        assert f"[{PLACE}]" in str(report)
        said = (
            "the slope along a random direction is wrong" if np.isfinite(wrong) else f"{wrong} in"
        )
        assert said.lower() in str(report).lower()


X = np.linspace(-0.5, 0.5, 5)


@jax.custom_jvp
def _slope(x):
    return 1 - jnp.tanh(x) ** 2


@_slope.defjvp
def _(x, x_dot):
    (x,), (x_dot,) = x, x_dot
    return _slope(x), (x_dot * -2 * jnp.tanh(x) * _slope(x)).at[2].set(-jnp.inf)


# The hyperbolic tangent, with one derivative that is infinite.
INFINITE = {
    "reverse": with_vjp(jnp.tanh, lambda true, args, w: (true[0].at[2].set(jnp.inf),)),
    "forward": with_jvp(jnp.tanh, lambda y_dot, args, dots: y_dot.at[2].set(-jnp.inf)),
    "second_point": with_vjp(
        jnp.tanh, lambda true, args, w: (jnp.where(args[0] == X, true[0], jnp.inf),)
    ),
    "second_order": with_jvp(jnp.tanh, lambda _, x, x_dot: _slope(x[0]) * x_dot[0]),
}


@pytest.mark.parametrize("mode", INFINITE)
def test_rounding_makes_no_derivative_infinite(mode):
    report = check_gradients(INFINITE[mode], (X,), modes=["reverse", mode])
    assert "inf in the gradient" in {failure.diagnosis for failure in report.failures}
