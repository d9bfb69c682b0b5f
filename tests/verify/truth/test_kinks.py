"""Any subgradient is right at a kink, and elements that tie must fit together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify

from ..rules import some, with_rule

FIRST = ("reverse", "forward")


def test_ties_each_counted_in_full():
    def rule(x, y_bar):
        return y_bar * (x == x.max())

    report = verify.check_gradients(
        with_rule(lambda x: jnp.max(x), rule), (jnp.array([1.0, 1.0, 0.0]),), order=1
    )
    assert report.failures[0].diagnosis == "ties counted twice"


def test_a_kink_excuses_no_other_element():
    def f(x):
        return jnp.maximum(x, 0) + x**2

    def rule(x, y_bar):
        return y_bar * ((x > 0) + 2 * x * jnp.array([1.0, 1 + 1e-5]))

    with jax.enable_x64(True):
        wrong, x = with_rule(f, rule), jnp.array([0.0, 1.0])
        report = verify.check_gradients(wrong, (x,), modes="reverse", order=1)
    assert report.failures[0].worst[0].index == (1,)


def _softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _log_sigmoid(x):
    return -(jnp.where(-x > 0, -x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))))


@pytest.mark.parametrize("x64", some([False, True], [False]))
@pytest.mark.parametrize("f", some([_softplus, _log_sigmoid], [_softplus]))
def test_two_kinks_that_cancel_have_one_slope(f, x64):
    """Both have the slope 1/2 at 0, which JAX gives or misses as it differentiates |x| at 0."""
    with jax.enable_x64(x64):
        x = jnp.array([0.0, 1.0, -2.0])
        slope = jax.grad(lambda x: f(x).sum())(x)[0]
        assert verify.check_gradients(f, (x,), modes=FIRST, order=1).ok == bool(
            np.isclose(slope, 0.5)
        )
        right = with_rule(f, lambda x, y_bar: y_bar * jax.nn.sigmoid(x if f is _softplus else -x))
        assert verify.check_gradients(right, (x,), modes=FIRST, order=1).ok
        missed = with_rule(
            f, lambda x, y_bar: y_bar * (x != 0) * jax.nn.sigmoid(x if f is _softplus else -x)
        )
        report = verify.check_gradients(missed, (x,), modes=FIRST, order=1)
    assert report.failures[0].worst[0].index == (0,)
