"""The p-norm of windows, at the corners of |x| above all."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import lp_pool, max_pool, reference, sum_pool
from jaxconv.ops._lp_pooling import _elements_in_windows
from jaxconv.ops._pool_options import PoolOptions
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

OPTIONS = {"strides": (1, 2), "padding": ((1, 1), (0, 2)), "window_dilation": (2, 1)}


POWERS = [1, 1.5, 2, 3, 4.5]


def test_equals_the_definition(normal):
    x = np.asarray(normal((2, 6, 5, 2)))
    calls = [(partial(lp_pool, p=p, window_shape=(2, 3), **OPTIONS), x) for p in POWERS]
    for p, y in zip(POWERS, together(calls), strict=True):
        expected = reference.lp_pool(x, p, (2, 3), **OPTIONS)
        assert_within_rounding(y, expected, expected, 6 + 2 * p, f"p = {p}")


def test_derivatives_equal_autodiff_away_from_zero(normal):
    """First and second order, forward and reverse, of the definition as JAX differentiates it."""
    x, v, y_bar = normal((2, 6, 2)), normal((2, 6, 2)), normal((2, 4, 2))

    def plain(x, p):
        windows = jnp.stack([x[:, r : r + 4] for r in range(3)])
        return jnp.sum(jnp.abs(windows) ** p, axis=0) ** (1 / p)

    def derivatives(x, f):
        def loss(x):
            return jnp.vdot(f(x), y_bar)

        return (
            jax.jvp(f, (x,), (v,))[1],
            jax.grad(loss)(x),
            jax.jvp(jax.grad(loss), (x,), (v,))[1],
            jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x),
            jax.vmap(jax.grad(loss))(jnp.stack([x, v])),
        )

    ours = [partial(lp_pool, p=p, window_shape=3, strides=1) for p in POWERS]
    theirs = [partial(plain, p=p) for p in POWERS]
    both = (together([(partial(derivatives, f=f), x) for f in fs]) for fs in (ours, theirs))
    for p, *pair in zip(POWERS, *both, strict=True):
        for a, b in zip(*pair, strict=True):
            # Two powers of x and y, each of which multiplies the relative error of its base.
            scale = np.abs(b).max() * (np.abs(y_bar).max() + 1) / np.abs(x).min()
            assert_within_rounding(a, b, scale, 3 * (2 + 2 * p), f"p = {p}")


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_windows_of_zeros_have_the_gradient_zero(p):
    """In autodiff it is NaN for p > 1."""
    x = jnp.array([0.0, 0, 0, 0, 3, -4]).reshape(1, 6, 1)
    x_bar = jax.grad(lambda x: lp_pool(x, p, 2).sum())(x)
    assert (x_bar[0, :4, 0] == 0).all()
    y_dot = jax.jvp(lambda x: lp_pool(x, p, 2), (x,), (jnp.ones_like(x),))[1]
    assert (y_dot[0, :2, 0] == 0).all()
    expected = np.sign([3, -4]) * (np.array([3, 4]) / np.sum([3**p, 4**p]) ** (1 / p)) ** (p - 1)
    assert_within_rounding(x_bar[0, 4:, 0], expected, 1, 4 * p + 4)


def test_second_order_at_zero():
    """The Hessian of the norm of (3, 0): 1/|x| across, 0 along; and 0 in a window of zeros."""
    x = jnp.array([3.0, 0, 0, 0])
    second, fourth = (lambda x, p=p: lp_pool(x.reshape(1, 4, 1), p, 2).sum() for p in (2, 4))
    hessian, third = jax.jit(lambda x: (jax.hessian(second)(x), jax.hessian(jax.grad(fourth))(x)))(
        x
    )
    expected = np.zeros((4, 4))
    expected[1, 1] = 1 / x[0]
    assert_within_rounding(hessian, expected, 1, 8)
    assert_within_rounding(third, np.zeros((4, 4, 4)), 4 * 3 * 2, 8)


def test_between_the_sum_and_the_maximum(normal):
    x = normal((2, 8, 3))
    magnitudes = np.abs(x)
    assert_within_rounding(lp_pool(x, 1, 4), sum_pool(magnitudes, 4), sum_pool(magnitudes, 4), 4)
    largest = max_pool(magnitudes, 4)
    assert (lp_pool(x, 200, 4) <= largest * 4 ** (1 / 200) * (1 + 1e-12)).all()
    assert (lp_pool(x, 200, 4) >= largest * (1 - 1e-12)).all()


@pytest.mark.parametrize(
    ("size", "options"),
    [((9,), (2, 3)), ((8, 7), (2, (3, 2))), ((5, 9), ((1, 2), 2, ((1, 0), (0, 2)), (1, 3)))],
    ids=str,
)
def test_which_elements_no_window_holds(size, options):
    """Gaps between windows, between their taps and at the end; on one axis or on both."""
    geometry = PoolOptions("f", *options).geometry(size)
    expected = np.zeros(size, bool)
    for p in np.ndindex(*geometry.output_size):
        for tap in np.ndindex(*geometry.window):
            places = zip(geometry.axes(), p, tap, strict=True)
            i = tuple(axis.s * q + axis.d * r - axis.lo for axis, q, r in places)
            if all(0 <= at < n for at, n in zip(i, size, strict=True)):
                expected[i] = True
    assert not expected.all()
    np.testing.assert_array_equal(_elements_in_windows(geometry), expected)


def test_nan_reaches_value_and_gradient(normal):
    x = normal((1, 4, 1)).at[0, 1, 0].set(jnp.nan)
    y, pull_back = jax.vjp(lambda x: lp_pool(x, 2, 2), x)
    (x_bar,) = pull_back(np.ones_like(y))
    assert np.isnan(y[0, :, 0]).tolist() == [True, False]
    assert np.isnan(x_bar[0, :, 0]).tolist() == [True, True, False, False]


def test_half_precision_has_its_powers_in_float32():
    x = jnp.full((1, 4, 1), 300, jnp.float16)
    y, pull_back = jax.vjp(lambda x: lp_pool(x, 2, 4), x)
    assert (y.dtype, y[0, 0, 0]) == (jnp.float16, 600)  # 300² is more than float16 holds
    (x_bar,) = pull_back(np.ones_like(y))
    assert x_bar.dtype == jnp.float16
    assert (x_bar == 0.5).all()


BAD_CALLS = {
    "p below 1": (lambda x: lp_pool(x, 0.5, 2), ValueError, "lp_pool: p must be at least 1"),
    "infinite p": (lambda x: lp_pool(x, np.inf, 2), ValueError, "p must be at least 1 and finite"),
    "NaN for p": (lambda x: lp_pool(x, np.nan, 2), ValueError, "lp_pool: p must be"),
    "text for p": (lambda x: lp_pool(x, "2", 2), TypeError, "lp_pool: p must be a number"),
    "integers": (lambda x: lp_pool(x.astype(int), 2, 2), TypeError, "x must be floating point"),
    "complex": (lambda x: lp_pool(x + 1j, 2, 2), TypeError, "lp_pool: x must be real"),
    "window": (lambda x: lp_pool(x, 2, 9), ValueError, "lp_pool: the window covers 9"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 7, 4)))
