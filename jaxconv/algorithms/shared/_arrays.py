"""Feature groups, rotated kernels and sums in loops."""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Shaped

from ..._spec import Slot
from ..._typing import Array, Kernel
from ._hints import NONE, Hints

# An array, or a pytree of arrays.
Terms = TypeVar("Terms")

# From so many elements on, a kernel is rotated in two loops. Below, one more costs more than it
# gains.
_LARGE_KERNEL = 2**17


def rotate_kernel(
    kernel: Kernel, groups: int = 1, *, hints: Hints = NONE
) -> Shaped[Array, "*window o_g c"]:
    """Reverse the window of a kernel and exchange its channel axes, inside each feature group.

        k_rot[r; o, g, c] = k[R-1-r; c, g, o]

    `(*window, c/g, o)` becomes `(*window, o/g, c)`. A convolution with the rotated kernel takes the
    output's cotangent back to the input.
    """
    exchanged = exchange_channels(kernel, groups)
    if math.prod(kernel.shape) >= _LARGE_KERNEL:
        # XLA's CPU compiler exchanges axes faster in a loop that reverses none.
        exchanged = hints.row_major(exchanged)
    return reverse_window(exchanged, kernel.ndim - 2)


def exchange_channels(
    kernel: Shaped[Array, "*window c_g o"], groups: int
) -> Shaped[Array, "*window o_g c"]:
    """Exchange the channel axes of a kernel, inside each feature group."""
    *window, c, o = kernel.shape
    if c == 1 and o == groups:
        return kernel
    if groups == 1:
        return jnp.swapaxes(kernel, -2, -1)
    by_group = jnp.asarray(kernel).reshape(*window, c, groups, o // groups)
    return jnp.swapaxes(by_group, -3, -1).reshape(*window, o // groups, groups * c)


def reverse_window(kernel: Kernel, rank: int) -> Kernel:
    """Reverse the first `rank` axes of a kernel. They are reshaped to one axis, which is faster."""
    taps = math.prod(kernel.shape[:rank])
    if taps == 1:
        return kernel
    return lax.rev(kernel.reshape(taps, -1), [0]).reshape(kernel.shape)


def examples_as_channels(
    x: Shaped[Array, "n *spatial c"], groups: int = 1
) -> Shaped[Array, "c_g *spatial g_n"]:
    """Exchange the roles of examples and channels: `(n, *spatial, c)` to `(c/g, *spatial, g·n)`.

    A kernel's gradient sums over examples as a convolution sums over channels.
    """
    n, *spatial, c = x.shape
    if groups == 1:
        return jnp.swapaxes(x, 0, -1)
    by_group = jnp.moveaxis(x.reshape(n, *spatial, groups, c // groups), -1, 0)
    return jnp.moveaxis(by_group, 1, -1).reshape(c // groups, *spatial, groups * n)


# So many terms are added up in the loop that reads the sum: one loop less to compile.
_FEW_TERMS = 32


def split_groups(a: Shaped[Array, "*rest channels"], groups: int) -> Shaped[Array, "*rest g c_g"]:
    """Give feature groups an axis of their own: `(…, channels)` to `(…, g, channels/g)`."""
    *rest, channels = a.shape
    return a.reshape(*rest, groups, channels // groups)


def taps_by_group(kernel: Kernel, groups: int) -> Shaped[Array, "taps c_g g o_g"]:
    """A kernel `(*window, c/g, o)` with its taps on one axis and its output channels by group."""
    *window, c, o = kernel.shape
    return kernel.reshape(math.prod(window), c, groups, o // groups)


def add_up(terms: Iterable[Array]) -> Array:
    """The sum of at least one array, from the first to the last; all are of one shape and dtype."""
    return reduce(lax.add, terms)  # traced in a quarter of the time that `+` takes


def times(a: Array, b: Array) -> Array:
    """The product of two arrays of one dtype, broadcast, traced faster than `*` is."""
    shape = lax.broadcast_shapes(a.shape, b.shape)
    return lax.mul(*(_broadcast(factor, shape) for factor in (a, b)))


def _broadcast(a: Array, shape: tuple[int, ...]) -> Array:
    if a.shape == shape:
        return a
    return lax.broadcast_in_dim(a, shape, range(len(shape) - a.ndim, len(shape)))


def with_zeros_multiplied(slot: Slot, result: Array, kernel: Kernel, groups: int) -> Array:
    """Add the products of the kernel with zeros to a forward pass that skipped them.

    Padding and the gaps of a dilated map are zeros. The definition multiplies them by the kernel,
    which gives zero, or NaN where a tap is infinite or NaN. `slot` is the one that the forward pass
    leaves empty: y for a convolution, x for a transposed one.
    """
    if not jnp.issubdtype(result.dtype, jnp.inexact):
        return result
    products = _products_with_zeros(slot, kernel.astype(result.dtype), groups)
    return result + (products if slot == Slot.OUTPUT else products.T).reshape(-1)


def kernel_with_zeros_multiplied(slot: Slot, kernel: Kernel, groups: int) -> Kernel:
    """The kernel, NaN in all taps of the result's channels whose products with zeros are NaN.

    Where every element of the result has a term, a convolution with this kernel equals
    `with_zeros_multiplied`.
    """
    if not jnp.issubdtype(kernel.dtype, jnp.inexact):
        return kernel
    *window, c, o = kernel.shape
    products = _products_with_zeros(slot, kernel, groups)
    by_group = kernel.reshape(*window, c, groups, o // groups)
    spoiled = by_group + (products if slot == Slot.OUTPUT else products[..., None])
    return spoiled.reshape(kernel.shape)


def _products_with_zeros(slot: Slot, kernel: Kernel, groups: int) -> Array:
    """0 or NaN for each channel of the result: `(g, o/g)` for a convolution, else `(c/g, g)`."""
    zeros = taps_by_group(kernel * 0, groups)
    zeros = jnp.moveaxis(zeros, 3, 1) if slot == Slot.INPUT else zeros
    first, second, *result = zeros.shape
    zeros = zeros.reshape(first * second, *result)
    return add_up(zeros) if 0 < len(zeros) <= _FEW_TERMS else zeros.sum(0)


def sum_in_loop(term: Callable[[Array], Terms], count: int) -> Terms:
    """The sum of `term(i)` for i < count, as a loop with one body."""
    term = jax.jit(term, inline=True)  # so that it is traced once, with the type of a loop's index
    start = jax.tree.map(zeros_of, jax.eval_shape(term, 0))
    return lax.fori_loop(0, count, lambda i, total: jax.tree.map(jnp.add, total, term(i)), start)


def zeros_of(like: jax.ShapeDtypeStruct) -> Array:
    """Zeros to start a loop from. They vary over the axes of a `shard_map` as `like` does."""
    axes = like.manual_axis_type.varying if like.manual_axis_type else ()
    return lax.pcast(jnp.zeros(like.shape, like.dtype), tuple(axes), to="varying")
