"""`MaxUnpool`: with the argmax of a pool, the maxima go back to where they were."""

import chex
import jax.numpy as jnp
import numpy as np

import jaxconv
from jaxconv import nn


def test_unpooling_undoes_pooling(normal):
    options = {"strides": 2, "padding": ((1, 0), (1, 1)), "window_dilation": (2, 1)}
    options["ceil_mode"] = True
    x = normal((2, 8, 7, 3), jnp.float32)
    y, argmax = jaxconv.max_pool_with_argmax(x, (2, 3), **options)
    options |= {"output_size": (8, 7), "overlap": "mean"}
    layer = nn.MaxUnpool((2, 3), **options)
    back = layer(y, argmax)
    chex.assert_trees_all_equal(back, jaxconv.max_unpool(y, argmax, (2, 3), **options))
    chex.assert_trees_all_close(back, np.where(np.asarray(back) == 0, 0, x), rtol=1e-6)
    assert np.count_nonzero(back) == np.unique(np.where(y > -np.inf, y, np.nan)).size
