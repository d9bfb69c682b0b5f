"""Pools against the definition, and against lax where lax is right."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import avg_pool, max_pool, min_pool, reference, sum_pool
from tests.oracles import assert_within_rounding

pytestmark = pytest.mark.usefixtures("float64")

# (spatial, window, strides, padding, dilation): side by side, overlapping, gaps, padding, dilation.
WINDOWS = [
    ((7,), 3, 1, "VALID", 1),
    ((8, 6), 2, None, "VALID", 1),
    ((9, 7), (3, 2), None, "SAME", 1),
    ((9, 8), 3, 2, "VALID", 1),
    ((9, 8), 3, 2, ((1, 1), (0, 2)), 1),
    ((9, 10), (2, 3), (3, 4), "VALID", 1),
    ((9, 10), (2, 3), (1, 2), ((2, 0), (1, 3)), (3, 2)),
    ((4, 6, 5), (2, 3, 2), (2, 1, 2), "SAME", 1),
]


@pytest.fixture(params=WINDOWS, ids=str)
def case(request, normal):
    spatial, window, strides, padding, dilation = request.param
    options = {"strides": strides, "padding": padding, "window_dilation": dilation}
    return normal((2, *spatial, 3)), window, options


@pytest.mark.parametrize("name", ["max_pool", "min_pool", "sum_pool", "avg_pool"])
def test_values_equal_the_definition(case, name):
    x, window, options = case
    pool, definition = getattr(jaxconv, name), getattr(reference, name)
    expected = definition(np.asarray(x), window, **options)
    actual = pool(x, window, **options)
    exact = name in ("max_pool", "min_pool")
    scale = sum_pool(np.abs(x), window, **options)
    assert_within_rounding(actual, expected, 0 if exact else scale, np.prod(window) * x.ndim)


@pytest.mark.parametrize("channels", [3, 16])  # on a CPU the latter are taken in vectors
def test_max_pool_vjp_equals_the_definition(channels, case, normal):
    some, window, options = case
    x = normal((*some.shape[:-1], channels))
    y = max_pool(x, window, **options)
    y_bar = normal(y.shape)
    x_bar = jax.jit(lambda x: jax.vjp(lambda x: max_pool(x, window, **options), x)[1](y_bar)[0])(x)
    expected = reference.max_pool_vjp(np.asarray(x), np.asarray(y_bar), window, **options)
    assert_within_rounding(x_bar, expected, np.abs(y_bar).max(), y.size)


@pytest.mark.parametrize("pool", [max_pool, min_pool, sum_pool, avg_pool])
def test_forward_and_reverse_mode_agree(case, pool, normal):
    """<J v, w> = <v, Jᵀ w>; and each mode is linear."""
    x, window, options = case
    f = jax.jit(partial(pool, window_shape=window, **options))
    x_dot, y_bar = normal(x.shape), normal(f(x).shape)
    y_dot, (x_bar,) = jax.jit(lambda x: (jax.jvp(f, (x,), (x_dot,))[1], jax.vjp(f, x)[1](y_bar)))(x)
    scale = np.vdot(np.abs(y_dot), np.abs(y_bar)) + np.vdot(np.abs(x_bar), np.abs(x_dot))
    assert_within_rounding(np.vdot(y_dot, y_bar), np.vdot(x_bar, x_dot), scale, x.size * 12)
    if pool in (sum_pool, avg_pool):  # linear, so J x is the pool of x
        assert_within_rounding(y_dot, f(x_dot), f(np.abs(x_dot)), np.prod(window) * x.ndim)


# jax.checkpoint and the like, on the pair that is hardest for them: a custom JVP around a
# primitive.
MODES = {
    "jit": lambda f, x: jax.jit(jax.grad(f))(x),
    "vmap": lambda f, x: jax.vmap(jax.grad(f))(jnp.stack([x, jnp.sin(5 * x)])),
    "second_order": lambda f, x: jax.jvp(jax.grad(f), (x,), (jnp.cos(x),)),
    "reverse_over_reverse": lambda f, x: jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))(x),
    "jacfwd": lambda f, x: jax.jacfwd(f)(x),
    "linearize": lambda f, x: jax.linearize(f, x)[1](jnp.cos(x)),
    "checkpoint": lambda f, x: jax.grad(jax.checkpoint(f))(x),
    "scan": lambda f, x: jax.grad(
        lambda x: jax.lax.scan(lambda s, a: (s + f(a * x), None), 0.0, jnp.arange(1.0, 3.0))[0]
    )(x),
    "cond": lambda f, x: jax.grad(lambda x: jax.lax.cond(x[0, 0, 0, 0] > 9, jnp.sum, f, x))(x),
}


# An average is a linear pair, which test_linear.py has in every mode.
OF_AN_AVERAGE = ("vmap", "second_order", "reverse_over_reverse", "scan")


@pytest.mark.parametrize(
    ("mode", "name"),
    [(mode, "max_pool") for mode in MODES] + [(mode, "avg_pool") for mode in OF_AN_AVERAGE],
)
def test_modes_equal_flax(mode, name, normal):
    x = normal((2, 9, 8, 3))
    options = {"strides": (2, 2), "padding": "SAME"}

    def ours(x):
        return jnp.sum(getattr(jaxconv, name)(jnp.sin(x), 3, **options) ** 3)

    def theirs(x):
        return jnp.sum(getattr(nnx, name)(jnp.sin(x), (3, 3), **options) ** 3)

    actual, expected = jax.jit(lambda x: (MODES[mode](ours, x), MODES[mode](theirs, x)))(x)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_within_rounding(a, b, 27 * np.abs(b).max(), 9 * 4)


@pytest.mark.parametrize("pool", [max_pool, min_pool])
def test_first_of_equals_receives_the_gradient(pool):
    x = jnp.zeros((1, 4, 4, 1))
    x_bar = jax.grad(lambda x: pool(x, 2).sum())(x)
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    chex.assert_trees_all_equal(x_bar[0, :, :, 0], expected)


@pytest.mark.parametrize("overlap", [False, True])
def test_nan_wins_and_receives_the_gradient(overlap):
    """In JAX the value is NaN, too, but the gradient goes to another element."""
    x = jnp.arange(8.0).reshape(1, 8, 1).at[0, 1, 0].set(jnp.nan)
    options = {"strides": 1 if overlap else 4}
    y, pull_back = jax.vjp(lambda x: max_pool(x, 4, **options), x)
    assert np.isnan(y[0, 0, 0])
    assert not np.isnan(y[0, -1, 0])
    (x_bar,) = pull_back(np.ones_like(y))
    assert x_bar[0, 1, 0] == np.isnan(y).sum() > 0


def test_windows_of_minus_infinity_leak_nothing_into_padding():
    """In JAX the gradient of such a window falls on the padding, and is lost."""
    x = jnp.full((1, 3, 1), -jnp.inf)
    y, pull_back = jax.vjp(lambda x: max_pool(x, 3, 1, ((2, 2),)), x)
    assert y.shape == (1, 5, 1)
    (x_bar,) = pull_back(np.ones_like(y))
    assert x_bar.sum() == y.size


def test_windows_of_padding_alone_have_no_gradient():
    x = jnp.ones((1, 2, 1))
    y, pull_back = jax.vjp(lambda x: max_pool(x, 2, 2, ((2, 2),)), x)
    chex.assert_trees_all_equal(y[0, :, 0], jnp.array([-jnp.inf, 1.0, -jnp.inf]))
    chex.assert_trees_all_equal(pull_back(np.ones_like(y))[0][0, :, 0], jnp.array([1.0, 0.0]))


@pytest.mark.parametrize(
    ("window", "dtype"), [((2, 2), "int8"), ((11, 11), "int8"), ((12, 12), "int16")], ids=str
)
def test_max_pool_remembers_one_small_integer_an_output(window, dtype, normal):
    x = normal((1, 24, 24, 3))
    y, pull_back = jax.eval_shape(lambda x: jax.vjp(lambda x: max_pool(x, window), x), x)
    residuals = [a for a in jax.tree.leaves(pull_back) if hasattr(a, "dtype")]
    assert [(a.dtype, a.size) for a in residuals] == [(dtype, y.size)]


def test_integers_have_no_wrap_around():
    x = jnp.array([-128, 127, 0, 5], jnp.int8).reshape(1, 4, 1)
    assert max_pool(x, 2)[0, :, 0].tolist() == [127, 5]
    assert min_pool(x, 2)[0, :, 0].tolist() == [-128, 0]
    assert max_pool(x, 3, 1, ((1, 1),))[0, :, 0].tolist() == [127, 127, 127, 5]


def test_half_precision_sums_in_float32(normal):
    x = jnp.ones((1, 512, 1), jnp.bfloat16)
    y, pull_back = jax.vjp(lambda x: avg_pool(x, 512), x)
    assert y.dtype == jnp.bfloat16
    assert y[0, 0, 0] == 1  # a bfloat16 sum of ones stops at 256
    assert pull_back(y)[0].dtype == jnp.bfloat16


def test_avg_pool_without_padding_counts_the_input_only(normal):
    x = normal((1, 5, 4, 2))
    options = {"strides": 2, "padding": "SAME", "count_include_pad": False}
    expected = nnx.avg_pool(x, (3, 3), strides=(2, 2), padding="SAME", count_include_pad=False)
    assert_within_rounding(avg_pool(x, 3, **options), expected, np.abs(x).max(), 9)


BAD_CALLS = {
    "rank": (lambda x: max_pool(x[0, 0], 2), ValueError, "max_pool: x must be"),
    "no array": (lambda x: max_pool([[1.0]], 2), TypeError, "max_pool: x must be an array"),
    "complex": (lambda x: max_pool(x + 1j, 2), TypeError, "no order"),
    "window": (lambda x: max_pool(x, 0), ValueError, "window_shape must be at least 1"),
    "window's rank": (lambda x: max_pool(x, (2, 2, 2)), ValueError, "window_shape needs 2"),
    "too large": (lambda x: sum_pool(x, 9), ValueError, "sum_pool: the window covers 9"),
    "stride": (lambda x: avg_pool(x, 2, 0), ValueError, "avg_pool: strides"),
    "negative padding": (lambda x: max_pool(x, 2, 1, -1), ValueError, "must not be negative"),
    "padding's name": (lambda x: min_pool(x, 2, 1, "some"), ValueError, "min_pool: padding"),
    "integers": (lambda x: avg_pool(x.astype(int), 2), TypeError, "avg_pool: x must be floating"),
    "count": (
        lambda x: avg_pool(x, 2, count_include_pad=0),
        TypeError,
        "avg_pool: count_include_pad must be a bool",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake, normal):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.asarray(normal((2, 7, 6, 4))))


@pytest.mark.parametrize("name", ["max_pool", "sum_pool"])
def test_large_windows_equal_the_definition(name, normal):
    """Beyond the sizes that are unrolled: as the definition says, and adjoint to itself."""
    x = normal((1, 60, 14, 2))
    window, options = (40, 9), {"strides": (3, 2), "padding": ((2, 1), (0, 3))}
    f = jax.jit(partial(getattr(jaxconv, name), window_shape=window, **options))
    y = f(x)
    definition = getattr(reference, name)(np.asarray(x), window, **options)
    assert_within_rounding(y, definition, f(np.abs(x)), 360)
    y_bar, x_dot = normal(y.shape), normal(x.shape)
    y_dot, (x_bar,) = jax.jit(lambda x: (jax.jvp(f, (x,), (x_dot,))[1], jax.vjp(f, x)[1](y_bar)))(x)
    scale = np.abs(y_bar).sum() * np.abs(x_dot).max() * 360
    assert_within_rounding(np.vdot(x_bar, x_dot), np.vdot(y_bar, y_dot), scale, 9)
    if name == "max_pool":
        expected = reference.max_pool_vjp(np.asarray(x), np.asarray(y_bar), window, **options)
        assert_within_rounding(x_bar, expected, np.abs(y_bar).max(), y.size)
