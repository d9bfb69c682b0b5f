"""Pooling as modules, without parameters."""

from typing import Any

from flax import nnx

from .. import ops
from .._geometry import Padding, Size, listed
from .._typing import Array


class _Windows(nnx.Module):
    """Where the windows of a pool lie; sizes as lists, not arrays, which NNX would trace."""

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None,
        padding: Padding,
        window_dilation: Size,
        ceil_mode: bool,
    ):
        self.window_shape = listed(window_shape)
        self.strides = listed(strides)
        self.padding = listed(padding)
        self.window_dilation = listed(window_dilation)
        self.ceil_mode = ceil_mode

    def _options(self) -> dict[str, Any]:
        return {"window_dilation": self.window_dilation, "ceil_mode": self.ceil_mode}


class MaxPool(_Windows):
    """The largest element of each window. See `jaxconv.max_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, ceil_mode, ties: As for `jaxconv.max_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.max_pool`.

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
        super().__init__(window_shape, strides, padding, window_dilation, ceil_mode)
        self.ties = ties

    def __call__(self, x: Array) -> Array:
        options = (self.window_shape, self.strides, self.padding)
        return self._function(x, *options, **self._options(), ties=self.ties)


class MinPool(MaxPool):
    """The smallest element of each window. See `jaxconv.min_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, ceil_mode, ties: As for `jaxconv.min_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.min_pool`.

    >>> import jax.numpy as jnp
    >>> MinPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    _function = staticmethod(ops.min_pool)


class SumPool(_Windows):
    """The sum of each window. See `jaxconv.sum_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, ceil_mode: As for `jaxconv.sum_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.sum_pool`.

    >>> import jax.numpy as jnp
    >>> SumPool(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

    def __init__(
        self,
        window_shape: Size,
        strides: Size | None = None,
        padding: Padding = "VALID",
        *,
        window_dilation: Size = 1,
        ceil_mode: bool = False,
    ):
        super().__init__(window_shape, strides, padding, window_dilation, ceil_mode)

    def __call__(self, x: Array) -> Array:
        return ops.sum_pool(x, self.window_shape, self.strides, self.padding, **self._options())


class AvgPool(_Windows):
    """The mean of each window. See `jaxconv.avg_pool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, ceil_mode, count_include_pad: As for
        `jaxconv.avg_pool`.

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
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(window_shape, strides, padding, window_dilation, ceil_mode)
        self.count_include_pad = count_include_pad

    def __call__(self, x: Array) -> Array:
        return ops.avg_pool(
            x,
            self.window_shape,
            self.strides,
            self.padding,
            **self._options(),
            count_include_pad=self.count_include_pad,
        )


class LpPool(_Windows):
    """The p-norm of each window. See `jaxconv.lp_pool`, whose arguments it takes.

    Args:
      p, window_shape, strides, padding, window_dilation, ceil_mode: As for `jaxconv.lp_pool`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, c)`; raises
    what the function raises.

    Source: `jaxconv.lp_pool`.

    >>> import jax.numpy as jnp
    >>> LpPool(2, 2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 3)
    """

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
        super().__init__(window_shape, strides, padding, window_dilation, ceil_mode)
        self.p = p

    def __call__(self, x: Array) -> Array:
        options = (self.window_shape, self.strides, self.padding)
        return ops.lp_pool(x, self.p, *options, **self._options())


class MaxUnpool(_Windows):
    """Maxima put back where they were. See `jaxconv.max_unpool`, whose arguments it takes.

    Args:
      window_shape, strides, padding, window_dilation, ceil_mode, output_size, overlap,
        check_argmax: As for `jaxconv.max_unpool`; the first five are those of the pool.

    Called with a pooled map `(n, *pooled, c)` and the argmax of `jaxconv.max_pool_with_argmax`,
    returns a feature map `(n, *output_size, c)`; raises what the function raises.

    Source: `jaxconv.max_unpool`.

    >>> import jax.numpy as jnp
    >>> y, argmax = ops.max_pool_with_argmax(jnp.ones((1, 4, 6, 3)), 2)
    >>> MaxUnpool(2)(y, argmax).shape
    (1, 4, 6, 3)
    """

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
        super().__init__(window_shape, strides, padding, window_dilation, ceil_mode)
        self.output_size = output_size
        self.overlap = overlap
        self.check_argmax = check_argmax

    def __call__(self, y: Array, argmax: Array) -> Array:
        return ops.max_unpool(
            y,
            argmax,
            self.window_shape,
            self.strides,
            self.padding,
            **self._options(),
            output_size=self.output_size,
            overlap=self.overlap,
            check_argmax=self.check_argmax,
        )
