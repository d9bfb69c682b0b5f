"""What the modules with a kernel share: drawing parameters, promoting dtypes, adding a bias."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from .. import algorithms, ops
from .._typing import Array
from ..ops._checks import check_flag
from ..ops._operands import canonical_dtype

Initializer: TypeAlias = Callable[..., Any]

glorot_uniform = jax.nn.initializers.glorot_uniform()
zeros = jax.nn.initializers.zeros


class Operands(NamedTuple):
    """What a layer computes with.

    Attributes:
      x: The input, in the layer's dtype.
      kernel: The kernel, in the layer's dtype or a wider one.
      bias: The bias, in the result's dtype or a wider one; or None.
      kernel_dtype: The dtype that products round the kernel to; None where it has that dtype.
    """

    x: Array
    kernel: Array
    bias: Array | None
    kernel_dtype: Any


class Weighted(nnx.Module):
    """A module with a kernel and, unless `use_bias` is False, a bias."""

    def __init__(
        self,
        kernel_shape: Sequence[int],
        bias_size: int,
        *,
        use_bias: bool,
        dtype: Any,
        param_dtype: Any,
        kernel_init: Initializer,
        bias_init: Initializer,
        rngs: nnx.Rngs,
    ):
        check_flag(f"{type(self).__name__}: use_bias", use_bias)
        for option, value in (("dtype", dtype), ("param_dtype", param_dtype)):
            canonical_dtype(f"{type(self).__name__}: {option}", value)
        self.kernel = nnx.Param(kernel_init(rngs.params(), tuple(kernel_shape), param_dtype))
        bias = nnx.Param(bias_init(rngs.params(), (bias_size,), param_dtype)) if use_bias else None
        self.bias = nnx.data(bias)
        self.dtype = dtype

    def operands(self, x: Array, result_dtype: Any = None) -> Operands:
        """Bring input and parameters to `self.dtype`, or to their common dtype.

        The bias goes to the dtype of the result. Wider parameters of the same kind keep their
        dtype, and the operation rounds them. A cast here would round their gradients, too.
        """
        kernel = self.kernel[...]
        dtype = jnp.dtype(self.dtype or algorithms.common_dtype(x.dtype, kernel.dtype))

        def at_least(a: Array, dtype: Any) -> Array:
            return a if algorithms.common_dtype(a.dtype, dtype) == a.dtype else a.astype(dtype)

        kernel = at_least(kernel, dtype)
        bias = None if self.bias is None else at_least(self.bias[...], result_dtype or dtype)
        return Operands(x.astype(dtype), kernel, bias, None if kernel.dtype == dtype else dtype)


def plus_bias(y: Array, bias: Array | None) -> Array:
    """Add a bias, if there is one."""
    return y if bias is None else ops.add_bias(y, bias)
