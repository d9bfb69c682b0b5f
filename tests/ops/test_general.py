"""The drop-in against `jax.lax.conv_general_dilated`, argument by argument."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import conv_general_dilated

pytestmark = pytest.mark.usefixtures("float64")

CALLS = {
    "defaults": ((4, 6, 7, 8), (8, 6, 3, 2), ((1, 1), "VALID"), {}),
    "positional": (
        (4, 6, 7, 8),
        (8, 3, 3, 2),
        ((2, 1), ((1, 2), (0, -1)), (2, 1), (1, 2), ("NCHW", "OIHW", "NCHW"), 2, 1),
        {},
    ),
    "channels last": (
        (4, 7, 8, 6),
        (3, 2, 6, 8),
        ((1, 2), "SAME"),
        {"dimension_numbers": ("NHWC", "HWIO", "NHWC")},
    ),
    "batch groups": ((4, 6, 7, 8), (8, 6, 3, 2), ((1, 1), "SAME"), {"batch_group_count": 2}),
    "batch groups channels last": (
        (4, 7, 8, 6),
        (3, 2, 6, 8),
        ((1, 2), "VALID"),
        {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "batch_group_count": 4},
    ),
    "no spatial axes": ((4, 6), (8, 6), ((), ()), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_equals_lax(name, normal):
    x_shape, k_shape, args, kwargs = CALLS[name]
    x, kernel = normal(x_shape), normal(k_shape)
    y, pull_back = jax.vjp(lambda x, k: conv_general_dilated(x, k, *args, **kwargs), x, kernel)
    theirs, their_pull_back = jax.vjp(
        lambda x, k: lax.conv_general_dilated(x, k, *args, **kwargs), x, kernel
    )
    chex.assert_trees_all_close(y, theirs, rtol=0, atol=1e-13)
    y_bar = normal(y.shape)
    chex.assert_trees_all_close(pull_back(y_bar), their_pull_back(y_bar), rtol=0, atol=1e-12)


def test_flax_takes_it(normal):
    def layer(function):
        return nnx.Conv(3, 4, (3, 3), conv_general_dilated=function, rngs=nnx.Rngs(0))

    x = normal((2, 6, 5, 3))
    ours, theirs = layer(jaxconv.conv_general_dilated), layer(lax.conv_general_dilated)

    def loss(layer):
        return jnp.sum(layer(x) ** 3)

    assert "jaxconv" in str(jax.make_jaxpr(lambda x: ours(x))(x))
    chex.assert_trees_all_close(
        nnx.to_pure_dict(nnx.grad(loss)(ours)),
        nnx.to_pure_dict(nnx.grad(loss)(theirs)),
        rtol=1e-12,
    )


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(normal):
    x, kernel = normal((4, 6, 7, 8)), normal((8, 6, 3, 2))
    with pytest.raises(ValueError, match="cannot both exceed 1"):
        conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=2, batch_group_count=2)
    with pytest.raises(ValueError, match="batch_group_count must divide"):
        conv_general_dilated(x, kernel, (1, 1), "SAME", batch_group_count=3)
    with pytest.raises(ValueError, match="one rank"):
        conv_general_dilated(x, kernel[0], (1, 1), "SAME")
    with pytest.raises(ValueError, match="conv_general_dilated: strides must be at least 1"):
        conv_general_dilated(x, kernel, (0, 1), "SAME")
    with pytest.raises(TypeError, match="lhs must be an array"):
        conv_general_dilated([1.0], kernel, (1, 1), "SAME")
