"""Pools that are given the size of their result, as modules without parameters."""

from .. import ops
from .._arguments import Size
from ._stateless import Stateless


class GlobalAvgPool(Stateless):
    """The mean of each channel. See `jaxconv.global_avg_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns `(n, c)`.

    The gradient is derived in `jaxconv.global_avg_pool`.

    >>> import jax.numpy as jnp
    >>> GlobalAvgPool()(jnp.ones((1, 4, 6, 3))).shape
    (1, 3)
    """

    _function = staticmethod(ops.global_avg_pool)

    def __init__(self):
        super().__init__()


class GlobalMaxPool(Stateless):
    """The largest element of each channel. See `jaxconv.global_max_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns `(n, c)`.

    Args:
      ties: As in `jaxconv.global_max_pool`.

    The gradient is derived in `jaxconv.global_max_pool`.

    >>> import jax.numpy as jnp
    >>> GlobalMaxPool()(jnp.ones((1, 4, 6, 3))).shape
    (1, 3)
    """

    _function = staticmethod(ops.global_max_pool)

    def __init__(self, *, ties: str = "first"):
        super().__init__(ties=ties)


class AdaptiveAvgPool(Stateless):
    """The means of the parts of a map. See `jaxconv.adaptive_avg_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns `(n, *output_size, c)`.

    Args:
      output_size: As in `jaxconv.adaptive_avg_pool`.

    The gradient is derived in `jaxconv.adaptive_avg_pool`.

    >>> import jax.numpy as jnp
    >>> AdaptiveAvgPool(3)(jnp.ones((1, 4, 6, 3))).shape
    (1, 3, 3, 3)
    """

    _function = staticmethod(ops.adaptive_avg_pool)

    def __init__(self, output_size: Size):
        super().__init__(output_size=output_size)


class AdaptiveMaxPool(Stateless):
    """The largest elements of the parts of a map. See `jaxconv.adaptive_max_pool`.

    Called with a feature map `(n, *spatial, c)`, it returns `(n, *output_size, c)`.

    Args:
      output_size: As in `jaxconv.adaptive_max_pool`.

    The gradient is derived in `jaxconv.adaptive_max_pool`.

    >>> import jax.numpy as jnp
    >>> AdaptiveMaxPool(3)(jnp.ones((1, 4, 6, 3))).shape
    (1, 3, 3, 3)
    """

    _function = staticmethod(ops.adaptive_max_pool)

    def __init__(self, output_size: Size):
        super().__init__(output_size=output_size)
