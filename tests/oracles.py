"""What the tests compare with, and how close is close enough.

A result is a sum of products. Rounding moves a sum of N terms by at most about N·eps times the sum
of their magnitudes, whatever the order of additions; so the bound of a comparison is computed from
the same contraction of the magnitudes, never chosen.
"""

import jax
import numpy as np
from jax import lax


def assert_within_rounding(actual, expected, magnitude, terms, name=""):
    """Each element differs by at most `2·terms·eps` times the sum of its terms' magnitudes.

    Twice, since both sides round. `magnitude` is that sum, element by element or one for all.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    eps = np.finfo(np.result_type(actual, expected)).eps
    bound = 2 * max(terms, 1) * eps * np.broadcast_to(magnitude, actual.shape)
    excess = np.abs(actual - expected) > bound
    if excess.any():
        where = tuple(int(i[0]) for i in np.nonzero(excess))
        raise AssertionError(
            f"{name}: {excess.sum()} of {excess.size} elements are beyond rounding, first {where}: "
            f"{actual[where]} against {expected[where]}, bound {bound[where]:.1e}"
        )


def lax_conv(x, kernel, strides, padding, input_dilation=1, kernel_dilation=1, groups=1):
    """The convolution as lax has it, channels last, differentiated by JAX."""
    rank = x.ndim - 2
    axes = "".join(str(axis) for axis in range(rank))

    def each(value):
        return (value,) * rank if isinstance(value, int) else value

    return lax.conv_general_dilated(
        x,
        kernel,
        each(strides),
        padding,
        each(input_dilation),
        each(kernel_dilation),
        (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        groups,
    )


def three_corners(f, x, kernel, y_bar):
    """Output and both cotangents of a bilinear `f(x, kernel)`."""
    y, pull_back = jax.vjp(f, x, kernel)
    x_bar, k_bar = pull_back(y_bar)
    return y, x_bar, k_bar


def with_magnitudes(f, *operands):
    """`f(*operands)`, and `f` of the magnitudes: the scale of each element's rounding error.

    One program for both, since compiling it is what takes the time.
    """
    f = jax.jit(f)
    return f(*operands), f(*map(np.abs, operands))
