"""The dense layer as a module."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax

from .. import ops
from .._arguments import integer
from .._typing import Array
from ._parameters import Initializer, Weighted, glorot_uniform, plus_bias, zeros


class Linear(Weighted):
    """A dense layer: y = x kernel + bias. See `jaxconv.dense`.

    Flax's `Linear` has the same parameters. This one multiplies with `jaxconv.dense`: it computes
    in bfloat16 without rounding the gradients of float32 parameters, and `jaxconv.explain` lists
    its products. Called with features `(..., c)`, it returns `(..., o)`.

    Args:
      in_features: Number of input features c.
      out_features: Number of output features o.
      use_bias: Whether to add a bias, one value for each output feature.
      dtype: The dtype to compute in. None means the common dtype of input and parameters. Products
        round wider parameters to it; the gradients of these are not rounded.
      param_dtype: The dtype of the parameters.
      precision: As in `jaxconv.dense`.
      kernel_init: Initialiser of the kernel. The default is Glorot's uniform distribution.
      bias_init: Initialiser of the bias. The default is zeros.
      rngs: Source of random keys; the stream `params` is used.

    Attributes:
      kernel: `nnx.Param` of shape `(c, o)`.
      bias: `nnx.Param` of shape `(o,)`, or None.

    Raises:
      ValueError: A size is below 1.
      TypeError: A size is not an integer, or an option has the wrong type.

    The gradients are derived in `jaxconv.dense`.

    >>> Linear(3, 4, rngs=nnx.Rngs(0))(jnp.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: lax.PrecisionLike = None,
        kernel_init: Initializer = glorot_uniform,
        bias_init: Initializer = zeros,
        rngs: nnx.Rngs,
    ):
        c = integer(in_features, "Linear: in_features")
        o = integer(out_features, "Linear: out_features")
        super().__init__(
            (c, o),
            o,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            rngs=rngs,
        )
        self.precision = precision

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = self.operands(x)
        y = ops.dense(x, kernel, precision=self.precision, kernel_dtype=kernel_dtype)
        return plus_bias(y, bias)
