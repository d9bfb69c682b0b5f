"""The modules: shapes, parameters, tied kernels, and the gradients that reach them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import nn

LAYERS = {
    "Conv": (lambda rngs: nn.Conv(3, 6, (3, 2), 2, "SAME", rngs=rngs), (2, 4, 3, 6)),
    "Conv grouped": (
        lambda rngs: nn.Conv(3, 6, (3, 3), feature_group_count=3, rngs=rngs),
        (2, 5, 4, 6),
    ),
    "ConvTranspose": (
        lambda rngs: nn.ConvTranspose(3, 5, (4, 4), 2, "SAME", rngs=rngs),
        (2, 14, 12, 5),
    ),
    "MaxPool": (lambda rngs: nn.MaxPool(2), (2, 3, 3, 3)),
    "AvgPool": (lambda rngs: nn.AvgPool(3, 1, "SAME"), (2, 7, 6, 3)),
    "Upscale": (lambda rngs: nn.Upscale((2, 3)), (2, 14, 18, 3)),
    "Flatten": (lambda rngs: nn.Flatten(), (2, 126)),
    "Linear": (lambda rngs: nn.Linear(3, 4, rngs=rngs), (2, 7, 6, 4)),
    "Dropout": (lambda rngs: nn.Dropout(0.5, rngs=rngs), (2, 7, 6, 3)),
    "Concat": (lambda rngs: nn.Concat(nn.MaxPool(2), nn.AvgPool(2)), (2, 3, 3, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_and_gradients(name, normal):
    make, shape = LAYERS[name]
    layer, x = make(nnx.Rngs(0)), normal((2, 7, 6, 3), jnp.float32)
    assert layer(x).shape == shape
    gradient = nnx.grad(lambda layer: jnp.sum(layer(x) ** 2))(layer)
    parameters = jax.tree.leaves(nnx.state(layer, nnx.Param))
    for g, parameter in zip(jax.tree.leaves(gradient), parameters, strict=True):
        chex.assert_equal_shape([g, parameter])
        assert np.isfinite(g).all()
        assert g.any()


def test_conv_is_the_function_with_a_bias(normal):
    layer = nn.Conv(3, 6, (3, 2), (2, 1), "SAME", flip_kernel=True, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(6.0)
    x = normal((2, 7, 6, 3), jnp.float32)
    expected = jaxconv.conv(x, layer.kernel[...], (2, 1), "SAME", flip_kernel=True) + jnp.arange(
        6.0
    )
    chex.assert_trees_all_equal(layer(x), expected)


@pytest.mark.parametrize(("layer", "fans"), [("Conv", (27, 90)), ("ConvTranspose", (90, 27))])
def test_glorot_uniform(layer, fans):
    rngs = nnx.Rngs(0)
    kernel = (
        nn.Conv(3, 10, (3, 3), rngs=rngs)
        if layer == "Conv"
        else nn.ConvTranspose(10, 3, (3, 3), rngs=rngs)
    ).kernel[...]
    limit = np.sqrt(6 / sum(fans))
    assert np.abs(kernel).max() <= limit
    assert np.abs(kernel).max() > 0.95 * limit
    assert abs(float(kernel.std()) - limit / np.sqrt(3)) < 0.1 * limit


@pytest.fixture
def pair():
    convolution = nn.Conv(
        3, 6, (4, 3), (2, 1), ((1, 0), (1, 1)), flip_kernel=True, rngs=nnx.Rngs(0)
    )
    return convolution, nn.ConvTranspose.tied(convolution, use_bias=False)


@pytest.mark.usefixtures("float64")
def test_tied_is_the_adjoint(pair, normal):
    convolution, transposed = pair
    x = normal((2, 9, 6, 3))
    without_bias = convolution(x) - convolution.bias[...]
    y = normal(without_bias.shape)
    back = transposed(y, output_shape=(9, 6))
    np.testing.assert_allclose(np.vdot(back, x), np.vdot(y, without_bias), rtol=1e-12)


def test_tied_shares_one_parameter(pair, normal):
    """One kernel: in the state once, and its gradient is the sum of both uses."""
    convolution, transposed = pair
    assert transposed.kernel is convolution.kernel
    model = nnx.Sequential(convolution, transposed)
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * 3 * 3 * 6 + 6
    x = normal((2, 8, 6, 3), jnp.float32)

    def loss(first, second):
        options = {"strides": (2, 1), "padding": ((1, 0), (1, 1)), "flip_kernel": True}
        y = jaxconv.conv(x, first, **options) + convolution.bias[...]
        return jnp.sum(jaxconv.conv_transpose(y, second, **options) ** 2)

    kernel = convolution.kernel[...]
    of_each = jax.grad(loss, (0, 1))(kernel, kernel)
    gradient = nnx.grad(lambda model: jnp.sum(model(x) ** 2))(model)
    (kernel_bar,) = (g for g in jax.tree.leaves(gradient) if g.ndim == 4)
    chex.assert_trees_all_close(kernel_bar, sum(of_each), rtol=1e-5)

    before = transposed(convolution(x))
    convolution.kernel[...] = 2 * kernel
    chex.assert_trees_all_close(transposed(convolution(x)), 4 * before, rtol=1e-5)


def test_dropout_trains_and_evaluates(normal):
    layer, x = nn.Dropout(0.25, rngs=nnx.Rngs(0)), jnp.ones((100, 100))
    first, second = layer(x), layer(x)
    assert set(np.unique(first)) == {np.float32(0), np.float32(4 / 3)}
    assert abs(float((first == 0).mean()) - 0.25) < 0.02
    assert (first != second).any(), "a new mask for each call"
    layer.eval()
    chex.assert_trees_all_equal(layer(x), x)
    again = nn.Dropout(0.25, rngs=nnx.Rngs(0))
    chex.assert_trees_all_equal(again(x), first)


@pytest.mark.parametrize("layer", [nn.Conv, nn.ConvBlock, nn.ConvTranspose])
def test_a_result_wider_than_the_parameters(layer, normal):
    options = {"window_shape": 2} if layer is nn.ConvBlock else {}
    narrow = {"param_dtype": jnp.bfloat16, "preferred_element_type": jnp.float32}
    made = layer(3, 4, (3, 3), **narrow, **options, rngs=nnx.Rngs(0))
    made.bias[...] += 1
    x = normal((2, 7, 6, 3), jnp.bfloat16)
    gradient = nnx.grad(lambda layer: layer(x).sum())(made)
    assert made(x).dtype == jnp.float32
    assert gradient["bias"][...].dtype == jnp.bfloat16


@pytest.mark.usefixtures("no_type_checker")
def test_sizes_as_arrays(normal):
    """Which NNX would take for data, and trace."""
    x, two, sides = normal((2, 7, 6, 3), jnp.float32), np.array([2, 2]), np.array([[1, 0], [0, 1]])
    size = np.array([3, 2])
    options = {"kernel_dilation": np.array([1, 2]), "rngs": nnx.Rngs(0)}
    pairs = {
        "Conv": nn.Conv(3, 4, size, two, sides, **options),
        "ConvBlock": nn.ConvBlock(
            *(3, 4, size, two, sides),
            window_shape=two,
            pool_padding=sides,
            pool_ceil_mode=True,
            **options,
        ),
        "ConvTranspose": nn.ConvTranspose(3, 4, size, two, sides, **options),
        "MaxPool": nn.MaxPool(two, two, sides),
        "AvgPool": nn.AvgPool(two, two, sides, window_dilation=np.array([1, 1])),
    }
    for name, layer in pairs.items():
        y = nnx.jit(lambda layer, x: layer(x))(layer, x)
        np.testing.assert_allclose(y, layer(x), rtol=1e-6, atol=1e-6, err_msg=name)
    assert nn.Conv(3, 4, np.int64(3), rngs=nnx.Rngs(0)).kernel.shape == (3, 3, 4)


def test_computes_in_half_precision(normal):
    layer = nn.Conv(3, 6, (3, 3), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    y = layer(normal((2, 7, 6, 3), jnp.float32))
    assert y.dtype == jnp.bfloat16
    assert layer.kernel.dtype == jnp.float32


BAD = {
    "kernel": (lambda r: nn.Conv(3, 6, (0, 3), rngs=r), ValueError, "Conv: kernel_size"),
    "features": (lambda r: nn.Conv(3, 0, (3, 3), rngs=r), ValueError, "Conv: out_features"),
    "float features": (lambda r: nn.Linear(2.5, 3, rngs=r), TypeError, "Linear: in_features"),
    "groups": (
        lambda r: nn.Conv(3, 6, (3, 3), feature_group_count=2, rngs=r),
        ValueError,
        "must divide in_features = 3",
    ),
    "rate": (lambda r: nn.Dropout(1.0, rngs=r), ValueError, "Dropout: rate"),
    "tied to what": (lambda r: nn.ConvTranspose.tied(nn.MaxPool(2)), TypeError, "got MaxPool"),
    "no branch": (lambda r: nn.Concat(), ValueError, "at least one branch"),
}


@pytest.mark.parametrize("mistake", BAD)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    make, error, message = BAD[mistake]
    with pytest.raises(error, match=message):
        make(nnx.Rngs(0))
