"""A rule that returns another value than the function is found."""

import jax
import jax.numpy as jnp
import pytest

from jaxconv import verify

X = jnp.array([0.3, -1.2, 0.7, 2.0, -0.4, 0.9])


def _slope(x):
    return 1 - jnp.tanh(x) ** 2


def _vjp(value):
    f = jax.custom_vjp(jnp.tanh)
    f.defvjp(lambda x: (value(x), x), lambda x, y_bar: (y_bar * _slope(x),))
    return f


def _jvp(value):
    f = jax.custom_jvp(jnp.tanh)
    f.defjvp(lambda p, t: (value(p[0]), t[0] * _slope(p[0])))
    return f


WRONG_VALUES = {
    "twice": lambda x: 2 * jnp.tanh(x),
    "one element": lambda x: jnp.tanh(x).at[1].add(1e-3),
    "none": jnp.zeros_like,
    "the argument": lambda x: x,
}


@pytest.mark.parametrize("make", [_vjp, _jvp])
@pytest.mark.parametrize("name", WRONG_VALUES)
def test_rule_that_returns_another_value(name, make):
    modes = ["forward", "primal_value"]
    report = verify.check_gradients(make(WRONG_VALUES[name]), (X,), modes=modes, order=1)
    assert "returns another value than the function" in report.failures[0].diagnosis
    assert report.failures[0].mode == "primal_value"


@pytest.mark.parametrize("make", [_vjp, _jvp])
def test_rule_that_computes_the_value_in_another_way(make):
    f = make(lambda x: (jnp.exp(2 * x) - 1) / (jnp.exp(2 * x) + 1))
    assert verify.check_gradients(f, (X,), modes=["reverse", "primal_value"], order=1).ok
