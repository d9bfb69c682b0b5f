"""What every module with parameters does: check sizes, draw them, promote dtypes, add a bias."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx

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


def promote(
    x: Array, kernel: nnx.Param, bias: nnx.Param | None, *, dtype: Any
) -> tuple[Array, Array, Array | None]:
    """Bring input and parameters to `dtype`, or to their common one."""
    weights = kernel[...]
    offset = None if bias is None else bias[...]
    dtype = dtype or jnp.result_type(x, weights)
    return x.astype(dtype), weights.astype(dtype), None if offset is None else offset.astype(dtype)


def add_bias(y: Array, bias: Array | None) -> Array:
    """y[n,p,o] + b[o]; the error of b[o] is the sum of the errors of its channel."""
    return y if bias is None else y + bias
