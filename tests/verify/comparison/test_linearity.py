"""A rule that is not linear in cotangents or tangents is found."""

import jax
import jax.numpy as jnp
import pytest

from jaxconv import verify

from ..rules import some, with_rule


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


@pytest.mark.parametrize("dtype", some(["float32", "bfloat16"], ["float32"]))
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_rule_that_is_not_linear_in_the_cotangent(name, dtype):
    change = NOT_LINEAR[name]
    f = with_rule(jnp.tanh, lambda x, y_bar: change(y_bar) * _slope(x))
    modes = ["reverse", "cotangent_linearity"]
    report = verify.check_gradients(f, (X.astype(dtype),), modes=modes, order=1)
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
        order=1,
    )
    assert report.ok
    assert {mode.status for mode in report.modes} == {"ok"}
