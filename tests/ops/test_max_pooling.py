"""Max and min pooling: the rules for ties, NaN, infinities and padding, and every mode.

`test_windows.py` compares values and gradients over many windows.
"""

import inspect
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import (
    adaptive_max_pool,
    conv_block,
    global_max_pool,
    max_pool,
    max_pool_with_argmax,
    min_pool,
    reference,
)
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

# (spatial, window, options)
WINDOWS = [
    ((8, 6), 2, {}),
    ((7, 6), (3, 2), {"strides": (1, 2), "padding": ((1, 2), (0, 1)), "window_dilation": (2, 1)}),
    ((14, 13), (12, 12), {"strides": 1, "padding": ((0, 1), (1, 0))}),  # a loop over its rows
    ((3, 7, 6), (2, 12, 11), {"strides": 1, "padding": "SAME"}),
    ((25, 14), (12, 13), {}),  # large windows side by side
    ((25, 14), (12, 13), {"padding": ((2, 9), (0, 12))}),
    ((5, 3), (5, 3), {}),  # one window
]


def test_min_pool_has_the_options_of_max_pool():
    assert inspect.signature(min_pool) == inspect.signature(max_pool)


@pytest.fixture
def few_values():
    """Draw arrays of 0, 1, 2 and NaN, so that most windows have ties."""
    rng = np.random.default_rng(1)
    return lambda shape: rng.choice([0.0, 1.0, 2.0, np.nan], shape, p=[0.4, 0.35, 0.2, 0.05])


def test_ties_equal_the_definition(few_values, normal):
    """The rule "first" over every second window, and the two others in turn."""
    few = WINDOWS[::2]
    ties = [("first", ("split", "all")[i % 2]) for i in range(len(few))]
    check_ties(zip(few, ties, strict=True), few_values, normal)


@pytest.mark.exhaustive
def test_all_ties_over_all_windows_equal_the_definition(few_values, normal):
    check_ties([(window, ("first", "split", "all")) for window in WINDOWS], few_values, normal)


def check_ties(windows, few_values, normal):
    """Values, tangents and cotangents of the rules for ties that go with each window."""
    rows, calls = [], []
    for (spatial, window, options), rules in windows:
        x, x_dot = few_values((2, *spatial, 3)), np.asarray(normal((2, *spatial, 3)))
        y = reference.max_pool(x, window, **options)
        y_bar = np.asarray(normal(y.shape))
        for ties in rules:

            def both_modes(x, x_dot, y_bar, f):
                return jax.jvp(f, (x,), (x_dot,)), jax.vjp(f, x)[1](y_bar)[0]

            f = partial(max_pool, window_shape=window, ties=ties, **options)
            rows.append((window, options, ties, y))
            calls.append((partial(both_modes, f=f), x, x_dot, y_bar))
    results = zip(rows, calls, together(calls), strict=True)
    for (window, options, ties, y), (_, x, x_dot, y_bar), ((actual, y_dot), x_bar) in results:
        chex.assert_trees_all_equal(actual, y)
        expected = reference.max_pool_vjp(x, y_bar, window, ties=ties, **options)
        scale = reference.max_pool_vjp(x, np.abs(y_bar), window, ties="all", **options)
        assert_within_rounding(x_bar, expected, scale, y.size)
        scale = np.abs(y_bar).sum() * np.abs(x_dot).max() * x.size
        assert_within_rounding(np.vdot(x_bar, x_dot), np.vdot(y_bar, y_dot), scale, 4)


# Each mode computes, for a function of x, arrays that depend on its derivatives.
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


def test_modes_equal_flax(normal):
    x, options = normal((2, 9, 8, 3)), {"strides": (2, 2), "padding": "SAME"}

    def ours(x):
        return jnp.sum(max_pool(jnp.sin(x), 3, **options) ** 3)

    def theirs(x):
        return jnp.sum(nnx.max_pool(jnp.sin(x), (3, 3), **options) ** 3)

    actual, expected = (
        together([(partial(mode, f), x) for mode in MODES.values()]) for f in (ours, theirs)
    )
    for name, *pair in zip(MODES, actual, expected, strict=True):
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            assert_within_rounding(a, b, 27 * np.abs(b).max(), 9 * 4, name)


@pytest.mark.exhaustive
def test_modes_agree_where_there_are_no_ties(normal):
    """Without ties, each rule for ties has the derivatives of "first", in any mode and order."""
    x = normal((2, 7, 2))

    def loss(ties, x):
        return jnp.sum(max_pool(jnp.sin(x), 3, 2, "SAME", ties=ties) ** 3)

    modes = [mode for name, mode in MODES.items() if name != "cond"]  # which wants two axes
    first, *others = (
        together([(partial(mode, partial(loss, ties)), x) for mode in modes])
        for ties in ("first", "split", "all")
    )
    for other in others:
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(first), strict=True):
            assert_within_rounding(a, b, 27 * np.abs(b).max(), 9 * 4)


POOLS = {
    "max_pool": lambda x: max_pool(x, 3, 2, ((1, 2), (0, 1))),
    "max_pool, split": lambda x: max_pool(x, 3, 2, ties="split"),
    "min_pool": lambda x: min_pool(x, (3, 2), 1),
    "global_max_pool": global_max_pool,
    "adaptive_max_pool": lambda x: adaptive_max_pool(x, (2, 3)),
    "max_pool_with_argmax": lambda x: max_pool_with_argmax(x, 3, 1)[0],
    "conv_block": lambda x: conv_block(
        x, jnp.eye(2)[None, None], None, window_shape=3, pool_strides=1, activation=None
    ),
}


def test_second_order_follows_the_same_choice(few_values, normal):
    """A derivative hands on the value of the pool; that value has the derivative of the pool.

    This is so at ties and NaN, too.
    """
    x, x_dot = few_values((1, 6, 5, 2)), normal((1, 6, 5, 2))

    def modes(x, x_dot, f):
        def jvp(x):
            return jax.jvp(f, (x,), (x_dot,))[0]

        def vjp(x):
            return jax.vjp(f, x)[0]

        def jvp_of_jvp(x):
            return jax.jvp(jvp, (x,), (x_dot,))[0]

        return [jax.jvp(value, (x,), (x_dot,)) for value in (f, jvp, vjp, jvp_of_jvp)]

    def hessian_times(x, x_dot, f):
        """½‖pool(x)‖² has the Hessian JᵀJ, since J is constant where it exists."""
        y_dot = jax.jvp(f, (x,), (x_dot,))[1]
        energy = jax.grad(lambda x: jnp.sum(f(x) ** 2) / 2)
        return jax.jvp(energy, (x,), (x_dot,))[1], jax.vjp(f, x)[1](y_dot)[0]

    calls = [(partial(modes, f=f), x, x_dot) for f in POOLS.values()]
    calls += [(partial(hessian_times, f=f), np.nan_to_num(x), x_dot) for f in POOLS.values()]
    results = together(calls)
    values, products = results[: len(POOLS)], results[len(POOLS) :]
    for name, (first, *others), pair in zip(POOLS, values, products, strict=True):
        for other in others:
            chex.assert_trees_all_equal(other, first)
        assert_within_rounding(*pair, 9 * np.abs(x_dot).max(), 9, name)


@pytest.mark.parametrize("ties", ["first", "split"])
def test_shares_add_up_to_the_error(ties):
    """A subgradient hands on all of the error; "all" is none, and hands on more."""
    x = jnp.zeros((1, 6, 6, 2))
    share = jax.grad(lambda x: max_pool(x, 3, ties=ties).sum())(x)
    assert_within_rounding(share.sum(), 8.0, 8, 9)
    assert jax.grad(lambda x: max_pool(x, 3, ties="all").sum())(x).sum() == x.size


@pytest.mark.parametrize("pool", [max_pool, min_pool])
@pytest.mark.parametrize("ties", ["first", "split"])
def test_equals_of_a_window(pool, ties):
    """The first receives the gradient, or all of them receive the same share."""
    x = jnp.zeros((1, 4, 4, 1))
    x_bar = jax.grad(lambda x: pool(x, 2, ties=ties).sum())(x)
    expected = np.full((4, 4), 0.25)
    if ties == "first":
        expected[:] = 0
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


TIES = {
    # Windows see 1, 2, 3, 2, 1 elements; the pixel in the middle is in three of them.
    "first": [3, 1, 1],
    "split": [1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3 + 1 / 2, 1 + 1 / 2 + 1 / 3],
    "all": [3, 3, 3],
}


@pytest.mark.parametrize("ties", TIES)
def test_windows_of_minus_infinity_leak_nothing_into_padding(ties):
    """Padding is -inf in the forward pass, but it is no equal of an element that is -inf.

    In JAX the gradient of such a window falls on the padding, and is lost.
    """
    x = jnp.full((1, 3, 1), -jnp.inf)
    y, pull_back = jax.vjp(lambda x: max_pool(x, 3, 1, ((2, 2),), ties=ties), x)
    assert y.shape == (1, 5, 1)
    (x_bar,) = pull_back(np.ones_like(y))
    assert_within_rounding(x_bar[0, :, 0], np.array(TIES[ties], float), 3, 3)


@pytest.mark.parametrize(
    ("ties", "x_bar"), [("first", [1, 0]), ("split", [0.5] * 2), ("all", [1] * 2)]
)
def test_windows_of_padding_alone_have_no_gradient(ties, x_bar):
    x = jnp.ones((1, 2, 1))
    y, pull_back = jax.vjp(lambda x: max_pool(x, 2, 2, ((2, 2),), ties=ties), x)
    assert y[0, :, 0].tolist() == [-np.inf, 1, -np.inf]
    assert pull_back(np.ones_like(y))[0][0, :, 0].tolist() == x_bar


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


def test_integers_have_ties_and_no_gradient():
    x = jnp.array([3, 3, 1, 2], jnp.int8).reshape(1, 4, 1)
    for ties in ("first", "split", "all"):
        assert max_pool(x, 2, ties=ties)[0, :, 0].tolist() == [3, 2]
        _, pull_back = jax.vjp(lambda x, ties=ties: max_pool(x, 2, ties=ties), x)
        (x_bar,) = pull_back(np.zeros((1, 2, 1), jax.dtypes.float0))
        assert x_bar.dtype == jax.dtypes.float0


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("pool", [max_pool, min_pool, global_max_pool])
def test_unknown_rule(pool, normal):
    options = {} if pool is global_max_pool else {"window_shape": 2}
    with pytest.raises(ValueError, match="pool: ties must be one of first, split, all, got 'last'"):
        pool(normal((1, 4, 4, 1)), ties="last", **options)


BAD_CALLS = {
    "rank": (lambda x: max_pool(x[0, 0], 2), ValueError, "max_pool: x must be"),
    "no array": (lambda x: max_pool([[1.0]], 2), TypeError, "max_pool: x must be an array"),
    "complex": (lambda x: max_pool(x + 1j, 2), TypeError, "no order"),
    "window": (lambda x: max_pool(x, 0), ValueError, "window_shape must be at least 1"),
    "window's rank": (lambda x: max_pool(x, (2, 2, 2)), ValueError, "window_shape needs 2"),
    "negative padding": (lambda x: max_pool(x, 2, 1, -1), ValueError, "must not be negative"),
    "padding's name": (lambda x: min_pool(x, 2, 1, "some"), ValueError, "min_pool: padding"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 7, 6, 4)))
