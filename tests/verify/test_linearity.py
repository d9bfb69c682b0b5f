"""Rules that aren't linear, and rules that return another value than the function."""

import jax
import jax.numpy as jnp
import pytest

from jaxconv import verify

from .test_precision import with_rule


def _slope(x):
    return 1 - jnp.tanh(x) ** 2


NOT_LINEAR = {
    "small ones dropped": lambda w: jnp.where(jnp.abs(w) < 1e-3, 0, w),
    "small beside the largest dropped": lambda w: jnp.where(
        jnp.abs(w) < 1e-3 * jnp.abs(w).max(), 0, w
    ),
    "far smaller than the largest dropped": lambda w: jnp.where(
        jnp.abs(w) < 1e-6 * jnp.abs(w).max(), 0, w
    ),
    "large ones clipped": lambda w: jnp.clip(w, -100, 100),
    "norm clipped": lambda w: w * jnp.minimum(1, 1e3 / jnp.linalg.norm(w)),
    "rounded to a grid": lambda w: jnp.round(w * 16) / 16,
    "ignored where most are zero": lambda w: jnp.where((w != 0).mean() > 0.5, w, 0),
}
X = jnp.array([0.3, -1.2, 0.7, 2.0, -0.4, 0.9])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_rule_that_is_not_linear_in_the_cotangent(name, dtype):
    change = NOT_LINEAR[name]
    f = with_rule(jnp.tanh, lambda x, y_bar: change(y_bar) * _slope(x))
    report = verify.check_gradients(f, (X.astype(dtype),), modes=["reverse", "cotangent_linearity"])
    assert any("not linear in the cotangent" in f.diagnosis for f in report.failures)


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_rule_that_is_not_linear_in_the_tangent(name):
    f, change = jax.custom_jvp(jnp.tanh), NOT_LINEAR[name]
    f.defjvp(lambda p, t: (jnp.tanh(p[0]), change(t[0]) * _slope(p[0])))
    report = verify.check_gradients(f, (X,), modes=["forward", "tangent_linearity"], order=1)
    assert not report.ok


def test_linear_rule_is_linear():
    report = verify.check_gradients(
        with_rule(jnp.tanh, lambda x, y_bar: y_bar * _slope(x)),
        (X,),
        modes=["cotangent_linearity", "primal_value"],
    )
    assert report.ok
    assert {mode.status for mode in report.modes} == {"ok"}


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
