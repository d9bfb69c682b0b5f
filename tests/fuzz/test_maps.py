"""Upscaling, shuffles, rotation, bias, activations and losses against their formulas.

Covers jaxconv/ops/_upscaling.py, jaxconv/ops/_rotation.py, jaxconv/ops/_bias.py,
jaxconv/ops/_activations.py, jaxconv/ops/_losses.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import jaxconv
from jaxconv import reference

from .checks import check_linear, check_shape
from .running import fuzzed
from .strategies import (
    ANY,
    FLOATS,
    SMALL_FLOATS,
    Values,
    assert_close,
    dtypes,
    exact,
    info,
    is_complex,
    is_integer,
    maps,
    one_or_each,
    values,
)

METHODS = ("nearest", "bilinear", "zeros", "aligned")


@fuzzed(4, maps(most=60), ANY, values(), st.sampled_from(METHODS), st.data())
def test_upscale(shape, dtype, content, method, data):
    factor = data.draw(one_or_each(st.integers(1, 3), len(shape) - 2))
    options = {"factor": factor, "method": method}
    if method == "aligned":
        options |= {"method": "bilinear", "align_corners": True}
    if options["method"] == "bilinear" and is_integer(dtype):
        return
    f, definition = (partial(m.upscale, **options) for m in (jaxconv, reference))
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        y = f(x)
        if 0 in shape:
            check_shape(f, x, y)
            return
        check_linear("upscale", f, definition, x, y, 64, dtype)


@fuzzed(3, maps(most=100), ANY, values(), st.data())
def test_shuffles(shape, dtype, content, data):
    factor = data.draw(one_or_each(st.integers(1, 3), len(shape) - 2))
    blocks = reference._convolution.per_axis(factor, len(shape) - 2)
    shape = (*shape[:-1], shape[-1] * int(np.prod(blocks)))
    f, g = (partial(h, factor=factor) for h in (jaxconv.pixel_shuffle, jaxconv.pixel_unshuffle))
    with jax.enable_x64(True):
        x = content.array(shape, dtype)
        y = f(x)
        np.testing.assert_array_equal(exact(g(y)), exact(x))
        check_shape(f, x, y)
        check_shape(g, y, x)
        if 0 not in shape and not is_complex(dtype):
            np.testing.assert_array_equal(exact(y), reference.pixel_shuffle(exact(x), factor))
        if not is_integer(dtype):
            (x_bar,) = jax.vjp(f, jnp.asarray(x))[1](y)
            np.testing.assert_array_equal(exact(x_bar), exact(x))


@fuzzed(2, st.lists(st.integers(0, 4), min_size=2, max_size=5), ANY, values())
def test_rotation(shape, dtype, content):
    with jax.enable_x64(True):
        kernel = content.array(shape, dtype)
        rotated = jaxconv.rotate_kernel(kernel)
        np.testing.assert_array_equal(exact(rotated), reference.rotate_kernel(exact(kernel)))
        np.testing.assert_array_equal(exact(jaxconv.rotate_kernel(rotated)), exact(kernel))


@fuzzed(3, st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=5), ANY, values())
def test_bias(shape, dtype, content):
    with jax.enable_x64(True):
        x, bias = content.array(shape, dtype), content.array(shape[-1:], dtype, which=1)
        y = jaxconv.add_bias(x, bias)
        scale = np.abs(exact(x)) + np.abs(exact(bias))
        assert_close(y, exact(x) + exact(bias), scale, 2, dtype, wide=dtype)
        check_shape(partial(jaxconv.add_bias, bias=bias), x, y)
        if is_integer(dtype):
            return
        y_bar = Values(1).array(shape, dtype)
        _, bias_bar = jax.vjp(jaxconv.add_bias, x, bias)[1](jnp.asarray(y_bar))
        axes = tuple(range(len(shape) - 1))
        sums = exact(y_bar).sum(axes), np.abs(exact(y_bar)).sum(axes)
        assert_close(bias_bar, *sums, y_bar.size, dtype)


SHAPES = st.lists(st.sampled_from([0, 1, 2, 5]), min_size=0, max_size=4)


@fuzzed(4, SHAPES, dtypes(FLOATS, FLOATS, SMALL_FLOATS), values(), st.booleans(), st.data())
def test_activations(shape, dtype, content, specials, data):
    with jax.enable_x64(True):
        x = Values(content.seed, content.content, specials and dtype in FLOATS).array(shape, dtype)
        y_bar = Values(1).array(shape, dtype)
        keep = np.random.default_rng(0).random(size=shape) < 0.5
        rate = data.draw(st.sampled_from([0.0, 0.5, 0.9, np.float32(0.25)]))
        wide = exact(x)
        with np.errstate(all="ignore"):
            tanh = np.tanh(wide)
            cases = {
                "relu": (jaxconv.relu, np.maximum(wide, 0), ~(wide <= 0)),
                "tanh": (jaxconv.tanh, tanh, 1 - tanh**2),
                "dropout": (
                    partial(jaxconv.dropout, keep=keep, rate=rate),
                    np.where(keep, wide / (1 - float(rate)), 0),
                    keep / (1 - float(rate)),
                ),
            }
        for name, (f, expected, slope) in cases.items():
            y, pull_back = jax.vjp(f, jnp.asarray(x))
            check_shape(f, x, y)
            seen = np.abs(expected) <= float(info(dtype).max) / 2  # not a NaN
            scale = np.where(seen, 4 * np.abs(expected) + (name == "tanh"), 0)
            assert_close(
                np.where(seen, y, np.zeros((), dtype)), np.where(seen, expected, 0), scale, 4,
                dtype, wide=dtype, what=name,
            )  # fmt: skip
            infinite = np.isinf(expected)
            np.testing.assert_array_equal(np.isnan(expected), np.isnan(exact(y)))
            np.testing.assert_array_equal(exact(y)[infinite], expected[infinite])
            (x_bar,) = pull_back(jnp.asarray(y_bar))
            is_number = ~np.isnan(wide)
            want = np.where(is_number, exact(y_bar) * slope, 0)
            x_bar = np.where(is_number, x_bar, np.zeros((), dtype))
            scale = 8 * np.abs(exact(y_bar)) * (1 + np.where(np.isfinite(slope), slope, 0))
            assert_close(x_bar, want, scale, 8, dtype, wide=dtype, what=name)


@fuzzed(3, st.integers(0, 4), st.integers(0, 9), dtypes(FLOATS), values(), st.data())
def test_losses(n, classes, dtype, content, data):
    labels = data.draw(st.lists(st.integers(-1, classes), min_size=n, max_size=n))
    kind = data.draw(st.sampled_from(["int8", "uint8", "int32", "int64"]))
    with jax.enable_x64(True):
        z = content.array((n, classes), dtype)
        labels = np.array(labels, int).astype(kind).reshape(n)
        inside = (labels.astype(int) >= 0) & (labels.astype(int) < classes)
        p = jaxconv.softmax(z)
        wide = exact(z) - exact(z).max(-1, keepdims=True, initial=-np.inf)
        probabilities = np.exp(wide) / np.exp(wide).sum(-1, keepdims=True)
        # exp turns the rounding of z into one that is as many times larger as z is.
        size = 1 + np.abs(exact(z)).max(initial=0)
        if size > 1e30:
            return
        assert_close(p, probabilities, 4 * size, classes, dtype, wide=dtype, what="softmax")
        loss, pull_back = jax.vjp(
            lambda z: jaxconv.softmax_cross_entropy(z, labels), jnp.asarray(z)
        )
        np.testing.assert_array_equal(np.isnan(exact(loss)), ~inside)
        chosen = np.where(inside, labels.astype(int), 0)
        if not classes:
            return
        expected = np.log(np.exp(wide).sum(-1)) - wide[np.arange(n), chosen]
        assert_close(
            np.where(inside, loss, np.zeros((), dtype)), np.where(inside, expected, 0),
            8 * size, classes, dtype, wide=dtype, what="loss",
        )  # fmt: skip
        (z_bar,) = pull_back(jnp.ones(n, dtype))
        want = probabilities - np.eye(classes)[chosen]
        assert_close(
            np.where(inside[:, None], z_bar, np.zeros((), dtype)),
            np.where(inside[:, None], want, 0), 4 * size, classes, dtype, wide=dtype, what="z_bar",
        )  # fmt: skip
        target = content.array(z.shape, dtype, which=1)
        error = jaxconv.squared_error(z, target)
        square = (exact(z) - exact(target)) ** 2
        assert_close(
            error, square, 4 * (np.abs(exact(z)) + np.abs(exact(target))) ** 2, 4, dtype, wide=dtype
        )
