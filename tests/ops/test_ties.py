"""Who receives the error of a maximum: the rules for ties, NaN, infinities and padding."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import (
    adaptive_max_pool,
    conv_block,
    global_max_pool,
    max_pool,
    max_pool_with_argmax,
    min_pool,
    reference,
)
from tests.oracles import assert_within_rounding

pytestmark = pytest.mark.usefixtures("float64")

# (spatial, window, options); the last is beyond what is unrolled.
WINDOWS = [
    ((8, 6), 2, {}),
    ((7, 6), (3, 2), {"strides": (1, 2), "padding": ((1, 2), (0, 1)), "window_dilation": (2, 1)}),
    ((14, 13), (12, 12), {"strides": 1, "padding": ((0, 1), (1, 0))}),
]


@pytest.fixture
def few_values():
    """Draw arrays of 0, 1, 2 and NaN, so that most windows have ties."""
    rng = np.random.default_rng(1)
    return lambda shape: rng.choice([0.0, 1.0, 2.0, np.nan], shape, p=[0.4, 0.35, 0.2, 0.05])


@pytest.mark.parametrize("ties", ["first", "split", "all"])
@pytest.mark.parametrize(("spatial", "window", "options"), WINDOWS, ids=str)
def test_ties_equal_the_definition(spatial, window, options, ties, few_values, normal):
    x = few_values((2, *spatial, 3))
    f = partial(max_pool, window_shape=window, ties=ties, **options)
    y = reference.max_pool(x, window, **options)
    x_dot, y_bar = normal(x.shape), np.asarray(normal(y.shape))

    @jax.jit
    def both_modes(x, x_dot, y_bar):
        return jax.jvp(f, (x,), (x_dot,)), jax.vjp(f, x)[1](y_bar)[0]

    (actual, y_dot), x_bar = both_modes(x, x_dot, y_bar)
    chex.assert_trees_all_equal(np.asarray(actual), y)
    expected = reference.max_pool_vjp(x, y_bar, window, ties=ties, **options)
    scale = reference.max_pool_vjp(x, np.abs(y_bar), window, ties="all", **options)
    assert_within_rounding(x_bar, expected, scale, y.size)
    scale = np.abs(y_bar).sum() * np.abs(x_dot).max() * np.prod(window)
    assert_within_rounding(np.vdot(x_bar, x_dot), np.vdot(y_bar, y_dot), scale, 4)


@pytest.mark.parametrize("ties", ["first", "split"])
def test_shares_add_up_to_the_error(ties):
    """A subgradient hands on all of the error; "all" is none, and hands on more."""
    x = jnp.zeros((1, 6, 6, 2))
    share = jax.grad(lambda x: max_pool(x, 3, ties=ties).sum())(x)
    assert_within_rounding(share.sum(), 8.0, 8, 9)
    assert jax.grad(lambda x: max_pool(x, 3, ties="all").sum())(x).sum() == x.size


@pytest.mark.parametrize("pool", [max_pool, min_pool])
def test_split_keeps_a_symmetry(pool):
    x = jnp.zeros((1, 4, 4, 1))
    x_bar = jax.grad(lambda x: pool(x, 2, ties="split").sum())(x)
    chex.assert_trees_all_equal(x_bar, np.full_like(x, 0.25))


@pytest.mark.parametrize("ties", ["split", "all"])
def test_windows_of_minus_infinity_leak_nothing_into_padding(ties):
    """Padding counts as -inf in the forward pass, and is no equal of an element that is -inf."""
    x = jnp.full((1, 3, 1), -jnp.inf)
    y, pull_back = jax.vjp(lambda x: max_pool(x, 3, 1, ((2, 2),), ties=ties), x)
    (x_bar,) = pull_back(np.ones_like(y))
    # Windows see 1, 2, 3, 2, 1 elements; the pixel in the middle is in three of them.
    shares = [1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3 + 1 / 2, 1 + 1 / 2 + 1 / 3]
    expected = shares if ties == "split" else [3, 3, 3]
    assert_within_rounding(x_bar[0, :, 0], np.array(expected), 3, 3)


@pytest.mark.parametrize("ties", ["split", "all"])
def test_windows_of_padding_alone_have_no_gradient(ties):
    x = jnp.ones((1, 2, 1))
    y, pull_back = jax.vjp(lambda x: max_pool(x, 2, 2, ((2, 2),), ties=ties), x)
    (x_bar,) = pull_back(np.ones_like(y))
    chex.assert_trees_all_equal(x_bar[0, :, 0], jnp.full(2, 0.5 if ties == "split" else 1.0))


@pytest.mark.parametrize("ties", ["split", "all"])
def test_modes_agree_where_there_are_no_ties(ties, normal):
    """Any order and transform: without ties each rule is that of the first."""
    x, v = normal((2, 7, 2)), normal((2, 7, 2))

    def loss(ties, x):
        return jnp.sum(max_pool(jnp.sin(x), 3, 2, "SAME", ties=ties) ** 3)

    def modes(ties, x):
        f = partial(loss, ties)
        return (
            jax.jvp(jax.grad(f), (x,), (v,)),
            jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v))(x),
            jax.vmap(jax.grad(f))(jnp.stack([x, v])),
            jax.linearize(f, x)[1](v),
            jax.lax.scan(lambda s, a: (s + jax.grad(f)(a * x), None), x, jnp.arange(1.0, 3))[0],
        )

    actual, expected = jax.jit(lambda x: (modes(ties, x), modes("first", x)))(x)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_within_rounding(a, b, 27 * np.abs(b).max(), 9 * 4)


POOLS = {
    "max_pool": lambda x: max_pool(x, 3, 2, ((1, 2), (0, 1))),
    "min_pool": lambda x: min_pool(x, (3, 2), 1),
    "global_max_pool": global_max_pool,
    "adaptive_max_pool": lambda x: adaptive_max_pool(x, (2, 3)),
    "max_pool_with_argmax": lambda x: max_pool_with_argmax(x, 3, 1)[0],
    "conv_block": lambda x: conv_block(
        x, jnp.eye(3)[None, None], None, window_shape=3, pool_strides=1, activation=None
    ),
}


@pytest.mark.parametrize("name", POOLS)
def test_second_order_follows_the_same_choice(name, few_values, normal):
    """What a derivative hands on as the value has the derivative of the pool, at ties and NaN."""
    f, x, x_dot = POOLS[name], few_values((2, 6, 7, 3)), normal((2, 6, 7, 3))
    y, y_dot = jax.jvp(f, (x,), (x_dot,))
    values = {
        "jvp": lambda x: jax.jvp(f, (x,), (x_dot,))[0],
        "vjp": lambda x: jax.vjp(f, x)[0],
        "jvp of jvp": lambda x: jax.jvp(lambda x: jax.jvp(f, (x,), (x_dot,))[0], (x,), (x_dot,))[0],
    }
    for value in values.values():
        chex.assert_trees_all_equal(jax.jvp(value, (x,), (x_dot,)), (y, y_dot))

    # ½‖pool(x)‖² has the Hessian JᵀJ, since J is constant where it exists.
    x = np.nan_to_num(x)
    matrix = jax.jacobian(f)(x).reshape(y.size, x.size)
    hessian = jax.hessian(lambda x: jnp.sum(f(x) ** 2) / 2)(x).reshape(x.size, x.size)
    assert_within_rounding(hessian, matrix.T @ matrix, 9.0, 9)


def test_integers_have_ties_and_no_gradient():
    x = jnp.array([3, 3, 1, 2], jnp.int8).reshape(1, 4, 1)
    for ties in ("first", "split", "all"):
        assert max_pool(x, 2, ties=ties)[0, :, 0].tolist() == [3, 2]
        _, pull_back = jax.vjp(lambda x, ties=ties: max_pool(x, 2, ties=ties), x)
        (x_bar,) = pull_back(np.zeros((1, 2, 1), jax.dtypes.float0))
        assert x_bar.dtype == jax.dtypes.float0


def test_large_windows_side_by_side(normal):
    """Beyond what is unrolled, and for one window: a reshape in place of slices."""
    for spatial, window in [((25, 14), (12, 13)), ((5, 3), (5, 3))]:
        x = np.array(normal((2, *spatial, 2)))
        x[0, 2, 1] = np.nan
        x[1, :2] = 9
        y, pull_back = jax.vjp(lambda x, w=window: max_pool(x, w), jnp.asarray(x))
        y_bar = np.asarray(normal(y.shape))
        chex.assert_trees_all_equal(np.asarray(y), reference.max_pool(x, window))
        (x_bar,) = pull_back(jnp.asarray(y_bar))
        chex.assert_trees_all_equal(np.asarray(x_bar), reference.max_pool_vjp(x, y_bar, window))
        y_dot = jax.jvp(lambda x, w=window: max_pool(x, w), (x,), (jnp.cos(x),))[1]
        both_ways = np.vdot(np.where(np.isnan(x), 0, np.cos(x)), x_bar)
        without_nan = np.where(np.isnan(y_dot), 0, y_dot)
        assert_within_rounding(np.vdot(y_bar, without_nan), both_ways, x.size, y.size)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("pool", [max_pool, min_pool, global_max_pool])
def test_unknown_rule(pool, normal):
    options = {} if pool is global_max_pool else {"window_shape": 2}
    with pytest.raises(ValueError, match="pool: ties must be one of first, split, all, got 'last'"):
        pool(normal((1, 4, 4, 1)), ties="last", **options)
