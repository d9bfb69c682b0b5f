"""Pools that state the size of their result, as modules without parameters."""

from flax import nnx

from .. import ops
from .._geometry import Size
from .._typing import Array


class GlobalAvgPool(nnx.Module):
    """The mean of each channel. See `jaxconv.global_avg_pool`.

    Called with a feature map `(n, *spatial, c)`, returns `(n, c)`; raises what the function raises.

    Source: `jaxconv.global_avg_pool`.

    >>> import jax.numpy as jnp
    >>> GlobalAvgPool()(jnp.ones((1, 4, 6, 3))).shape
    (1, 3)
    """

    def __call__(self, x: Array) -> Array:
        return ops.global_avg_pool(x)


class GlobalMaxPool(nnx.Module):
    """The largest element of each channel. See `jaxconv.global_max_pool`.

    Args:
      ties: As for `jaxconv.global_max_pool`.

    Called with a feature map `(n, *spatial, c)`, returns `(n, c)`; raises what the function raises.

    Source: `jaxconv.global_max_pool`.

    >>> import jax.numpy as jnp
    >>> GlobalMaxPool()(jnp.ones((1, 4, 6, 3))).shape
    (1, 3)
    """

    def __init__(self, *, ties: str = "first"):
        self.ties = ties

    def __call__(self, x: Array) -> Array:
        return ops.global_max_pool(x, ties=self.ties)


class AdaptiveAvgPool(nnx.Module):
    """Means over parts of a map. See `jaxconv.adaptive_avg_pool`.

    Args:
      output_size: As for `jaxconv.adaptive_avg_pool`.

    Called with a feature map `(n, *spatial, c)`, returns `(n, *output_size, c)`; raises what the
    function raises.

    Source: `jaxconv.adaptive_avg_pool`.

    >>> import jax.numpy as jnp
    >>> AdaptiveAvgPool(3)(jnp.ones((1, 4, 6, 3))).shape
    (1, 3, 3, 3)
    """

    def __init__(self, output_size: Size):
        self.output_size = output_size

    def __call__(self, x: Array) -> Array:
        return ops.adaptive_avg_pool(x, self.output_size)


class AdaptiveMaxPool(nnx.Module):
    """The largest elements of parts of a map. See `jaxconv.adaptive_max_pool`.

    Args:
      output_size: As for `jaxconv.adaptive_max_pool`.

    Called with a feature map `(n, *spatial, c)`, returns `(n, *output_size, c)`; raises what the
    function raises.

    Source: `jaxconv.adaptive_max_pool`.

    >>> import jax.numpy as jnp
    >>> AdaptiveMaxPool(3)(jnp.ones((1, 4, 6, 3))).shape
    (1, 3, 3, 3)
    """

    def __init__(self, output_size: Size):
        self.output_size = output_size

    def __call__(self, x: Array) -> Array:
        return ops.adaptive_max_pool(x, self.output_size)
