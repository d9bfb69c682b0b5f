"""Exchanged and rotated kernels, products and sums, each against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms.shared import _arrays
from jaxconv.algorithms.shared._arrays import (
    add_up,
    examples_as_channels,
    exchange_channels,
    kernel_with_zeros_multiplied,
    reverse_window,
    rotate_kernel,
    sum_in_loop,
    times,
    with_zeros_multiplied,
)
from jaxconv.algorithms.shared._hints import Hints


def primitives(f, *args):
    return [str(equation.primitive) for equation in jax.make_jaxpr(f)(*args).eqns]


# The channels of a group, the groups, and the output channels of a group.
@pytest.mark.parametrize(("c", "groups", "o"), [(3, 1, 4), (2, 3, 2), (1, 5, 1), (1, 4, 3)])
def test_channels_are_exchanged_inside_each_group(c, groups, o):
    kernel = np.arange(3.0 * 2 * c * groups * o).reshape(3, 2, c, groups * o)
    exchanged = np.asarray(exchange_channels(kernel, groups))
    rotated = np.asarray(rotate_kernel(jnp.asarray(kernel), groups))
    for r, s, i, g, j in np.ndindex(3, 2, c, groups, o):
        element = kernel[r, s, i, g * o + j]
        assert exchanged[r, s, j, g * c + i] == element
        assert rotated[2 - r, 1 - s, j, g * c + i] == element


def test_a_window_of_one_tap_is_not_reversed():
    kernel = np.ones((1, 1, 3, 4))
    assert reverse_window(kernel, 2) is kernel
    assert primitives(rotate_kernel, kernel) == ["transpose"]


def test_a_depthwise_kernel_has_nothing_to_exchange():
    kernel = np.ones((3, 2, 1, 4))
    assert exchange_channels(kernel, 4) is kernel


class Marks(Hints):
    """Hints that note what is written in row-major order."""

    def __init__(self):
        self.written = []

    def row_major(self, a):
        self.written.append(a.shape)
        return a


@pytest.mark.parametrize(("limit", "written"), [(36, [(3, 1, 4, 3)]), (37, [])])
def test_large_kernels_are_rotated_in_two_loops(limit, written, monkeypatch):
    monkeypatch.setattr(_arrays, "_LARGE_KERNEL", limit)
    hints = Marks()
    rotate_kernel(jnp.ones((3, 1, 3, 4)), hints=hints)
    assert hints.written == written


@pytest.mark.parametrize("groups", [1, 3])
def test_examples_become_channels(groups):
    x = np.arange(2.0 * 4 * 6).reshape(2, 4, 6)
    taps = np.asarray(examples_as_channels(x, groups))
    c = 6 // groups
    assert taps.shape == (c, 4, groups * 2)
    for n, p, g, i in np.ndindex(2, 4, groups, c):
        assert taps[i, p, g * 2 + n] == x[n, p, g * c + i]


def test_products_are_broadcast_as_numpy_does():
    a = np.arange(12.0).reshape(3, 1, 4)
    for b in (np.arange(4.0), np.arange(20.0).reshape(5, 4), np.ones((3, 1, 4)), np.ones((2, 1))):
        np.testing.assert_array_equal(times(jnp.asarray(a), jnp.asarray(b)), a * b)
        np.testing.assert_array_equal(times(jnp.asarray(b), jnp.asarray(a)), b * a)
    assert primitives(times, a, a) == ["mul"]


def test_terms_are_added_from_the_first_to_the_last():
    large = np.float32(2**24)
    terms = [jnp.full(3, term, jnp.float32) for term in (1, large, 1, -large)]
    np.testing.assert_array_equal(add_up(iter(terms)), np.zeros(3))
    np.testing.assert_array_equal(add_up(reversed(terms)), np.full(3, 2))
    assert primitives(lambda *terms: add_up(terms), *terms) == ["add"] * 3


def test_the_terms_of_a_loop_are_traced_once():
    traced = []

    def term(i):
        traced.append(i)
        return (i + 1) * jnp.arange(3.0)

    assert jax.eval_shape(lambda: sum_in_loop(term, 4)).shape == (3,)
    assert len(traced) == 1
    np.testing.assert_array_equal(sum_in_loop(term, 4), 10 * np.arange(3.0))


@pytest.mark.parametrize("slot", [Slot.OUTPUT, Slot.INPUT])
def test_products_of_whole_numbers_with_zeros_are_none(slot):
    whole = jnp.ones((3, 2, 4), jnp.int32)
    assert kernel_with_zeros_multiplied(slot, whole, 2) is whole
    assert with_zeros_multiplied(slot, whole, jnp.ones((3, 2, 4), jnp.int32), 2) is whole
