"""`Linear`: `jaxconv.dense` with parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import nn


def test_linear_is_dense_with_a_bias(normal):
    """Over any number of leading axes."""
    layer, x = nn.Linear(3, 4, rngs=nnx.Rngs(0)), normal((2, 5, 3), jnp.float32)
    layer.bias[...] = jnp.arange(4.0)
    expected = np.asarray(x, float) @ np.asarray(layer.kernel[...], float) + np.arange(4)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-6, atol=1e-6)
    assert "kernel (3, 4)" in str(jaxconv.explain(layer, x)), "the product is the library's"


def test_gradients_of_single_in_half_precision():
    layer = nn.Linear(3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert jax.eval_shape(layer, x).dtype == jnp.bfloat16
    definition, state = nnx.split(layer)
    loss = jax.grad(lambda state, x: nnx.merge(definition, state)(x).sum())
    gradient = jax.eval_shape(loss, state, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}


def test_without_bias():
    layer = nn.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0))
    assert layer.bias is None
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 1


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    with pytest.raises(TypeError, match="Linear: in_features"):
        nn.Linear(2.5, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Linear: out_features must be at least 1"):
        nn.Linear(2, 0, rngs=nnx.Rngs(0))
