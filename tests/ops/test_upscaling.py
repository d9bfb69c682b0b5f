"""Upscaling and pixel shuffles, each as the transpose of what it is the transpose of."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import conv_transpose, pixel_shuffle, pixel_unshuffle, reference, sum_pool, upscale
from tests.oracles import assert_within_rounding, together, transpose_of

pytestmark = pytest.mark.usefixtures("float64")

METHODS = {
    "nearest": {},
    "zeros": {"method": "zeros"},
    "bilinear": {"method": "bilinear"},
    "aligned": {"method": "bilinear", "align_corners": True},
}


SHAPES = [((1, 1, 1, 1), 2), ((2, 3, 5, 4), (3, 1)), ((2, 4, 3), 5), ((1, 2, 3, 4, 2), (2, 1, 3))]


def test_upscale(normal):
    """The definition and its transpose; and the tangent, since the map is linear."""
    rows = [(*case, method) for case in SHAPES for method in METHODS]
    calls = []
    for shape, factor, method in rows:
        x = np.asarray(normal(shape))
        y_bar = np.asarray(normal(reference.upscale(x, factor, **METHODS[method]).shape))

        def modes(x, y_bar, factor=factor, method=method):
            f = partial(upscale, factor=factor, **METHODS[method])
            y, y_dot = jax.jvp(f, (x,), (2 * x,))
            return y, y_dot, jax.vjp(f, x)[1](y_bar)[0]

        calls.append((modes, x, y_bar))
    for row, (_, x, y_bar), (y, y_dot, x_bar) in zip(rows, calls, together(calls), strict=True):
        shape, factor, method = row
        definition = partial(reference.upscale, factor=factor, **METHODS[method])
        copies = "bilinear" not in METHODS[method].values()
        # Two terms an axis, and weights that are rounded on either side.
        magnitude, terms = 0 if copies else np.abs(x).max(), 4 * x.ndim * 5
        assert_within_rounding(y, definition(x), magnitude, terms, f"{row}: y")
        assert_within_rounding(y_dot, 2 * y, np.abs(x).max(), 8, f"{row}: y_dot")
        expected = transpose_of(definition, shape, y_bar)
        magnitude = transpose_of(definition, shape, np.abs(y_bar))
        terms = y.size + (0 if copies else terms)
        assert_within_rounding(x_bar, expected, magnitude, terms, f"{row}: x_bar")


def test_transposes(normal):
    """Nearest: sum pool. Zeros: every f-th pixel. Bilinear: a sum pool weighted by a triangle."""
    y_bar = normal((2, 6, 8, 3))

    def pulled(**options):
        f = partial(upscale, factor=2, **options)
        return jax.vjp(f, jnp.zeros((2, 3, 4, 3)))[1](y_bar)[0]

    chex.assert_trees_all_equal(pulled(), sum_pool(y_bar, 2))
    chex.assert_trees_all_equal(pulled(method="zeros"), y_bar[:, ::2, ::2])
    triangle = np.array([1, 3, 3, 1]) / 4
    kernel = jnp.asarray(np.outer(triangle, triangle)[..., None, None] * np.ones(3))
    options = {"strides": 2, "padding": 1, "feature_group_count": 3}
    weighted = jaxconv.conv(y_bar, kernel, **options)
    # Inside; at the border the weight that would fall outside stays with the outermost pixel.
    inner = pulled(method="bilinear")[:, 1:-1, 1:-1]
    assert_within_rounding(inner, weighted[:, 1:-1, 1:-1], np.abs(y_bar).max(), 16)
    x = normal((2, 3, 4, 3))
    whole = conv_transpose(x, kernel, **options)
    actual = upscale(x, 2, "bilinear")[:, 1:-1, 1:-1]
    assert_within_rounding(actual, whole[:, 1:-1, 1:-1], np.abs(x).max(), 16)


@pytest.mark.parametrize("factor", [2, 3])
def test_bilinear_is_that_of_jax_image(factor, normal):
    x = normal((2, 4, 5, 3))
    expected = jax.image.resize(x, (2, 4 * factor, 5 * factor, 3), "linear")
    assert_within_rounding(upscale(x, factor, "bilinear"), expected, np.abs(x).max(), 64)


def test_a_straight_line_stays_straight():
    """With aligned corners everywhere, and between areas inside; the corners stay in place."""
    x = jnp.arange(4.0).reshape(1, 4, 1)
    aligned = upscale(x, 3, "bilinear", align_corners=True)[0, :, 0]
    assert_within_rounding(aligned, np.linspace(0, 3, 12), 3, 4)
    areas = upscale(x, 2, "bilinear")[0, :, 0]
    assert areas.tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


@pytest.mark.parametrize("method", METHODS)
def test_nan_and_infinity_stay_where_they_are(method):
    x = jnp.zeros((1, 6, 1)).at[0, 0, 0].set(jnp.nan).at[0, 5, 0].set(jnp.inf)
    y = upscale(x, 2, **METHODS[method])[0, :, 0]
    assert np.isnan(y[0])
    assert np.isfinite(y[3:9]).all()
    assert np.isinf(y).any()


@pytest.mark.parametrize("factor", [2, (3, 1)], ids=str)
def test_pixel_shuffle(factor, normal):
    blocks = np.prod((factor,) * 2 if isinstance(factor, int) else factor)
    x = normal((2, 3, 4, 2 * blocks))
    y, pull_back = jax.vjp(partial(pixel_shuffle, factor=factor), x)
    chex.assert_trees_all_equal(np.asarray(y), reference.pixel_shuffle(np.asarray(x), factor))
    y_bar = normal(y.shape)
    expected = reference.pixel_unshuffle(np.asarray(y_bar), factor)
    chex.assert_trees_all_equal(np.asarray(pixel_unshuffle(y_bar, factor)), expected)
    chex.assert_trees_all_equal(np.asarray(pull_back(y_bar)[0]), expected)
    chex.assert_trees_all_equal(pixel_unshuffle(y, factor), x)
    assert pixel_shuffle(normal((2, 3, 8)), 4).shape == (2, 12, 2)
    assert pixel_unshuffle(normal((2, 4, 2, 6, 3)), 2).shape == (2, 2, 1, 3, 24)


def test_modes(normal):
    """Linear maps: what any transform gives follows from the map itself."""
    x, v = (np.asarray(normal((2, 2, 4, 4))) for _ in range(2))
    maps = {name: partial(upscale, factor=2, **options) for name, options in METHODS.items()}
    maps |= {"shuffle": partial(pixel_shuffle, factor=2)}
    maps |= {"unshuffle": partial(pixel_unshuffle, factor=2)}

    def modes(x, f):
        y, pull_back = jax.vjp(f, x)

        def loss(x):
            return jnp.sum(f(x) ** 3)

        gradient, hessian_v = jax.jvp(jax.grad(loss), (x,), (v,))
        scanned = jax.lax.scan(lambda s, a: (s, jax.grad(loss)(a * x)), 0.0, jnp.ones(1))[1][0]
        transposed = jax.linear_transpose(f, x)(y)[0]
        return {
            "gradient": (gradient, pull_back(3 * y**2)[0]),
            "second order": (hessian_v, pull_back(6 * y * f(v))[0]),
            "vmap": (jax.vmap(f)(jnp.stack([x, v])), jnp.stack([y, f(v)])),
            "scan": (scanned, gradient),
            "transpose": (transposed, pull_back(y)[0]),
        }

    results = together([(partial(modes, f=f), x) for f in maps.values()])
    scale = 9 * 16 * np.abs(x).max() ** 3
    for name, of_one in zip(maps, results, strict=True):
        for mode, pair in of_one.items():
            assert_within_rounding(*pair, scale, 64, f"{mode} of {name}")


def test_dtypes_and_empty_maps():
    x = jnp.array([[[1], [3]]], jnp.int8)
    assert upscale(x, 2)[0, :, 0].tolist() == [1, 1, 3, 3]
    assert upscale(x, 2, "zeros")[0, :, 0].tolist() == [1, 0, 3, 0]
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64):
        assert upscale(x.astype(dtype), 2, "bilinear").dtype == dtype
    for method in METHODS.values():
        assert upscale(jnp.zeros((0, 2, 3)), 2, **method).shape == (0, 4, 3)
        assert upscale(jnp.zeros((2, 0, 3)), 2, **method).shape == (2, 0, 3)
    assert pixel_shuffle(jnp.zeros((0, 2, 4)), 2).shape == (0, 4, 2)


BAD_CALLS = {
    "factor": (lambda x: upscale(x, 0), ValueError, "upscale: factor must be at least 1"),
    "method": (lambda x: upscale(x, 2, "cubic"), ValueError, "upscale: method must be one of"),
    "corners": (lambda x: upscale(x, 2, align_corners=True), ValueError, "align_corners goes with"),
    "corners' type": (
        lambda x: upscale(x, 2, "bilinear", align_corners=1),
        TypeError,
        "align_corners must be a bool",
    ),
    "integers": (lambda x: upscale(x.astype(int), 2, "bilinear"), TypeError, "floating point"),
    "rank": (lambda x: upscale(x[0, 0], 2), ValueError, "upscale: x must be"),
    "channels": (lambda x: pixel_shuffle(x, 3), ValueError, "needs a multiple of 9 channels"),
    "shuffle's factor": (lambda x: pixel_shuffle(x, 0), ValueError, "pixel_shuffle: factor"),
    "size": (lambda x: pixel_unshuffle(x, 5), ValueError, "factor 5 must divide"),
    "shuffle's rank": (lambda x: pixel_unshuffle(x[0, 0], 2), ValueError, "pixel_unshuffle: x"),
    "text": (lambda x: pixel_shuffle(x, "2"), TypeError, "pixel_shuffle: factor"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 6, 7, 4)))
