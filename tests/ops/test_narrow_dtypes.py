"""Pools and resizes of float8, float4 and small integers: rounded once, at the end.

Covers jaxconv/ops/_windows.py, jaxconv/ops/_upscaling.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import reference
from tests.oracles import transpose_of

FLOATS = [
    *("float8_e3m4", "float8_e4m3", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn"),
]
# One with infinities, one without, and one of four bits; the others are in the exhaustive run.
SAMPLE = {"float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"}
ALL_FLOATS = [
    name if name in SAMPLE else pytest.param(name, marks=pytest.mark.exhaustive) for name in FLOATS
]
INTEGERS = ["int2", "uint2", "int4", "uint4"]

# Windows that overlap and see padding.
WINDOWS = {"window_shape": (3, 2), "strides": (2, 1), "padding": ((1, 1), (0, 1))}
LINEAR = {
    "sum_pool": WINDOWS,
    "avg_pool": WINDOWS,
    "global_avg_pool": {},
    "adaptive_avg_pool": {"output_size": (2, 3)},
    "upscale": {"factor": (1, 3)},
    "bilinear": {"factor": (1, 3), "method": "bilinear"},
    "zeros": {"factor": (1, 3), "method": "zeros"},
}
MAXIMA = {
    "max_pool": WINDOWS,
    "min_pool": WINDOWS,
    "global_max_pool": {},
    "adaptive_max_pool": {"output_size": (2, 3)},
}


def of(package, name, options):
    """A function of `jaxconv` or the reference; other names are methods of `upscale`."""
    return partial(getattr(package, name, package.upscale), **options)


def rounded(a, dtype):
    """A float64 result of the definition, rounded to float32, in which sums are kept, and then."""
    return np.asarray(a, np.float32).astype(dtype)


@pytest.mark.parametrize("name", ALL_FLOATS)
def test_floats_equal_the_definition(name):
    """Values and gradients of all pools, in one program for each dtype."""
    dtype, rng, shape = jnp.dtype(name), np.random.default_rng(0), (2, 5, 4, 2)
    x = rng.choice([-1.5, -1, -0.5, 0, 0.5, 1, 1.5], shape).astype(dtype)
    functions = LINEAR | MAXIMA | {"lp_pool": WINDOWS | {"p": 2}}
    shapes = {
        f: jax.eval_shape(of(jaxconv, f, options), x).shape for f, options in functions.items()
    }
    y_bars = {f: rng.choice([-1, 0.5, 1], of_y).astype(dtype) for f, of_y in shapes.items()}

    @jax.jit
    def of_all(x, y_bars):
        pairs = {f: jax.vjp(of(jaxconv, f, options), x) for f, options in functions.items()}
        return {f: (y, pull_back(y_bars[f])[0]) for f, (y, pull_back) in pairs.items()}

    wide, results = x.astype(float), of_all(x, y_bars)
    assert all(a.dtype == dtype for a in jax.tree.leaves(results))
    for f, options in functions.items():
        definition, y_bar = of(reference, f, options), y_bars[f].astype(float)
        y = definition(wide)
        if f in LINEAR:
            x_bar = transpose_of(definition, shape, y_bar)
        elif f == "lp_pool":
            sums = of(reference, "sum_pool", WINDOWS)
            x_bar = wide * transpose_of(sums, shape, y_bar / np.where(y == 0, np.inf, y))
        elif "window_shape" in options:
            sign = -1 if f == "min_pool" else 1
            x_bar = reference.max_pool_vjp(sign * wide, y_bar, **options)
        else:  # by the first of each part that holds the maximum
            x_bar = parts_vjp(wide, y_bar, options.get("output_size", (1, 1)))
        actual, expected = results[f], (rounded(y, dtype), rounded(x_bar, dtype))
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(a, float), e.astype(float), err_msg=f)


def parts_vjp(x, y_bar, sizes):
    """Of an adaptive max pool: each error goes to the first pixel that holds the maximum."""
    x_bar, y_bar = np.zeros(x.shape), y_bar.reshape(len(x), *sizes, -1)
    for n, *p, c in np.ndindex(y_bar.shape):
        part = [
            slice(p_a * size // q, -(-(p_a + 1) * size // q))
            for p_a, size, q in zip(p, x.shape[1:-1], sizes, strict=True)
        ]
        seen = x[n, *part, c]
        first = np.unravel_index(seen.argmax(), seen.shape)
        x_bar[n, *part, c][first] += y_bar[n, *p, c]
    return x_bar


@pytest.mark.parametrize("name", ALL_FLOATS)
def test_padding_is_below_every_float(name):
    """Also where the dtype has no infinity, and an element is the least number there is."""
    dtype = jnp.dtype(name)
    low = jnp.finfo(dtype).min
    x = np.array([low, low, 1, low]).astype(dtype).reshape(1, 4, 1)
    y, argmax = jaxconv.max_pool_with_argmax(x, 2, 1, ((1, 3),))
    below = rounded(-np.inf, dtype) if np.isinf(rounded(-np.inf, dtype)) else low
    expected = np.array([low, low, 1, 1, low, below, below]).astype(dtype)
    np.testing.assert_array_equal(np.asarray(y)[0, :, 0].astype(float), expected.astype(float))
    assert argmax[0, :, 0].tolist() == [0, 0, 2, 2, 3, -1, -1]
    for ties, x_bar in (("first", [2, 0, 2, 1]), ("all", [2, 1, 2, 1])):
        pool = partial(jaxconv.max_pool, window_shape=2, strides=1, padding=((1, 3),), ties=ties)
        (actual,) = jax.vjp(pool, x)[1](np.ones(y.shape, dtype))
        assert actual[0, :, 0].astype(float).tolist() == x_bar
    nan = np.array(np.nan).astype(dtype)
    if np.isnan(nan):  # a float4 has none
        y = jaxconv.max_pool(np.where([[[0], [1], [0], [0]]], nan, x), 2, 1, 1)
        assert np.isnan(np.asarray(y, float))[0, :, 0].tolist() == [False, True, True, False, False]


def test_long_sums_are_added_up_in_float32():
    """A sum of ones in float8_e4m3fn ends at 16."""
    ones = jnp.ones((1, 1024, 1), jnp.float8_e4m3fn)
    bias, options = jnp.ones(1, ones.dtype), {"strides": 1, "padding": 16}
    split = partial(jaxconv.max_pool, window_shape=17, ties="split")

    @jax.jit
    def of_all(ones):
        few = ones[:, :40]
        y, argmax = jaxconv.max_pool_with_argmax(ones[:, :1], 17, **options)
        back = partial(jaxconv.max_unpool, argmax=argmax, window_shape=17, **options)
        return {
            "means": [
                jaxconv.global_avg_pool(ones),
                jaxconv.adaptive_avg_pool(ones, output_size=3),
                jaxconv.avg_pool(ones, 1000, 1),
                back(y, overlap="mean", output_size=(1,)),
            ],
            "bias": jax.vjp(lambda b: jaxconv.add_bias(few, b), bias)[1](few)[0],
            "shares": jax.vjp(split, ones[:, :17])[1](jnp.full((1, 1, 1), 18, ones.dtype))[0],
            "overlaps": back(y, overlap="sum", output_size=(1,)),
        }

    results = jax.device_get(of_all(ones))
    assert all((mean == 1).all() for mean in results["means"])
    assert results["bias"] == 40
    # 17 equals share an error of 17, and 17 windows a pixel: 18 is the nearest to 17.
    expected = rounded(np.full((1, 17, 1), 18 / 17), ones.dtype)
    np.testing.assert_array_equal(results["shares"], expected)
    assert results["overlaps"] == jnp.asarray(17.0).astype(ones.dtype)


@pytest.mark.parametrize(
    "name",
    [
        d if d in ("uint2", "int4") else pytest.param(d, marks=pytest.mark.exhaustive)
        for d in INTEGERS
        if hasattr(jnp, d)
    ],
)
def test_small_integers_equal_the_definition(name):
    """On a CPU, XLA ended the process; sums wrap around, as those of all integers do."""
    dtype, rng = jnp.dtype(name), np.random.default_rng(0)
    bounds = jnp.iinfo(dtype)
    wide = rng.integers(int(bounds.min), int(bounds.max) + 1, (2, 5, 4, 2))
    x, options = wide.astype(dtype), dict(list(LINEAR.items())[:1]) | MAXIMA
    options |= {"upscale": LINEAR["upscale"], "zeros": LINEAR["zeros"]}

    @jax.jit
    def of_all(x):
        results = {f: of(jaxconv, f, chosen)(x) for f, chosen in options.items()}
        y, argmax = jaxconv.max_pool_with_argmax(x, 2)
        back = jaxconv.max_unpool(y, argmax, 2, output_size=(5, 4))
        moved = jaxconv.pixel_unshuffle(jaxconv.pixel_shuffle(x, (1, 2)), (1, 2))
        return results, y, argmax, back, moved

    results, y, argmax, back, moved = of_all(x)
    for f, chosen in options.items():
        assert results[f].dtype == dtype
        expected = of(reference, f, chosen)(wide).astype(np.int64).astype(dtype)
        np.testing.assert_array_equal(np.asarray(results[f]), expected, err_msg=f)
    of_x, where = reference.max_pool_with_argmax(wide, 2)
    expected = of_x, where, reference.max_unpool(of_x, where, (5, 4)), wide
    for a, e in zip((y, argmax, back, moved), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a).astype(int), e.astype(int))


def test_what_has_no_sum_is_refused():
    """Scales have neither zero nor sign; truth values are no numbers."""
    for name, options in (LINEAR | MAXIMA).items():
        f = of(jaxconv, name, options)
        with pytest.raises(TypeError, match="x must have a dtype with a zero and a sign"):
            f(jnp.ones((1, 4, 4, 1), jnp.float8_e8m0fnu))
        with pytest.raises(TypeError, match="x must hold numbers, got dtype bool"):
            f(jnp.ones((1, 4, 4, 1), bool))
