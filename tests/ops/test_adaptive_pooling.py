"""Pools that state the size of their result."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import (
    adaptive_avg_pool,
    adaptive_max_pool,
    global_avg_pool,
    global_max_pool,
    reference,
)
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

SIZES = [((7,), 3), ((8, 6), (4, 2)), ((9, 7), (4, 7)), ((3, 5), (5, 2)), ((5, 4, 6), (2, 3, 4))]


def test_adaptive_pools(normal):
    """Equal to the definition; forward and reverse mode are each other's transpose."""
    rows = [(name, *case) for name in ("adaptive_avg_pool", "adaptive_max_pool") for case in SIZES]
    calls = []
    for name, spatial, size in rows:
        x, x_dot = (np.asarray(normal((2, *spatial, 3))) for _ in range(2))
        y_bar = np.asarray(normal(getattr(reference, name)(x, size).shape))

        def modes(x, x_dot, y_bar, name=name, size=size):
            f = partial(getattr(jaxconv, name), output_size=size)
            y, y_dot = jax.jvp(f, (x,), (x_dot,))
            return y, y_dot, jax.vjp(f, x)[1](y_bar)[0]

        calls.append((modes, x, x_dot, y_bar))
    for row, (_, x, x_dot, y_bar), results in zip(rows, calls, together(calls), strict=True):
        (name, _, size), (y, y_dot, x_bar) = row, results
        definition, exact = getattr(reference, name), name == "adaptive_max_pool"
        magnitude = 0 if exact else np.abs(x).max()
        assert_within_rounding(y, definition(x, size), magnitude, x.size, f"{row}: y")
        scale = np.abs(y_bar).sum() * np.abs(x_dot).max()
        forward, reverse = np.vdot(y_bar, y_dot), np.vdot(x_bar, x_dot)
        assert_within_rounding(forward, reverse, scale, x.size, f"{row}: x_bar")
        if not exact:
            expected = definition(x_dot, size)
            assert_within_rounding(y_dot, expected, np.abs(x_dot).max(), x.size, f"{row}: y_dot")


def test_more_parts_than_pixels_repeat_the_pixels(normal):
    """A multiple of them on each axis, or on one axis only."""
    x, rows, calls = normal((1, 2, 3, 2)), [], []
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        for times in ((2, 3), (3, 1)):

            def value_and_cotangent(x, f):
                y, pull_back = jax.vjp(f, x)
                return y, pull_back(jnp.ones_like(y))[0]

            size = (2 * times[0], 3 * times[1])
            f = partial(getattr(jaxconv, name), output_size=size)
            rows.append(times)
            calls.append((partial(value_and_cotangent, f=f), x))
    for (rows_of_one, columns), (y, x_bar) in zip(rows, together(calls), strict=True):
        chex.assert_trees_all_equal(y, np.repeat(np.repeat(x, rows_of_one, 1), columns, 2))
        chex.assert_trees_all_equal(x_bar, np.full(x.shape, float(rows_of_one * columns)))


def test_adaptive_max_pool_hands_the_error_to_one_pixel():
    x = jnp.zeros((1, 5, 1))
    x_bar = jax.grad(lambda x: adaptive_max_pool(x, 3).sum())(x)
    assert x_bar[0, :, 0].tolist() == [1, 1, 0, 1, 0]  # the first of [0, 2), [1, 4), [3, 5)


def test_adaptive_average_keeps_nan_and_infinity_in_their_parts():
    x = jnp.zeros((1, 7, 1)).at[0, 0, 0].set(jnp.nan).at[0, 6, 0].set(jnp.inf)
    y = adaptive_avg_pool(x, 3)[0, :, 0]
    assert np.isnan(y).tolist() == [True, False, False]
    assert y[2] == jnp.inf


@pytest.mark.parametrize("spatial", [(7,), (5, 6), (3, 2, 4)], ids=str)
def test_global_pools(spatial, normal):
    x = normal((2, *spatial, 3))
    pixels, axes = np.prod(spatial), tuple(range(1, 1 + len(spatial)))
    mean, pull_mean = jax.vjp(global_avg_pool, x)
    largest, pull_largest = jax.vjp(global_max_pool, x)
    expected = reference.global_avg_pool(np.asarray(x))
    assert_within_rounding(mean, expected, np.abs(x).max(), pixels)
    chex.assert_trees_all_equal(np.asarray(largest), reference.global_max_pool(np.asarray(x)))
    y_bar = normal(mean.shape)
    error = np.expand_dims(y_bar, axes)
    share = np.broadcast_to(error / pixels, x.shape)
    assert_within_rounding(pull_mean(y_bar)[0], share, np.abs(share), 2)
    won = x == np.expand_dims(largest, axes)
    chex.assert_trees_all_equal(pull_largest(y_bar)[0], np.where(won, error, 0))


@pytest.mark.usefixtures("optimised")
def test_global_max_pool_finds_a_nan_in_a_large_array(normal):
    """XLA's reduction for CPUs forgets it there."""
    x = normal((84, 7, 6, 2), jnp.float32).at[5, 3, 2, 1].set(jnp.nan)
    y, pull_back = jax.jit(lambda x: jax.vjp(global_max_pool, x))(x)
    assert np.argwhere(np.isnan(y)).tolist() == [[5, 1]]
    (x_bar,) = pull_back(jnp.ones_like(y))
    assert x_bar[5, :, :, 1].sum() == x_bar[5, 3, 2, 1] == 1


def test_global_max_pool_splits_among_equals():
    x = jnp.zeros((1, 2, 3, 1))
    x_bar = jax.grad(lambda x: global_max_pool(x, ties="split").sum())(x)
    assert_within_rounding(x_bar, np.full_like(x, 1 / 6), 1, 1)


@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool", "global_max_pool"])
def test_modes(name, normal):
    """Second order and batches, against the same made of single pools."""
    x = normal((2, 7, 5, 2))
    pool = getattr(jaxconv, name)
    options = {} if name == "global_max_pool" else {"output_size": (3, 2)}
    reduce = jnp.mean if "avg" in name else jnp.max

    def ours(x):
        return jnp.sum(pool(jnp.sin(x), **options) ** 3)

    def plain(x):
        x = jnp.sin(x)
        if not options:
            return jnp.sum(x.max((1, 2)) ** 3)
        rows, columns = [(0, 3), (2, 5), (4, 7)], [(0, 3), (2, 5)]
        parts = [reduce(x[:, a:b, c:d], (1, 2)) for a, b in rows for c, d in columns]
        return sum(jnp.sum(part**3) for part in parts)

    def modes(f):
        return (
            jax.jvp(jax.grad(f), (x,), (jnp.cos(x),)),
            jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))(x),
            jax.vmap(jax.grad(f))(jnp.stack([x, jnp.sin(5 * x)])),
            jax.linearize(f, x)[1](jnp.cos(x)),
        )

    actual, expected = jax.jit(lambda: (modes(ours), modes(plain)))()
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_within_rounding(a, b, 27 * np.abs(b).max(), 4 * x.size)


def test_half_precision_and_no_examples():
    x = jnp.full((1, 600, 3), 300, jnp.float16)
    assert (global_avg_pool(x) == 300).all()  # the sum is more than float16 holds
    assert (adaptive_avg_pool(x, 7) == 300).all()
    for pool in (global_avg_pool, partial(adaptive_max_pool, output_size=2)):
        assert pool(jnp.zeros((0, 5, 3))).shape[0] == 0
        assert pool(jnp.zeros((2, 5, 0))).shape[-1] == 0


BAD_CALLS = {
    "no pixels": (lambda x: global_avg_pool(x[:, :0]), ValueError, "global_avg_pool: x must have"),
    "rank": (lambda x: global_max_pool(x[:, 0, 0]), ValueError, "global_max_pool: x must be"),
    "integers": (
        lambda x: global_avg_pool(x.astype(int)),
        TypeError,
        "global_avg_pool: x must be floating point",
    ),
    "size": (lambda x: adaptive_avg_pool(x, 0), ValueError, "adaptive_avg_pool: output_size"),
    "sizes": (lambda x: adaptive_max_pool(x, (2, 2, 2)), ValueError, "output_size needs 2"),
    "text": (lambda x: adaptive_max_pool(x, "2"), TypeError, "adaptive_max_pool: output_size"),
    "empty": (lambda x: adaptive_max_pool(x[:, :0], 2), ValueError, "x must have pixels"),
    "complex": (lambda x: adaptive_max_pool(x + 1j, 2), TypeError, "no order"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 7, 6, 4)))
