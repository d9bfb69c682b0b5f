"""What the tests compare with, and how close is close enough.

A result is a sum of products. Rounding moves a sum of N terms by at most about N·eps times the sum
of their magnitudes, whatever the order of the additions. The bound of a comparison is therefore
computed from the same contraction of the magnitudes; it is never chosen.
"""

from itertools import combinations, product

import jax
import numpy as np
from jax import lax

from jaxconv import reference


def assert_within_rounding(actual, expected, magnitude, terms, name=""):
    """Each element differs by at most `2·terms·eps` times the sum of its terms' magnitudes.

    The factor is 2 because both sides round. `magnitude` is that sum, one for each element or one
    for all of them. Infinities must be equal, and NaN must stand in the same places.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    eps = np.finfo(np.result_type(actual, expected)).eps
    bound = 2 * max(terms, 1) * eps * np.broadcast_to(magnitude, actual.shape)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):  # inf - inf, of elements that are the same
        close = same | (np.abs(actual - expected) <= bound)
    if not close.all():
        where = tuple(int(i[0]) for i in np.nonzero(~close))
        raise AssertionError(
            f"{name}: {(~close).sum()} of {close.size} elements are beyond rounding, "
            f"first {where}: {actual[where]} against {expected[where]}, bound {bound[where]:.1e}"
        )


def together(calls, *, magnitudes=False):
    """The results of many calls `(f, *operands)`, computed by one compiled program.

    Compiling is what takes the time of a test. One program of many calls compiles several times
    faster than many programs of one call. With `magnitudes`, pairs are returned: each result, and
    the result of the same call with the operands' magnitudes, by the same program.
    """
    functions, operands = [f for f, *_ in calls], [tuple(operands) for _, *operands in calls]

    @jax.jit
    def run(operands):
        return [f(*of_one) for f, of_one in zip(functions, operands, strict=True)]

    results = jax.device_get(run(operands))
    if not magnitudes:
        return results
    scales = jax.device_get(run(jax.tree.map(np.abs, operands)))
    return list(zip(results, scales, strict=True))


def both(f, ours, theirs, *operands):
    """`f(ours, *operands)` and `f(theirs, *operands)`, computed by one compiled program."""
    return jax.jit(lambda *operands: (f(ours, *operands), f(theirs, *operands)))(*operands)


def covering_pairs(*factors):
    """A few rows of the product of `factors` in which any two values of two factors meet."""

    def pairs(row):
        return set(combinations(enumerate(row), 2))

    rows = list(product(*factors))
    missing, chosen = set().union(*map(pairs, rows)), []
    while missing:
        chosen.append(max(rows, key=lambda row: len(missing & pairs(row))))
        missing -= pairs(chosen[-1])
    return chosen


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


def three_contractions(f, x, kernel, y_bar):
    """Output and both cotangents of a bilinear `f(x, kernel)`."""
    y, pull_back = jax.vjp(f, x, kernel)
    x_bar, k_bar = pull_back(y_bar)
    return y, x_bar, k_bar


three_corners = three_contractions  # the name that other tests still import


def defined_contractions(x, kernel, y_bar, **options):
    """Output and both cotangents of a convolution, by the loops of `jaxconv.reference`."""
    return (
        reference.conv(x, kernel, **options),
        reference.conv_input_vjp(y_bar, kernel, x.shape, **options),
        reference.conv_kernel_vjp(x, y_bar, kernel.shape, **options),
    )


def assert_contractions(actual, x, kernel, y_bar, name="", **options):
    """`(y, x_bar, k_bar)` equals the definition of a convolution with these options."""
    expected = defined_contractions(x, kernel, y_bar, **options)
    magnitudes = defined_contractions(*map(np.abs, (x, kernel, y_bar)), **options)
    for slot, *results in zip(("y", "x_bar", "k_bar"), actual, expected, magnitudes, strict=True):
        assert_within_rounding(*results, x.size + kernel.size, f"{name}: {slot}")


def with_magnitudes(f, *operands):
    """`f(*operands)`, and `f` of the magnitudes: the scale of each element's rounding error.

    Both are results of one compiled program.
    """
    f = jax.jit(f)
    return f(*operands), f(*map(np.abs, operands))


def transpose_of(definition, x_shape, y_bar):
    """The cotangent of x for a linear definition of a pool or resize, channel by channel.

    The definition is applied to maps that have a one in a single pixel.
    """
    _, *spatial, _ = x_shape
    pixels = np.eye(np.prod(spatial)).reshape(-1, *spatial, 1)
    columns = definition(pixels).reshape(len(pixels), -1)
    by_output = y_bar.reshape(len(y_bar), columns.shape[1], -1)
    return np.einsum("ip,npc->nic", columns, by_output).reshape(x_shape)
