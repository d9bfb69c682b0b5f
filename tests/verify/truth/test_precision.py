"""A right rule is called right as far as the precision of its function goes, and no further.

Covers jaxconv/verify/truth/_operations.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv import verify
from jaxconv.verify import _constants
from jaxconv.verify.truth._precision import _noise

from ..rules import some, with_rule

# The modes in which precision shows.
FIRST = ("reverse", "forward", "second_point")


def _normal(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), dtype)


def _exp_tenth(x):
    return jnp.exp(0.1 * x)


def _normal_cdf(x):
    return 0.5 * (1 + lax.erf(x / np.float32(np.sqrt(2))))


_SELU = 1.6732632423543772, 1.0507009873554805


def _selu(x):
    a, scale = _SELU
    return scale * jnp.where(x > 0, x, a * jnp.expm1(x))


def _selu_rule(x, y_bar):
    a, scale = _SELU
    return y_bar * jnp.where(x > 0, scale, scale * a * jnp.exp(x))


def _lecun_rule(x, y_bar):
    y = 1.7159 * jnp.tanh(2 / 3 * x)
    return y_bar * (2 / 3) / 1.7159 * (1.7159 - y) * (1.7159 + y)


RULES = {
    "divided instead of multiplied": (
        with_rule(_exp_tenth, lambda x, y_bar: y_bar * _exp_tenth(x) / 10),
        _normal(5),
    ),
    "density of the normal distribution": (
        with_rule(_normal_cdf, lambda x, y_bar: y_bar * jnp.exp(-x * x / 2) * 0.3989423),
        _normal(5),
    ),
    "selu": (with_rule(_selu, _selu_rule), _normal(6, dtype="bfloat16")),
    "LeCun's tanh": (
        with_rule(lambda x: 1.7159 * jnp.tanh(2 / 3 * x), _lecun_rule),
        _normal(6, dtype="bfloat16"),
    ),
}

FUNCTIONS = {
    "lp_pool": (lambda x: jaxconv.lp_pool(x, 3, 2), (_normal(1, 6, 6, 2),)),
    "log_ndtr": (jsp.special.log_ndtr, (3 * _normal(6),)),
    "gammaln": (jsp.special.gammaln, (jnp.array([0.1, 1.4616, 2.5]),)),
    "digamma at its zero": (jsp.special.digamma, (jnp.array([1.4616, 3.0]),)),
    "ndtri": (jsp.special.ndtri, (jax.nn.sigmoid(_normal(6)),)),
    "rfft": (lambda x: jnp.fft.rfft(x).real, (_normal(16),)),
    "rfft2": (lambda x: jnp.fft.rfft2(x).imag, (_normal(6, 8),)),
    "dct": (jsp.fft.dct, (_normal(12),)),
    "fftconvolve": (jsp.signal.fftconvolve, (_normal(12), _normal(5))),
    "cholesky": (lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(4)), (_normal(4, 4),)),
    "complex numbers": (
        lambda a, b: jnp.tanh(lax.complex(a, b)).imag,
        (jnp.array([0.7, -1.5]), jnp.array([1.5, 0.1])),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_with_other_constants_than_its_function_is_right(name):
    f, x = RULES[name]
    report = verify.check_gradients(f, (x,), modes=FIRST, order=1)
    assert report.ok, str(report)


# These have many primitives to compile.
LONG = {"ndtri", "fftconvolve", "dct", "log_ndtr", "cholesky", "rfft2", "gammaln"}


@pytest.mark.parametrize("name", some(FUNCTIONS, FUNCTIONS.keys() - LONG))
def test_function_of_single_precision_is_right(name):
    f, args = FUNCTIONS[name]
    report = verify.check_gradients(f, args, modes=FIRST, order=1)
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("float64", 1 + 1e-12), ("float32", 1 + 1e-4), ("bfloat16", 1.02)]
)
def test_factor_beyond_the_precision_is_found(dtype, factor):
    with jax.enable_x64(True):
        f = with_rule(_exp_tenth, lambda x, y_bar: y_bar * _exp_tenth(x) * 0.1 * factor)
        report = verify.check_gradients(f, (_normal(5, dtype=dtype),), modes=FIRST, order=1)
    assert not report.ok


@partial(jax.jit, static_argnums=1)
def fixed_point(a, tolerance=1e-9):
    """The solution of x = cos(a x), by an iteration that stops when it is close."""
    return lax.while_loop(
        lambda x: jnp.abs(jnp.cos(a * x) - x).max() > tolerance,
        lambda x: 0.5 * x + 0.5 * jnp.cos(a * x),
        jnp.ones_like(a),
    )


def implicit(factor=1.0, tolerance=1e-9):
    """The solution with its derivative by the implicit function theorem, times a factor."""
    f = jax.custom_vjp(lambda a: fixed_point(a, tolerance))

    def forward(a):
        x = fixed_point(a, tolerance)
        return x, (a, x)

    def backward(residuals, x_bar):
        a, x = residuals
        return (factor * x_bar * -jnp.sin(a * x) * x / (1 + a * jnp.sin(a * x)),)

    f.defvjp(forward, backward)
    return f


@pytest.mark.parametrize("tolerance", some([1e-12, 1e-9, 1e-6], [1e-9]))
def test_solver_that_stops_when_it_is_close(tolerance):
    with jax.enable_x64(True):
        a = jnp.array([0.7, 1.3, 1.1])
        right, wrong = (implicit(factor, tolerance) for factor in (1.0, 1.01))
        for options in ({}, {"tolerance": tolerance}):
            options |= {"modes": FIRST, "order": 1}
            assert verify.check_gradients(right, (a,), **options).ok
        assert not verify.check_gradients(wrong, (a,), **options).ok


def test_solver_that_float64_has_no_value_of():
    """In float32 the root is that of 0, in float64 that of a negative number."""

    def f(a):
        return fixed_point(a, 1e-5) + 0 * jnp.sqrt(1 - (1 + 1e-9 * jax.lax.stop_gradient(a)))

    report = verify.check_gradients(f, (jnp.array([0.7, 1.3]),), modes="forward", order=1)
    assert "differences of the function in float32" in report.truth


class _Values:
    """The values of a function of a number, as those of a `Primal`."""

    point = np.zeros(1)

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)

    def many(self, points):
        return np.stack([self.function(x) for x in points])


@pytest.mark.parametrize("at", np.arange(-3.5, 4))
def test_size_of_a_jump_is_found_between_any_two_points(at):
    edge = at * _constants.DISTANCE
    jumps = _Values(lambda x: 1 + x + 1e-6 * (x > edge))
    np.testing.assert_allclose(_noise(jumps, np.ones(1)), 1e-6, rtol=1e-3)
    assert _noise(_Values(lambda x: 1 + abs(x - edge)), np.ones(1)) == 0  # a kink


def test_reference_of_a_solver_may_be_exact():
    with jax.enable_x64(True):
        a = jnp.array([0.7, 1.3, 1.1])

        def exact(a):
            return lax.fori_loop(0, 100, lambda _, x: 0.5 * (x + jnp.cos(a * x)), 1 + 0 * a)

        verify.assert_gradients(implicit(), (a,), reference=exact, modes=FIRST, order=1)


def test_tolerance_widens_the_bounds():
    with jax.enable_x64(True):
        f = with_rule(_exp_tenth, lambda x, y_bar: y_bar * _exp_tenth(x) * 0.1 * (1 + 1e-8))
        x = _normal(5, dtype="float64")
        (failure,) = verify.check_gradients(f, (x,), order=1, modes="reverse").failures
        assert failure.diagnosis == "off by 1e-08 of its size"
        assert "tolerance=" in failure.evidence
        assert verify.check_gradients(f, (x,), tolerance=1e-8, modes=FIRST, order=1).ok


@pytest.mark.parametrize("tolerance", [-1e-3, 1.0, float("nan")])
def test_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match="tolerance must be None or a number"):
        verify.check_gradients(jnp.sin, (1.0,), tolerance=tolerance)
