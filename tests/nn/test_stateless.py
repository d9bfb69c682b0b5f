"""The modules without parameters: each is its function, with the options it was made with.

Covers jaxconv/nn/_sized_pooling.py, jaxconv/nn/_upscaling.py.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


@pytest.mark.parametrize(("module", "function", "args", "options"), LAYERS, ids=str)
def test_a_module_is_its_function(module, function, args, options, normal):
    x = np.round(normal((2, 4, 6, 4), jnp.float32))  # whole numbers: ties
    layer, f = getattr(nn, module)(*args, **options), getattr(jaxconv, function)
    assert layer._function is f
    chex.assert_trees_all_equal(layer(x), f(x, *args, **options))


@pytest.mark.usefixtures("no_type_checker")
def test_sizes_as_arrays():
    """NNX takes arrays for data and would trace them."""
    two, sides = np.array([2, 2]), np.array([[1, 0], [0, 1]])
    for layer, shape in (
        (nn.MaxPool(two, two, sides), (2, 4, 3, 3)),
        (nn.AvgPool(two, two, sides, window_dilation=np.array([1, 1])), (2, 4, 3, 3)),
        (nn.AdaptiveMaxPool(two), (2, 2, 2, 3)),
        (nn.Upscale(two), (2, 14, 12, 3)),
    ):
        assert not jax.tree.leaves(nnx.state(layer))
        assert jax.eval_shape(layer, jnp.zeros((2, 7, 6, 3))).shape == shape
