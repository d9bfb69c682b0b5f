"""What every module with parameters does: check sizes, draw them, promote dtypes, add a bias."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from flax import nnx

from .. import algorithms, ops
from .._geometry import per_axis
from .._typing import Array

Initializer: TypeAlias = Callable[..., Any]


def features(name: str, count: Any) -> int:
    """A number of features: an integer, at least 1."""
    (checked,) = per_axis(count, 1, name)
    return checked


def draw(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    features: int,
    *,
    use_bias: bool,
    param_dtype: Any,
    kernel_init: Initializer,
    bias_init: Initializer,
) -> tuple[nnx.Param, Any]:
    """A kernel of a shape and a bias for so many features, or None, as attributes of a module."""
    kernel = nnx.Param(kernel_init(rngs.params(), shape, param_dtype))
    if not use_bias:
        return kernel, nnx.data(None)
    return kernel, nnx.data(nnx.Param(bias_init(rngs.params(), (features,), param_dtype)))


class Operands(NamedTuple):
    """What a layer computes with: `x` in the layer's dtype, and parameters at least as wide."""

    x: Array
    kernel: Array
    bias: Array | None
    kernel_dtype: Any  # what the kernel is rounded to in products, where it is wider; or None


def promote(
    x: Array, kernel: nnx.Param, bias: nnx.Param | None, *, dtype: Any, result: Any = None
) -> Operands:
    """Bring input and parameters to `dtype`, or to their common one; the bias to the result's.

    Wider parameters of the same kind stay as they are, so that their gradients are not rounded on
    the way to them; it is the operations that round them.
    """
    weights = kernel[...]
    dtype = jnp.dtype(dtype or algorithms.common_dtype(x.dtype, weights.dtype))

    def wide(a: Array, dtype: Any) -> Array:
        return a if algorithms.common_dtype(a.dtype, dtype) == a.dtype else a.astype(dtype)

    weights = wide(weights, dtype)
    offset = None if bias is None else wide(bias[...], result or dtype)
    return Operands(x.astype(dtype), weights, offset, None if weights.dtype == dtype else dtype)


def plus_bias(y: Array, bias: Array | None) -> Array:
    """`add_bias` where there is one."""
    return y if bias is None else ops.add_bias(y, bias)
