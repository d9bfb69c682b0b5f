"""The sum over taps: what becomes part of its loops on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms.cpu._taps import _as_a_loop, _channel, _every, _with_zeros_multiplied
from tests.algorithms.problems import equal_in_whole_numbers, geometry_of, primitives_of


def test_a_tap_that_is_not_finite_spoils_its_channel():
    kernel = np.ones((3, 1, 1, 4), np.float32)
    kernel[1, 0, 0, 1], kernel[2, 0, 0, 2] = np.inf, np.nan
    spoiled = np.asarray(_with_zeros_multiplied(kernel))[:, 0, 0]
    np.testing.assert_array_equal(spoiled[:, [0, 3]], 1)
    np.testing.assert_array_equal(spoiled[:, 1], [np.nan, np.inf, np.nan])
    np.testing.assert_array_equal(spoiled[:, 2], np.nan)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_a_finite_kernel_keeps_its_bits(dtype):
    with jax.enable_x64():
        rng = np.random.default_rng(0)
        kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 5)) * 1e30, dtype)
        with jax.default_matmul_precision("bfloat16"):
            np.testing.assert_array_equal(_with_zeros_multiplied(kernel), kernel)


def test_integers_have_no_products_to_add():
    kernel = jnp.ones((3, 1, 4), jnp.int32)
    assert _with_zeros_multiplied(kernel) is kernel
    assert _as_a_loop(kernel) is kernel


def test_channels_and_examples_are_sliced_only_where_there_are_others():
    a = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(_channel(a, 2), a[:, 2:3])
    np.testing.assert_array_equal(_every(a, 1, 2), a[1::2])
    assert _every(a, 0, 1) is a
    assert _channel(a[:, :1], 0).shape == (3, 1)


# Depthwise layers whose terms are padded in the loop, and others.
CASES = [
    ((5, 4), (3, 3), 2, ((1, 1), (0, 1)), 1, 1, 3),
    ((5, 4), (3, 3), 1, ((1, 1), (2, 0)), 1, 1, 32),
    ((5, 4), (3, 2), 1, ((1, 2), (-1, 1)), 1, 2, 3),
    ((7,), (3,), 2, ((1, 2),), 1, 1, 3),
]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("slot", Slot)
def test_equal_to_the_convolution(slot, options):
    geometry = geometry_of(*options)
    equal_in_whole_numbers("taps", slot, geometry, c=geometry.groups, o=2 * geometry.groups)
    equal_in_whole_numbers("taps", slot, geometry, c=geometry.groups, o=geometry.groups)


def test_the_kernel_of_a_depthwise_layer_is_read_backwards_where_it_lies():
    met = primitives_of("taps", "x", geometry_of((6,), (2,), 1, ((1, 0),), groups=4), c=4, o=4)
    assert not {"rev", "transpose"} & set(met)
    assert met.count("mul") == 2
