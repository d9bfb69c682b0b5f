"""Maps of several tests, and how results are compared."""

import jax
import jax.numpy as jnp
import numpy as np


def blur(x):
    """Mean of neighbours."""
    return (x[1:] + x[:-1]) / 2


def blur_transpose(y):
    return (jnp.pad(y, (0, 1)) + jnp.pad(y, (1, 0))) / 2


def centred(x):
    """The difference from the mean over the devices, or over the members of a batch."""
    return x - jax.lax.pmean(x, "d")


def assert_same(actual, expected, label=""):
    actual, expected = (jax.tree.leaves(tree) for tree in (actual, expected))
    assert len(actual) == len(expected)
    for x, y in zip(actual, expected, strict=True):
        scale = max(1.0, np.abs(y).max(initial=0.0))
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-13 * scale, err_msg=label)
