"""`ceil_mode`: one more window where those that fit leave something over, by PyTorch's rule."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import max_pool_with_argmax, max_unpool, reference
from tests.oracles import assert_within_rounding

pytestmark = pytest.mark.usefixtures("float64")

POOLS = {
    "max": (jaxconv.max_pool, reference.max_pool),
    "min": (jaxconv.min_pool, reference.min_pool),
    "sum": (jaxconv.sum_pool, reference.sum_pool),
    "avg": (jaxconv.avg_pool, reference.avg_pool),
    "avg, input only": tuple(
        partial(of.avg_pool, count_include_pad=False) for of in (jaxconv, reference)
    ),
    "lp": tuple(
        lambda x, *args, pool=of.lp_pool, **options: pool(x, 2, *args, **options)
        for of in (jaxconv, reference)
    ),
}

# (spatial, window, strides, padding, dilation), all such that torch can have the first five.
CASES = [
    ((9,), 7, 3, 3, 1),  # the last window counts six places of padding
    ((7, 6), 2, 2, 0, 1),  # one more on one axis only
    ((5, 8), (3, 2), (2, 3), (1, 0), (2, 1)),
    ((4, 6), 2, 3, 1, 1),  # a window that would start in the padding is dropped
    ((4, 6, 5), (2, 3, 2), (3, 2, 2), (1, 1, 0), 1),
    ((2, 1), 3, (2, 4), 0, 1),  # the map is smaller than the window
    ((9, 7), (2, 3), (3, 2), ((0, 1), (2, 1)), (3, 1)),
    ((8, 7), 3, 2, "VALID", 2),
    ((70, 5), (41, 3), (6, 4), ((2, 3), (0, 1)), 1),  # more taps than are unrolled
]
OF_TORCH = 6


def in_ceil_mode(case):
    _, window, strides, padding, dilation = case
    options = {"strides": strides, "padding": padding, "window_dilation": dilation}
    return window, options | {"ceil_mode": True}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_definition(case, normal):
    """Values, tangents and cotangents of all pools, in one program."""
    window, options = in_ceil_mode(case)
    x = normal((2, *case[0], 2))
    shape = reference.max_pool(np.asarray(x), window, **options).shape
    x_dot, y_bar = normal(x.shape), normal(shape)

    @jax.jit
    def of_all(x):
        results = {}
        for name, (pool, _) in POOLS.items():

            def f(x, pool=pool):
                return pool(x, window, **options)

            y, pull_back = jax.vjp(f, x)
            results[name] = y, jax.jvp(f, (x,), (x_dot,))[1], pull_back(y_bar)[0]
        return results

    terms, scale = np.prod(np.broadcast_to(window, len(case[0]))) * x.ndim, np.abs(x_dot).max()
    for name, (y, y_dot, x_bar) in of_all(x).items():
        definition = POOLS[name][1]
        expected = definition(np.asarray(x), window, **options)
        size = np.abs(x).max() * terms
        assert_within_rounding(y, expected, size, terms, name)
        both = np.vdot(np.abs(y_bar), np.abs(y_dot)) + scale * np.abs(x_bar).sum()
        assert_within_rounding(np.vdot(x_bar, x_dot), np.vdot(y_bar, y_dot), both, x.size, name)
        if name in ("sum", "avg", "avg, input only"):
            linear = definition(np.asarray(x_dot), window, **options)
            assert_within_rounding(y_dot, linear, scale * terms, terms, name)
        elif name != "lp":
            sign = -1 if name == "min" else 1
            won = reference.max_pool_vjp(sign * np.asarray(x), np.asarray(y_bar), window, **options)
            assert_within_rounding(x_bar, won, np.abs(y_bar).max(), y.size, name)


@pytest.mark.parametrize("case", CASES[:OF_TORCH], ids=str)
def test_equals_torch(case, normal):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    window, options = in_ceil_mode(case)
    spatial, x = case[0], normal((2, *case[0], 2))
    rank, of = len(spatial), torch.nn.functional
    common = {"stride": case[2], "padding": case[3], "ceil_mode": True}
    theirs = {"max": partial(getattr(of, f"max_pool{rank}d"), dilation=case[4], **common)}
    if case[4] == 1:
        average = partial(getattr(of, f"avg_pool{rank}d"), **common)
        theirs |= {"avg": average, "avg, input only": partial(average, count_include_pad=False)}
    for name, pool in theirs.items():
        leaf = torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy(), requires_grad=True)
        y = pool(leaf, window)
        ours, pull_back = jax.vjp(lambda x, f=POOLS[name][0]: f(x, window, **options), x)
        assert ours.shape[1:-1] == y.shape[2:]
        y_bar = np.array(normal(ours.shape))
        y.backward(torch.tensor(np.moveaxis(y_bar, -1, 1).copy()))
        for a, e in ((ours, y.detach()), (pull_back(y_bar)[0], leaf.grad)):
            terms = np.prod(np.broadcast_to(window, rank))
            assert_within_rounding(a, np.moveaxis(e.numpy(), 1, -1), 9.0 * terms, terms, name)


def test_last_window_counts_its_places_inside_the_padding():
    x = [2.0903, 4.6493, 1.6320, -3.2051, 4.6975, 4.7296, 3.3653, -1.5815, -2.3832]
    x = jnp.array(x).reshape(1, 9, 1)
    y = jaxconv.avg_pool(x, 7, 3, 3, ceil_mode=True)[0, :, 0]
    np.testing.assert_allclose(y, [0.73807, 2.56556, 0.80323, -0.09990], atol=5e-6)
    np.testing.assert_allclose(y[3], (3.3653 - 1.5815 - 2.3832) / 6, rtol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "FULL"])
def test_paddings_that_leave_nothing_over(padding, normal):
    """Their number of windows takes in every pixel, so that there is none to round up."""
    for size, window, strides in [(9, 1, 3), (10, 2, 3), (7, 3, 2), (8, 5, 4)]:
        x = normal((1, size, 1))
        floor, ceil = (
            jaxconv.avg_pool(x, window, strides, padding, ceil_mode=mode) for mode in (False, True)
        )
        chex.assert_trees_all_equal(floor, ceil)


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[6]], ids=str)
def test_argmax_and_unpooling(case, normal):
    window, options = in_ceil_mode(case)
    x = normal((2, *case[0], 2))
    y, argmax = jax.jit(partial(max_pool_with_argmax, window_shape=window, **options))(x)
    expected, where = reference.max_pool_with_argmax(np.asarray(x), window, **options)
    chex.assert_trees_all_equal((np.asarray(y), np.asarray(argmax, int)), (expected, where))
    seen = jnp.where(argmax < 0, 0, y)  # a window of padding alone holds -inf
    unpool = partial(max_unpool, window_shape=window, **options, output_size=case[0])
    back = jax.jit(unpool)(seen, argmax)
    expected = reference.max_unpool(np.asarray(seen), where, case[0])
    assert_within_rounding(back, expected, np.abs(expected), seen.size)


def test_unpooling_takes_the_size_that_windows_cover_exactly(normal):
    y = normal((1, 4, 1))
    argmax = jnp.zeros(y.shape, int)
    sizes = [max_unpool(y, argmax, 3, 2, 1, ceil_mode=mode).shape[1] for mode in (False, True)]
    assert sizes == [7, 7]
    assert max_unpool(y, argmax, 3, 2, 1, ceil_mode=True, output_size=(6,)).shape == (1, 6, 1)
    with pytest.raises(ValueError, match=r"pooled to \(3,\), but y has \(4,\); ceil_mode is False"):
        max_unpool(y, argmax, 3, 2, 1, output_size=(6,))
