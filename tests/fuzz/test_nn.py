"""Modules against the functions that they call, and against Flax's.

Covers jaxconv/nn/_convolution.py, jaxconv/nn/_dense.py, jaxconv/nn/_pooling.py,
jaxconv/nn/_stateless.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import assume
from hypothesis import strategies as st

import jaxconv
from jaxconv import nn

from .running import fuzzed
from .strategies import convolutions, dtypes, exact, maps, values, windows

COMPUTED_IN = dtypes([None, "float32", "bfloat16", "float64"])


@fuzzed(3, convolutions(), COMPUTED_IN, st.booleans(), values(), st.booleans())
def test_convolutions(case, dtype, use_bias, content, transposed):
    assume(case.is_valid and len(case.x_shape) > 2 and 0 not in case.kernel_shape)
    *window, _, o = case.kernel_shape
    c = case.x_shape[-1]
    channels, kind, shape = (c, o), nn.Conv, case.x_shape
    if transposed:
        channels, kind, shape = (o, c), nn.ConvTranspose, case.y_shape
    with jax.enable_x64(dtype == "float64"):
        options = dict(case.options)
        model = kind(
            *channels, tuple(window), use_bias=use_bias, dtype=dtype, rngs=nnx.Rngs(0), **options
        )
        x = jnp.asarray(content.array(shape, "float32"))
        f = jaxconv.conv_transpose if transposed else jaxconv.conv
        kernel, of_x = model.kernel[...], x.astype(dtype or "float32")

        def run(call):
            try:
                return call()
            except ValueError as error:
                return str(error)

        with_dtype = (
            {} if kernel.dtype == of_x.dtype or dtype == "float64" else {"kernel_dtype": dtype}
        )
        k = kernel.astype("float64") if dtype == "float64" else kernel
        expected = run(lambda: f(of_x, k, **options, **with_dtype))
        actual = run(lambda: model(x))
        if isinstance(expected, str) or isinstance(actual, str):
            assert isinstance(expected, str) == isinstance(actual, str), (expected, actual)
            return
        if use_bias:
            expected = jaxconv.add_bias(expected, model.bias[...].astype(expected.dtype))
        np.testing.assert_array_equal(exact(actual), exact(expected))
        assert actual.dtype == expected.dtype
        gradients = nnx.grad(lambda model: (model(x).astype("float32") ** 2).sum())(model)
        for gradient, of in zip(
            jax.tree.leaves(nnx.state(gradients)), jax.tree.leaves(nnx.state(model)), strict=True
        ):
            assert (gradient.shape, gradient.dtype) == (of.shape, of.dtype)


POOLS = {
    "MaxPool": "max_pool",
    "MinPool": "min_pool",
    "SumPool": "sum_pool",
    "AvgPool": "avg_pool",
}


@fuzzed(2, maps(), st.sampled_from([*POOLS]), values(), st.data())
def test_pools(shape, name, content, data):
    options = data.draw(windows(shape))
    x = content.array(shape, "float32")

    def run(call):
        try:
            return np.asarray(call())
        except ValueError as error:
            return str(error)

    expected = run(lambda: getattr(jaxconv, POOLS[name])(x, **options))
    module = getattr(nn, name)(**options)
    np.testing.assert_array_equal(run(lambda: module(x)), expected)
    np.testing.assert_array_equal(run(lambda: nnx.jit(lambda m, x: m(x))(module, x)), expected)


# Modules that are functions with options, and how their options are drawn.
STATELESS = {
    "LpPool": ("lp_pool", lambda data, shape: {"p": 2, **data.draw(windows(shape))}),
    "AdaptiveAvgPool": ("adaptive_avg_pool", lambda data, shape: drawn_size(data)),
    "AdaptiveMaxPool": ("adaptive_max_pool", lambda data, shape: drawn_size(data)),
    "GlobalAvgPool": ("global_avg_pool", lambda data, shape: {}),
    "GlobalMaxPool": ("global_max_pool", lambda data, shape: drawn_ties(data)),
    "Upscale": ("upscale", lambda data, shape: {**drawn_factor(data), **drawn_method(data)}),
    "PixelShuffle": ("pixel_shuffle", lambda data, shape: drawn_factor(data)),
    "PixelUnshuffle": ("pixel_unshuffle", lambda data, shape: drawn_factor(data)),
}


def drawn_size(data):
    return {"output_size": data.draw(st.integers(1, 5))}


def drawn_factor(data):
    return {"factor": data.draw(st.integers(1, 3))}


def drawn_ties(data):
    return {"ties": data.draw(st.sampled_from(["first", "split", "all"]))}


def drawn_method(data):
    return {"method": data.draw(st.sampled_from(["nearest", "bilinear", "zeros"]))}


def outcome(call):
    """The result of a call, or its error without the name of what was called."""
    try:
        return np.asarray(call())
    except ValueError as error:
        return str(error).partition(": ")[2]


@fuzzed(3, maps(most=60), st.sampled_from([*STATELESS]), values(), st.data())
def test_modules_are_their_functions(shape, name, content, data):
    function, draw_options = STATELESS[name]
    options, x = draw_options(data, shape), content.array(shape, "float32")
    f, module = getattr(jaxconv, function), getattr(nn, name)(**options)
    expected = outcome(lambda: f(x, **options))
    np.testing.assert_array_equal(outcome(lambda: module(x)), expected)
    if isinstance(expected, str):
        return
    gradients = (
        jax.vjp(g, jnp.asarray(x))[1](expected)[0] for g in (module, lambda x: f(x, **options))
    )
    np.testing.assert_array_equal(*gradients)


@fuzzed(2, st.integers(1, 9), st.integers(1, 9), COMPUTED_IN, st.booleans(), values())
def test_linear(c, o, dtype, use_bias, content):
    with jax.enable_x64(dtype == "float64"):
        model = nn.Linear(c, o, use_bias=use_bias, dtype=dtype, rngs=nnx.Rngs(0))
        x = jnp.asarray(content.array((3, c), "float32"))
        of_flax = nnx.Linear(c, o, use_bias=use_bias, dtype=dtype, rngs=nnx.Rngs(0))
        of_flax.kernel[...] = model.kernel[...]
        actual, expected = model(x), of_flax(x)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        scale = np.abs(exact(x)) @ np.abs(exact(model.kernel[...]))
        eps = float(jnp.finfo(actual.dtype).eps)
        assert (np.abs(exact(actual) - exact(expected)) <= 8 * (c + 2) * eps * scale + 1e-30).all()


@fuzzed(2, convolutions(), values(), st.integers(1, 3), st.sampled_from(["relu", "tanh", None]))
def test_blocks_and_what_is_made_of_modules(case, content, window, activation):
    """ConvBlock, Inverse, MaxUnpool, Concat and Flatten, of a convolution of any geometry."""
    assume(case.is_valid and len(case.x_shape) > 2)
    assume(0 not in (*case.x_shape, *case.kernel_shape, *case.y_shape))
    *size, _, o = case.kernel_shape
    x = jnp.asarray(content.array(case.x_shape, "float32"))
    given = {"rngs": nnx.Rngs(0), **case.options}
    block = nn.ConvBlock(
        x.shape[-1], o, tuple(size), activation=activation, window_shape=window, **given
    )
    f = lambda x: jaxconv.conv_block(  # noqa: E731
        x,
        block.kernel[...],
        block.bias[...],
        window_shape=window,
        activation=activation,
        **case.options,
    )
    expected = outcome(lambda: f(x))
    np.testing.assert_array_equal(outcome(lambda: block(x)), expected)
    conv = nn.Conv(x.shape[-1], o, tuple(size), **given)
    y = conv(x)
    back = nn.Inverse(conv)(y, x)
    kernel, options = conv.kernel[...], case.options
    of_y = jaxconv.conv_input_vjp(y, kernel, x.shape, **options)
    np.testing.assert_array_equal(back, of_y)
    both = nn.Concat(conv, lambda x: 2 * conv(x))(x)
    np.testing.assert_array_equal(both, jnp.concatenate([y, 2 * y], -1))
    np.testing.assert_array_equal(nn.Flatten()(y), np.asarray(y).reshape(len(y), -1))
    if min(y.shape[1:-1]) < window:
        return
    values, argmax = jaxconv.max_pool_with_argmax(y, window)
    restored = nn.MaxUnpool(window, output_size=y.shape[1:-1])(values, argmax)
    expected = jaxconv.max_unpool(values, argmax, window, output_size=y.shape[1:-1])
    np.testing.assert_array_equal(restored, expected)
