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
