"""`Flatten` and `Concat`, and the dropout that comes from Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import nn


def test_flatten_counts_channels_fastest():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(jnp.asarray(x)), x.reshape(1, 24))


def test_concat_joins_branches_and_adds_up_their_cotangents(normal):
    x = normal((2, 4, 3), jnp.float32)
    layer = nn.Concat(lambda x: 2 * x, nn.Flatten(), lambda x: x.sum(axis=1))
    with pytest.raises(TypeError, match="concatenate"):  # the ranks differ
        jax.eval_shape(layer, x)
    layer = nn.Concat(lambda x: 2 * x, lambda x: 3 * x[..., :1])
    y, pull_back = jax.vjp(layer, x)
    np.testing.assert_array_equal(y, np.concatenate([2 * x, 3 * x[..., :1]], axis=-1))
    (x_bar,) = pull_back(jnp.ones_like(y))
    np.testing.assert_array_equal(x_bar, np.broadcast_to([5.0, 2.0, 2.0], x.shape))


def test_concat_holds_the_parameters_of_its_branches():
    layer = nn.Concat(nn.Linear(3, 2, rngs=nnx.Rngs(0)), nn.Flatten())
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 2
    with pytest.raises(ValueError, match="at least one branch"):
        nn.Concat()


def test_dropout_is_that_of_flax():
    assert nn.Dropout is nnx.Dropout
