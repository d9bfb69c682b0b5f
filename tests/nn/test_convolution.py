"""`Conv`, `ConvBlock` and `ConvTranspose`: the functions with parameters, alone and tied.

Covers jaxconv/nn/_parameters.py.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import nn

# Options none of which has its default. A padding mode other than zeros excludes input dilation.
OPTIONS = {
    "kernel_dilation": (2, 1),
    "feature_group_count": 3,
    "flip_kernel": True,
    "precision": "highest",
    "preferred_element_type": jnp.float32,
    "impl": "textbook",
}
SPACING = {"strides": (1, 2), "padding": ((1, 0), (2, 1))}
CIRCULAR, DILATED = {"padding_mode": "circular"}, {"input_dilation": (1, 2), "output_padding": 1}
POOL = {"window_shape": 2, "activation": "tanh", "pool_strides": 1, "pool_padding": 1}

LAYERS = {
    nn.Conv: (jaxconv.conv, SPACING | OPTIONS | CIRCULAR),
    nn.ConvBlock: (jaxconv.conv_block, SPACING | OPTIONS | CIRCULAR | POOL),
    nn.ConvTranspose: (jaxconv.conv_transpose, SPACING | OPTIONS | DILATED),
}


@pytest.mark.parametrize("module", LAYERS)
def test_a_layer_is_its_function_with_parameters(module, normal):
    """The result and the gradients of the parameters, with every option."""
    function, options = LAYERS[module]
    layer, x = module(3, 6, (2, 3), **options, rngs=nnx.Rngs(0)), normal((2, 5, 4, 3), "float32")
    layer.bias[...] = jnp.arange(6.0)

    def by_function(kernel, bias):
        if module is nn.ConvBlock:
            return function(x, kernel, bias, **options)
        return function(x, kernel, **options) + bias

    definition, state = nnx.split(layer)
    y, pull_back = jax.vjp(jax.jit(by_function), layer.kernel[...], layer.bias[...])
    actual, actual_back = jax.vjp(jax.jit(lambda s: nnx.merge(definition, s)(x)), state)
    chex.assert_trees_all_close(actual, y, rtol=1e-6, atol=1e-6)
    (gradient,) = actual_back(y)
    gradients = gradient["kernel"][...], gradient["bias"][...]
    chex.assert_trees_all_close(gradients, pull_back(y), rtol=1e-5, atol=1e-4)


def test_output_shape_takes_the_place_of_output_padding(normal):
    layer = nn.ConvTranspose(3, 2, (2, 2), 3, output_padding=1, rngs=nnx.Rngs(0))
    x = normal((1, 2, 2, 3), jnp.float32)
    shapes = [jax.eval_shape(lambda x, s=s: layer(x, s), x).shape for s in (None, (7, 5))]
    assert shapes == [(1, 6, 6, 2), (1, 7, 5, 2)]


@pytest.mark.parametrize("layer", ["Conv", "ConvTranspose"])
def test_glorot_uniform(layer):
    """The fans are the taps times the channels of either side; no two axes are alike."""
    channels = (2, 9) if layer == "Conv" else (9, 2)
    kernel = np.asarray(getattr(nn, layer)(*channels, (7, 5), rngs=nnx.Rngs(0)).kernel[...])
    assert kernel.shape == (7, 5, 2, 9)
    limit = np.sqrt(6 / (35 * (2 + 9)))
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert abs(float(np.std(kernel)) - limit / np.sqrt(3)) < 0.1 * limit


@pytest.fixture
def pair():
    """A convolution, and the transposed one that shares its kernel."""
    options = {"strides": (2, 1), "padding": ((1, 0), (1, 1)), "flip_kernel": True}
    convolution = nn.Conv(3, 6, (4, 3), **options, rngs=nnx.Rngs(0))
    return convolution, nn.ConvTranspose.tied(convolution, use_bias=False), options


@pytest.mark.usefixtures("float64")
def test_tied_is_the_adjoint(pair, normal):
    convolution, transposed, _ = pair
    x = normal((2, 9, 6, 3))
    without_bias = convolution(x) - convolution.bias[...]
    y = normal(without_bias.shape)
    back = transposed(y, output_shape=(9, 6))
    np.testing.assert_allclose(np.vdot(back, x), np.vdot(y, without_bias), rtol=1e-12)


def test_tied_shares_one_parameter(pair, normal):
    """There is one kernel in the state. Its gradient is the sum over both uses."""
    convolution, transposed, options = pair
    assert transposed.kernel is convolution.kernel
    model = nnx.Sequential(convolution, transposed)
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * 3 * 3 * 6 + 6
    x = normal((2, 8, 6, 3), jnp.float32)

    def loss(first, second):
        y = jaxconv.conv(x, first, **options) + convolution.bias[...]
        return jnp.sum(jaxconv.conv_transpose(y, second, **options) ** 2)

    kernel = convolution.kernel[...]
    of_each = jax.jit(jax.grad(loss, (0, 1)))(kernel, kernel)
    gradient = nnx.jit(nnx.grad(lambda model: jnp.sum(model(x) ** 2)))(model)
    (kernel_bar,) = (g for g in jax.tree.leaves(gradient) if g.ndim == 4)
    chex.assert_trees_all_close(kernel_bar, sum(of_each), rtol=1e-5)
    convolution.kernel[...] = 2 * kernel
    assert transposed.kernel[...] is convolution.kernel[...]


def dtypes_of_gradients(layer, x):
    """The dtypes of the parameters' gradients; nothing is computed."""
    definition, state = nnx.split(layer)
    gradient = jax.grad(lambda state, x: nnx.merge(definition, state)(x).sum())
    return {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(gradient, state, x))}


@pytest.mark.parametrize("layer", [nn.Conv, nn.ConvBlock, nn.ConvTranspose])
def test_a_result_wider_than_the_parameters(layer):
    options = {"window_shape": 2} if layer is nn.ConvBlock else {}
    narrow = {"param_dtype": jnp.bfloat16, "preferred_element_type": jnp.float32}
    made = layer(3, 4, (3, 3), **narrow, **options, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((2, 7, 6, 3), jnp.bfloat16)
    assert jax.eval_shape(made, x).dtype == jnp.float32
    assert dtypes_of_gradients(made, x) == {jnp.dtype(jnp.bfloat16)}


def test_computes_in_half_precision_with_gradients_of_single():
    layer = nn.Conv(3, 6, (3, 3), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((2, 7, 6, 3), jnp.float32)
    assert jax.eval_shape(layer, x).dtype == jnp.bfloat16
    assert dtypes_of_gradients(layer, x) == {jnp.dtype(jnp.float32)}


@pytest.mark.usefixtures("no_type_checker")
def test_sizes_as_arrays():
    """NNX takes arrays for data and would trace them."""
    two, sides = np.array([2, 2]), np.array([[1, 0], [0, 1]])
    x, size = jnp.zeros((2, 7, 6, 3)), np.array([3, 2])
    options = {"kernel_dilation": np.array([1, 2]), "rngs": nnx.Rngs(0)}
    pool = {"window_shape": two, "pool_padding": sides, "pool_ceil_mode": True}
    layers = {
        (2, 3, 3, 4): nn.Conv(3, 4, size, two, sides, **options),
        (2, 2, 2, 4): nn.ConvBlock(3, 4, size, two, sides, **pool, **options),
        (2, 14, 12, 4): nn.ConvTranspose(3, 4, size, two, sides, **options),
    }
    for shape, layer in layers.items():
        assert len(jax.tree.leaves(nnx.state(layer))) == 2, "kernel and bias"
        assert jax.eval_shape(layer, x).shape == shape
    assert nn.Conv(3, 4, np.int64(3), rngs=nnx.Rngs(0)).kernel.shape == (3, 3, 4)


BAD = {
    "kernel": (lambda r: nn.Conv(3, 6, (0, 3), rngs=r), ValueError, "Conv: kernel_size"),
    "features": (lambda r: nn.Conv(3, 0, (3, 3), rngs=r), ValueError, "Conv: out_features"),
    "groups": (
        lambda r: nn.ConvTranspose(3, 6, (3, 3), feature_group_count=2, rngs=r),
        ValueError,
        "ConvTranspose: .* must divide both numbers of channels, got 2 groups for 6 and 3",
    ),
    "parameters": (
        lambda r: nn.Linear(3, 6, param_dtype=[1, 1], rngs=r),
        TypeError,
        "Linear: param_dtype",
    ),
    "an array": (
        lambda r: nn.Conv(3, 6, (3,), impl=np.ones(2), rngs=r)(jnp.ones((1, 4, 3))),
        ValueError,
        "conv: impl must be one of",
    ),
    "tied to what": (lambda r: nn.ConvTranspose.tied(nn.MaxPool(2)), TypeError, "got MaxPool"),
}


@pytest.mark.parametrize("mistake", BAD)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    make, error, message = BAD[mistake]
    with pytest.raises(error, match=message):
        make(nnx.Rngs(0))
