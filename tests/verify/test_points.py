"""Points where derivatives are one-sided, many, or hard to take differences at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import verify

from .test_precision import with_rule

# What depends on the point; the other modes call the same rules.
FIRST = ("reverse", "forward", "primal_value", "second_point", "cotangent_linearity")

POINTS = {
    "ties of top_k": (lambda x: lax.top_k(x, 2)[0], [1.0, 1.0, 1.0, 0.0]),
    "ties of a median": (lambda x: jnp.median(x), [0.0, 0.0, 0.0, 0.0, 1.0, -1.0]),
    "ties of quantiles": (lambda x: jnp.quantile(x, 0.3, axis=0), [[0.0, 1.0]] * 5),
    "sizes far apart": (jnp.sin, [0.0, 1.0, 1e-3, -1e-8, 1e-30, 20.0, 1e4]),
    "sizes that differences can't follow": (jnp.cos, [0.5, 1e30]),
    "ties of sort": (lambda x: jnp.sort(x), [0.0, 1.0, 0.0, 0.0]),
    "end of the domain": (lambda x: x**1.5, [0.0, 1.0]),
    "sizes in an array": (jnp.sqrt, [1e-4, 1e-2, 1.0]),
    "near the end of the domain": (jnp.log, [1e-9, 1e-3, 1.0]),
}
EXTREME = {
    "maximum": (lambda x: jnp.max(x), [1e241, 1e-310, 2e-304]),
    "sum": (lambda x: jnp.sum(x), [1e241, 1.0]),
    "sum whose square overflows": (lambda x: jnp.sum(x), [1e160, 1.0]),
    "product": (lambda x: x * jnp.array([1e-200, 1.0]), [1e200, 1.0]),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", POINTS)
def test_right_gradient_at_an_awkward_point(name, x64):
    f, x = POINTS[name]
    with jax.enable_x64(x64):
        report = verify.check_gradients(f, (jnp.array(x),), modes=FIRST, order=1)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", EXTREME)
def test_right_gradient_at_extreme_sizes(name, recwarn):
    f, x = EXTREME[name]
    with jax.enable_x64(True):
        report = verify.check_gradients(f, (jnp.array(x),))
    assert report.ok, str(report)
    assert not recwarn.list


@pytest.mark.parametrize("name", [*POINTS, *EXTREME])
def test_wrong_gradient_at_an_awkward_point(name):
    f, x = (POINTS | EXTREME)[name]
    with jax.enable_x64(True):
        x = jnp.array(x)
        wrong = with_rule(f, lambda x, y_bar: 1.01 * jax.vjp(f, x)[1](y_bar)[0] + 0.01)
        assert not verify.check_gradients(wrong, (x,), modes=FIRST, order=1).ok


def test_ties_each_counted_in_full():
    def rule(x, y_bar):
        return y_bar * (x == x.max())

    report = verify.check_gradients(
        with_rule(lambda x: jnp.max(x), rule), (jnp.array([1.0, 1.0, 0.0]),)
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


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("f", [_softplus, _log_sigmoid])
def test_two_kinks_that_cancel_have_one_slope(f, x64):
    """Both have the slope 1/2 at 0, which JAX gives or misses as it differentiates |x| at 0."""
    with jax.enable_x64(x64):
        x = jnp.array([0.0, 1.0, -2.0])
        slope = jax.grad(lambda x: f(x).sum())(x)[0]
        assert verify.check_gradients(f, (x,)).ok == bool(np.isclose(slope, 0.5))
        right = with_rule(f, lambda x, y_bar: y_bar * jax.nn.sigmoid(x if f is _softplus else -x))
        assert verify.check_gradients(right, (x,), order=1).ok
        missed = with_rule(
            f,
            lambda x, y_bar: y_bar * (x != 0) * jax.nn.sigmoid(x if f is _softplus else -x),
        )
        report = verify.check_gradients(missed, (x,), order=1)
    assert report.failures[0].worst[0].index == (0,)


def test_second_point_stays_in_the_domain():
    verify.assert_gradients(jax.scipy.special.ndtri, (jnp.array([0.999, 0.5, 0.01]),), order=1)


CANCELLED = {
    "float64": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-8),
    "float64, milder": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-5),
    "float32": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-4),
    "difference of roots": (lambda x: (jnp.sqrt(1 + x) - 1 - x / 2) / x**2, 1e-7),
}
NOT_CANCELLED = {
    "zero gradient of a softmax's sum": (lambda x: jax.nn.softmax(x).sum(), [0.3, -1.0, 2.0]),
    "a difference of equals": (lambda x: jnp.tanh(x) - jnp.tanh(x), [0.3, -1.0]),
    "normalised": (
        lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-5),
        [0.3, -1.0, 2.0, 0.1],
    ),
    "where it is well computed": (lambda x: 2 * jnp.sin(x / 2) ** 2 / x**2, [1e-3]),
}


@pytest.mark.parametrize("name", CANCELLED)
def test_no_correct_digit(name):
    f, x = CANCELLED[name]
    with jax.enable_x64("64" in name or "roots" in name):
        report = verify.check_gradients(f, (jnp.array(x),), order=1)
    assert [failure.diagnosis for failure in report.failures] == [
        "right rule, no correct digit here"
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", NOT_CANCELLED)
def test_small_gradients_of_well_computed_functions_are_right(name, dtype):
    f, x = NOT_CANCELLED[name]
    with jax.enable_x64(True):
        report = verify.check_gradients(f, (jnp.array(x, dtype),), order=1)
    assert report.ok, str(report)


WELL_COMPUTED = {
    "below the smallest number": (lambda x: jax.scipy.special.erfc(x), [1.0, 10.0, 20.0, 1e4]),
    "near the ends of the domain": (lambda x: jnp.arcsin(x), [0.5, 1 - 2.0**-20, 1e-30]),
    "far below the domain's larger part": (lambda x: jax.scipy.special.log_ndtr(x), [20.0, 1e4]),
    "saturated": (lambda x: jnp.tanh(x), [1e4]),
    "a saturated one among others": (lambda x: jnp.tanh(x), [0.5, 1e4, 1e30]),
    "pixels that are chosen": (
        lambda x: jax.image.resize(x, (4, 6), "nearest"),
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    ),
    "a period far shorter than the argument": (lambda x: jnp.sin(x), [3e5, -1e8, 0.3]),
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("name", WELL_COMPUTED)
def test_digits_are_there(name, x64):
    f, x = WELL_COMPUTED[name]
    with jax.enable_x64(x64):
        report = verify.check_gradients(f, (jnp.array(x),), modes=["reverse", "forward"], order=1)
    assert report.ok, str(report)


@pytest.mark.parametrize("x64", [False, True])
def test_constant_in_the_place_of_a_removable_singularity(x64):
    """Its gradient is 0, and that of the function is pi."""
    with jax.enable_x64(x64):
        x = jnp.array([0.5, 0.001])

        def f(x):
            return jnp.where(x == 0.5, 0.0, -1 / jnp.tan(jnp.pi * x))

        report = verify.check_gradients(f, (x,), modes="reverse", order=1)
    assert report.failures[0].worst[0].index == (0,)
