"""Pooling and upscaling as modules, without parameters."""

from flax import nnx

from .. import ops
from .._geometry import Padding, Size
from .._typing import Array


class MaxPool(nnx.Module):
    """The largest element of each window. See `jaxconv.max_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation: As for `jaxconv.max_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.max_pool`.

    >>> import jax.numpy as jnp
    >>> MaxPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
    ):
        self.window_shape = window_shape
        self.strides = strides
        self.padding = padding
        self.window_dilation = window_dilation

    def __call__(self, x: Array) -> Array:
        return ops.max_pool(
            x, self.window_shape, self.strides, self.padding, window_dilation=self.window_dilation
        )


class AvgPool(nnx.Module):
    """The mean of each window. See `jaxconv.avg_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, count_include_pad: As for `jaxconv.avg_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.avg_pool`.

    >>> import jax.numpy as jnp
    >>> AvgPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        count_include_pad: bool = True,
    ):
        self.window_shape = window_shape
        self.strides = strides
        self.padding = padding
        self.window_dilation = window_dilation
        self.count_include_pad = count_include_pad

    def __call__(self, x: Array) -> Array:
        return ops.avg_pool(
            x,
            self.window_shape,
            self.strides,
            self.padding,
            window_dilation=self.window_dilation,
            count_include_pad=self.count_include_pad,
        )


class Upscale(nnx.Module):
    """Each pixel repeated over a block. See `jaxconv.upscale`, whose arguments it takes.

    Args:
      factor, method: As for `jaxconv.upscale`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *(factor · spatial),
    c)`; raises what the function raises.

    Source: `jaxconv.upscale`.

    >>> import jax.numpy as jnp
    >>> Upscale(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 8, 12, 3)
    """

    def __init__(self, factor: Size, method: str = "nearest"):
        self.factor = factor
        self.method = method

    def __call__(self, x: Array) -> Array:
        return ops.upscale(x, self.factor, self.method)
