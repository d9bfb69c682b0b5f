"""What the algorithms share: rotated kernels, exchanged axes, accumulation dtypes, a version."""

import math
import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Shaped

from .._typing import Array, Kernel

# An array, or a tree of them.
Terms = TypeVar("Terms")

# The dtypes of x, k and y: a corner rounds its result to that of the slot that it fills.
Dtypes: TypeAlias = tuple[np.dtype, np.dtype, np.dtype]

# Whether XLA is that of JAX 0.10, which compiles for CPUs in ways of its own.
IS_JAX_0_10 = jax.__version_info__ < (0, 11)

# Numbers of float32 in a vector of most processors.
_VECTOR = 8


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype to add up terms in before they are rounded to `dtype`.

    float32 for floating-point numbers of 16 bits and less; integers of 32 bits for those of less
    than 8, for which XLA has no sums.
    """
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return dtype if jnp.finfo(dtype).bits > 16 else np.dtype("float32")
    return dtype if _promoted_by_jax(dtype) == dtype else _signed_alike(dtype, "int32")


def of_whole_bytes(dtype: np.dtype) -> np.dtype:
    """The dtype to compare and to move elements in: it holds all values of `dtype`.

    XLA has every operation in the standard dtypes only. Concatenating integers of less than a byte,
    for one, ends the process on a CPU.
    """
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return np.dtype("float32") if jnp.finfo(dtype).bits < 16 else dtype
    if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8:
        return np.dtype("int8" if jnp.issubdtype(dtype, jnp.signedinteger) else "uint8")
    return dtype


def common_dtype(*dtypes: Any) -> np.dtype:
    """The dtype to bring numbers of these dtypes to, as JAX promotes them.

    JAX promotes no floating-point numbers of 8 bits and less, and no integers of less than 8 bits,
    to another dtype by itself. Here they count as bfloat16 and as integers of 8 bits.
    """
    first, *others = (np.dtype(dtype) for dtype in dtypes)
    if all(dtype == first for dtype in others):
        return first
    return np.dtype(jnp.result_type(*(_promoted_by_jax(dtype) for dtype in (first, *others))))


def _promoted_by_jax(dtype: np.dtype) -> np.dtype:
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits <= 8:
        return np.dtype(jnp.bfloat16)
    if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8:
        return _signed_alike(dtype, "int8")
    return dtype


def _signed_alike(dtype: np.dtype, name: str) -> np.dtype:
    return np.dtype(f"u{name}" if jnp.issubdtype(dtype, jnp.unsignedinteger) else name)


def in_whole_bytes(a: Array) -> Array:
    """Numbers of less than 8 bits, which XLA for CPUs does not multiply, as wider ones."""
    bits = jnp.finfo(a.dtype).bits if jnp.issubdtype(a.dtype, jnp.floating) else 0
    return a if bits == 8 else a.astype(_promoted_by_jax(a.dtype))


def rotate_kernel(kernel: Kernel, groups: int = 1) -> Shaped[Array, "*window o_g c"]:
    """Turn a kernel by 180° and exchange its channel axes, inside each feature group.

    `(*window, c/g, o)` becomes `(*window, o/g, c)`: the kernel that carries errors back.
    """
    *window, c, o = kernel.shape
    split = jnp.asarray(kernel).reshape(*window, c, groups, o // groups)
    exchanged = jnp.swapaxes(split, -3, -1).reshape(*window, o // groups, groups * c)
    # On its own, as XLA for CPUs exchanges axes ten times as fast where nothing is turned as well.
    return turned(lax.optimization_barrier(exchanged), len(window))


def turned(kernel: Kernel, rank: int) -> Kernel:
    """The taps of the first `rank` spatial axes in reverse order, turned over as a single axis."""
    taps = math.prod(kernel.shape[:rank])
    return lax.rev(kernel.reshape(taps, -1), [0]).reshape(kernel.shape)


def examples_as_channels(
    x: Shaped[Array, "n *spatial c"], groups: int = 1
) -> Shaped[Array, "c_g *spatial g_n"]:
    """Exchange the roles of examples and channels: `(n, *spatial, c)` to `(c/g, *spatial, g·n)`.

    A kernel gradient sums over examples as a convolution sums over channels.
    """
    n, *spatial, c = x.shape
    split = jnp.moveaxis(x.reshape(n, *spatial, groups, c // groups), -1, 0)
    return jnp.moveaxis(split, 1, -1).reshape(c // groups, *spatial, groups * n)


def by_group(a: Shaped[Array, "*rest channels"], groups: int) -> Shaped[Array, "*rest g c_g"]:
    """Give feature groups an axis of their own: `(…, channels)` to `(…, g, channels/g)`."""
    *rest, channels = a.shape
    return a.reshape(*rest, groups, channels // groups)


def in_vectors(a: Shaped[Array, "*rest channels"]) -> Shaped[Array, "*rest vectors numbers"]:
    """Split channels into vectors of a processor, `(…, channels)` to `(…, vectors, numbers)`.

    Loops that rearrange arrays run as fast, or faster, and compile in a third of the time: LLVM
    unrolls an innermost loop of some 20 to 64 numbers before it makes vectors of them.
    """
    *rest, channels = a.shape
    numbers = _VECTOR if channels % _VECTOR == 0 and channels <= 64 else channels
    return a.reshape(*rest, channels // numbers, numbers)


def taps_by_group(kernel: Kernel, groups: int) -> Shaped[Array, "taps c_g g o_g"]:
    """The taps of `(*window, c/g, o)` one after the other, the output channels by group."""
    *window, c, o = kernel.shape
    return kernel.reshape(math.prod(window), c, groups, o // groups)


def add_up(terms: Iterable[Array]) -> Array:
    """The sum of at least one array, from the first to the last."""
    return reduce(operator.add, terms)


def with_zeros_multiplied(slot: str, result: Array, kernel: Kernel, groups: int) -> Array:
    """Add the products of kernel and zeros to a forward pass that has left them out.

    They are zero, or NaN where a tap is infinite or NaN. The padding and the gaps of a dilated
    map are zeros, and the definition multiplies them as it multiplies pixels. `slot` is what the
    forward pass computes: "y" for a convolution, "x" for a transposed one.
    """
    if not jnp.issubdtype(result.dtype, jnp.inexact):
        return result
    products = taps_by_group(kernel.astype(result.dtype) * 0, groups).sum(axis=0)  # (c_g, g, o_g)
    summed = products.sum(axis=0) if slot == "y" else products.sum(axis=2).T
    return result + summed.reshape(-1)


def sum_in_loop(term: Callable[[Array], Terms], count: int) -> Terms:
    """The sum of `term(i)` for i < count, as a loop with one body."""
    term = jax.jit(term, inline=True)  # traced once, not again for the shape
    start = jax.tree.map(zeros_of, jax.eval_shape(term, jnp.zeros((), int)))
    return lax.fori_loop(0, count, lambda i, total: jax.tree.map(jnp.add, total, term(i)), start)


def zeros_of(like: jax.ShapeDtypeStruct) -> Array:
    """Zeros to start a loop from, that vary over the axes of a `shard_map` as `like` does."""
    axes = like.manual_axis_type.varying if like.manual_axis_type else ()
    return lax.pcast(jnp.zeros(like.shape, like.dtype), tuple(axes), to="varying")


def to_common_dtype(*operands: Array) -> list[Array]:
    """Promote operands to the widest of their dtypes, as a cotangent may be wider than a primal."""
    dtype = common_dtype(*(operand.dtype for operand in operands))
    return [operand.astype(dtype) for operand in operands]


def to_accumulator(result: np.dtype, *operands: Array) -> list[Array]:
    """Promote operands to the dtype in which the terms of a sum that ends as `result` are added.

    Half precision is thus added up in float32, and rounded once, at the end.
    """
    wide = accumulator(common_dtype(result, *(operand.dtype for operand in operands)))
    return [operand.astype(wide) for operand in operands]
