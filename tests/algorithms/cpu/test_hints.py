"""What the hints for CPUs make of an array: the same elements in another shape or program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.algorithms.cpu._hints import HINTS


@pytest.mark.parametrize(
    ("channels", "vectors"),
    [(8, (1, 8)), (16, (2, 8)), (64, (8, 8)), (72, (1, 72)), (12, (1, 12)), (4, (1, 4))],
)
def test_few_channels_are_split_into_vectors(channels, vectors):
    a = np.arange(3 * channels).reshape(3, channels)
    split = HINTS.in_vectors(a)
    assert split.shape == (3, *vectors)
    np.testing.assert_array_equal(split.reshape(3, channels), a)


@pytest.mark.parametrize(("lo", "hi"), [(2, 1), (0, 2), (3, 0), (0, 0)])
def test_an_axis_is_padded_by_a_concatenation(lo, hi):
    x = np.arange(24.0).reshape(2, 3, 4)
    program = jax.make_jaxpr(lambda x: HINTS.pad(x, 1, lo, hi, 7))(x)
    names = [equation.primitive.name for equation in program.eqns]
    assert "pad" not in names
    assert ("concatenate" in names) == (lo + hi > 0)
    expected = np.pad(x, ((0, 0), (lo, hi), (0, 0)), constant_values=7)
    np.testing.assert_array_equal(HINTS.pad(jnp.asarray(x), 1, lo, hi, 7), expected)
