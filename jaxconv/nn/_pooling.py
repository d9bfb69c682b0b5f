"""Pools and unpooling as modules, without parameters."""

from .. import ops
from .._arguments import Padding, Size
from ._stateless import Stateless


class MaxPool(Stateless):
    """The largest element of each window. See `jaxconv.max_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, c)`.

    Args:
      window_shape: As in `jaxconv.max_pool`.
      strides: As in `jaxconv.max_pool`.
      padding: As in `jaxconv.max_pool`.
      window_dilation: As in `jaxconv.max_pool`.
      ceil_mode: As in `jaxconv.max_pool`.
      ties: As in `jaxconv.max_pool`.

    The gradient is derived in `jaxconv.max_pool`.

    >>> import jax.numpy as jnp
    >>> MaxPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.max_pool)

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
        ties: str = "first",
    ):
        super().__init__(
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
            ties=ties,
        )


class MinPool(Stateless):
    """The smallest element of each window. See `jaxconv.min_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, c)`.

    Args:
      window_shape: As in `jaxconv.min_pool`.
      strides: As in `jaxconv.min_pool`.
      padding: As in `jaxconv.min_pool`.
      window_dilation: As in `jaxconv.min_pool`.
      ceil_mode: As in `jaxconv.min_pool`.
      ties: As in `jaxconv.min_pool`.

    The gradient is derived in `jaxconv.min_pool`.

    >>> import jax.numpy as jnp
    >>> MinPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.min_pool)

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
        ties: str = "first",
    ):
        super().__init__(
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
            ties=ties,
        )


class SumPool(Stateless):
    """The sum of each window. See `jaxconv.sum_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, c)`.

    Args:
      window_shape: As in `jaxconv.sum_pool`.
      strides: As in `jaxconv.sum_pool`.
      padding: As in `jaxconv.sum_pool`.
      window_dilation: As in `jaxconv.sum_pool`.
      ceil_mode: As in `jaxconv.sum_pool`.

    The gradient is derived in `jaxconv.sum_pool`.

    >>> import jax.numpy as jnp
    >>> SumPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.sum_pool)

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
    ):
        super().__init__(
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
        )


class AvgPool(Stateless):
    """The mean of each window. See `jaxconv.avg_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, c)`.

    Args:
      window_shape: As in `jaxconv.avg_pool`.
      strides: As in `jaxconv.avg_pool`.
      padding: As in `jaxconv.avg_pool`.
      window_dilation: As in `jaxconv.avg_pool`.
      ceil_mode: As in `jaxconv.avg_pool`.
      count_include_pad: As in `jaxconv.avg_pool`.

    The gradient is derived in `jaxconv.avg_pool`.

    >>> import jax.numpy as jnp
    >>> AvgPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.avg_pool)

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class LpPool(Stateless):
    """The p-norm of each window. See `jaxconv.lp_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, c)`.

    Args:
      p: As in `jaxconv.lp_pool`.
      window_shape: As in `jaxconv.lp_pool`.
      strides: As in `jaxconv.lp_pool`.
      padding: As in `jaxconv.lp_pool`.
      window_dilation: As in `jaxconv.lp_pool`.
      ceil_mode: As in `jaxconv.lp_pool`.

    The gradient is derived in `jaxconv.lp_pool`.

    >>> import jax.numpy as jnp
    >>> LpPool(2, 2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.lp_pool)

    def __init__(
        self,
        p: int | float,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
    ):
        super().__init__(
            p=p,
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
        )


class MaxUnpool(Stateless):
    """Put maxima back to where they were. See `jaxconv.max_unpool`.

    Called with a pooled map `(n, *pooled, c)` and the argmax of `jaxconv.max_pool_with_argmax`, it
    returns a feature map `(n, *output_size, c)`. The options of the windows are those of the pool.

    Args:
      window_shape: As in `jaxconv.max_unpool`.
      strides: As in `jaxconv.max_unpool`.
      padding: As in `jaxconv.max_unpool`.
      window_dilation: As in `jaxconv.max_unpool`.
      ceil_mode: As in `jaxconv.max_unpool`.
      output_size: As in `jaxconv.max_unpool`.
      overlap: As in `jaxconv.max_unpool`.
      check_argmax: As in `jaxconv.max_unpool`.

    The gradient is derived in `jaxconv.max_unpool`.

    >>> import jax.numpy as jnp
    >>> y, argmax = ops.max_pool_with_argmax(jnp.ones((1, 4, 6, 3)), 2)
    >>> MaxUnpool(2)(y, argmax).shape
    (1, 4, 6, 3)
    """

    _function = staticmethod(ops.max_unpool)

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
        output_size: tuple[int, ...] | None = None,
        overlap: str = "sum",
        check_argmax: bool = False,
    ):
        super().__init__(
            window_shape=window_shape,
            strides=strides,
            padding=padding,
            window_dilation=window_dilation,
            ceil_mode=ceil_mode,
            output_size=output_size,
            overlap=overlap,
            check_argmax=check_argmax,
        )
