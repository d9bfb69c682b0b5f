"""Dense layers and dropout as modules."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from .. import ops
from .._typing import Array
from ..ops._checks import checked_rate
from ._parameters import Initializer, draw, features, plus_bias, promote


class Linear(nnx.Module):
    """A dense layer: y = x w + bias. See `jaxconv.dense`.

    Args:
      in_features: Number of input features c.
      out_features: Number of output features o.
      use_bias: Add one number for each output feature.
      dtype: dtype to compute in; None means that of input and parameters together.
      param_dtype: dtype of the parameters.
      precision: As for `jaxconv.dense`.
      kernel_init: Initialiser of the weights; Glorot uniform by default.
      bias_init: Initialiser of the bias; zeros by default.
      rngs: Source of random keys; the stream `params` is used.

    Attributes:
      kernel: `nnx.Param` of shape `(c, o)`.
      bias: `nnx.Param` of shape `(o,)`, or None.

    Called with features `(..., c)`, returns `(..., o)`.

    Raises:
      ValueError: A size is below 1.
      TypeError: A size is not an integer.

    Source: `jaxconv.dense`.

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
        kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
        bias_init: Initializer = jax.nn.initializers.zeros,
        rngs: nnx.Rngs,
    ):
        shape = (
            features("Linear: in_features", in_features),
            features("Linear: out_features", out_features),
        )
        self.kernel, self.bias = draw(
            rngs,
            shape,
            out_features,
            use_bias=use_bias,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
        self.dtype = dtype
        self.precision = precision

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = promote(x, self.kernel, self.bias, dtype=self.dtype)
        y = ops.dense(x, kernel, precision=self.precision, kernel_dtype=kernel_dtype)
        return plus_bias(y, bias)


class Dropout(nnx.Module):
    """Dropout with a mask drawn anew for each call. See `jaxconv.dropout`.

    In training (`model.train()`, the initial state) features are left out at random; in evaluation
    (`model.eval()`) the module is the identity.

    Args:
      rate: Probability in [0, 1) with which a feature is left out.
      rngs: Source of random keys; the stream `dropout` is forked, so that adding a layer does not
        change the masks of the others.

    Attributes:
      deterministic: True in evaluation.

    Called with an array of any shape, returns one of the same shape and dtype.

    Raises:
      ValueError: `rate` is not in [0, 1).
      TypeError: `rate` is not a number.

    Source: `jaxconv.dropout`.

    >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
    >>> layer.eval()
    >>> layer(jnp.ones(3))
    Array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, rate: float, *, rngs: nnx.Rngs):
        self.rate = checked_rate("Dropout: rate", rate)
        self.deterministic = False
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Array) -> Array:
        if self.deterministic or not self.rate:
            return x
        keep = jax.random.bernoulli(self.rngs(), 1 - self.rate, x.shape)
        return ops.dropout(x, keep, self.rate)
