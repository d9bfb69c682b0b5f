"""Pooling and upscaling modules: each is its function, with the options it was made with."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify

import jaxconv
from jaxconv import nn

WINDOWS = {
    "strides": (1, 2),
    "padding": ((1, 0), (1, 1)),
    "window_dilation": (2, 1),
    "ceil_mode": True,
}

# A module's name, the name of its function, and arguments none of which is the default.
LAYERS = [
    ("MaxPool", "max_pool", ((2, 3),), WINDOWS | {"ties": "split"}),
    ("MinPool", "min_pool", ((2, 3),), WINDOWS | {"ties": "all"}),
    ("SumPool", "sum_pool", ((2, 3),), WINDOWS),
    ("AvgPool", "avg_pool", ((2, 3),), WINDOWS | {"count_include_pad": False}),
    ("LpPool", "lp_pool", (3, (2, 3)), WINDOWS),
    ("GlobalAvgPool", "global_avg_pool", (), {}),
    ("GlobalMaxPool", "global_max_pool", (), {"ties": "split"}),
    ("AdaptiveAvgPool", "adaptive_avg_pool", ((3, 4),), {}),
    ("AdaptiveMaxPool", "adaptive_max_pool", ((3, 4),), {}),
    ("Upscale", "upscale", ((1, 3), "bilinear"), {"align_corners": True}),
    ("PixelShuffle", "pixel_shuffle", ((2, 1),), {}),
    ("PixelUnshuffle", "pixel_unshuffle", ((2, 3),), {}),
]


@pytest.mark.parametrize(("module", "function", "args", "options"), LAYERS, ids=lambda a: str(a))
def test_module_is_its_function(module, function, args, options, normal):
    x = jnp.round(normal((2, 4, 6, 4), jnp.float32))  # whole numbers: ties
    layer, f = getattr(nn, module)(*args, **options), getattr(jaxconv, function)
    chex.assert_trees_all_equal(layer(x), f(x, *args, **options))
    actual = nnx.grad(lambda x: jnp.sum(layer(x) ** 3))(x)
    expected = nnx.grad(lambda x: jnp.sum(f(x, *args, **options) ** 3))(x)
    chex.assert_trees_all_equal(actual, expected)


def test_unpooling_undoes_pooling(normal):
    """An autoencoder's pair of layers, with every option."""
    options = {"strides": 2, "padding": ((1, 0), (1, 1)), "window_dilation": (2, 1)}
    options["ceil_mode"] = True
    x = normal((2, 8, 7, 3), jnp.float32)
    y, argmax = jaxconv.max_pool_with_argmax(x, (2, 3), **options)
    options |= {"output_size": (8, 7), "overlap": "mean"}
    layer = nn.MaxUnpool((2, 3), **options, check_argmax=True)
    back = layer(y, argmax)
    expected = jaxconv.max_unpool(y, argmax, (2, 3), **options)
    with pytest.raises(checkify.JaxRuntimeError, match="argmax must number pixels"):
        layer(y, argmax + 1)
    chex.assert_trees_all_equal(back, expected)
    chex.assert_trees_all_close(back, np.where(back == 0, 0, x), rtol=1e-6)
