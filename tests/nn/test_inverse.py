"""`Inverse`: the vector-Jacobian product of a layer, as a layer that shares its parameters."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import conv_transpose, nn


@pytest.fixture
def convolution():
    return nn.Conv(3, 4, (3, 2), 2, "SAME", rngs=nnx.Rngs(0))


def test_of_a_convolution_is_the_transposed_one(convolution, normal):
    x, y = normal((2, 7, 6, 3), "float32"), normal((2, 4, 3, 4), "float32")
    expected = conv_transpose(y, convolution.kernel[...], 2, "SAME", output_shape=(7, 6))
    chex.assert_trees_all_equal(nn.Inverse(convolution)(y, x), expected)


def test_of_a_pool_puts_values_back(normal):
    x = normal((2, 6, 6, 3), "float32")
    pool = nn.MaxPool(2)
    back = nn.Inverse(pool)(pool(x), x)
    np.testing.assert_array_equal(back, np.where(np.isin(x, pool(x)), x, 0))


def test_of_a_dense_layer_is_the_transposed_matrix(normal):
    layer = nn.Linear(3, 5, rngs=nnx.Rngs(0))
    x, y = normal((2, 3), "float32"), normal((2, 5), "float32")
    chex.assert_trees_all_close(
        nn.Inverse(layer)(y, x), y @ layer.kernel[...].T, rtol=1e-5, atol=1e-6
    )


def test_of_upscaling_is_the_sum_of_each_block(normal):
    x, y = normal((1, 2, 2, 1), "float32"), normal((1, 4, 4, 1), "float32")
    expected = y.reshape(1, 2, 2, 2, 2, 1).sum((2, 4))
    chex.assert_trees_all_close(nn.Inverse(nn.Upscale(2))(y, x), expected, rtol=1e-6)


def test_a_tied_autoencoder_trains_one_kernel(convolution, normal):
    """Its gradient is the sum of what encoder and decoder contribute."""
    x = normal((2, 7, 6, 3), "float32")
    decoder = nn.Inverse(convolution)
    model = nnx.List([convolution, decoder])
    assert len(jax.tree.leaves(nnx.state(model, nnx.Param))) == 2  # kernel and bias, once

    def loss(model):
        encoder, decoder = model
        return jnp.mean((decoder(encoder(x), x) - x) ** 2)

    def by_hand(kernels):
        first, second = kernels
        y = jax.lax.conv_general_dilated(
            x, first, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        back = conv_transpose(y, second, 2, "SAME", output_shape=(7, 6))
        return jnp.mean((back - x) ** 2)

    kernel = convolution.kernel[...]
    together = nnx.grad(loss)(model)[0]["kernel"][...]
    chex.assert_trees_all_close(
        together, sum(jax.grad(by_hand)((kernel, kernel))), rtol=1e-4, atol=1e-6
    )


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(convolution, normal):
    with pytest.raises(TypeError, match="Inverse: layer must be callable, got int"):
        nn.Inverse(3)
    x = normal((2, 7, 6, 3), "float32")
    with pytest.raises(ValueError, match="Inverse: y must be like the layer's output"):
        nn.Inverse(convolution)(x, x)
