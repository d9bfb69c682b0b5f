"""Upscaling and pixel shuffles as modules, without parameters."""

from .. import ops
from .._arguments import Size
from ._stateless import Stateless


class Upscale(Stateless):
    """Enlarge a feature map. See `jaxconv.upscale`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape
    `(n, *(factor · spatial), c)`.

    Args:
      factor: As in `jaxconv.upscale`.
      method: As in `jaxconv.upscale`.
      align_corners: As in `jaxconv.upscale`.

    The gradient is derived in `jaxconv.upscale`.

    >>> import jax.numpy as jnp
    >>> Upscale(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 8, 12, 3)
    """

    _function = staticmethod(ops.upscale)

    def __init__(self, factor: Size, method: str = "nearest", *, align_corners: bool = False):
        super().__init__(factor=factor, method=method, align_corners=align_corners)


class PixelShuffle(Stateless):
    """Move channels into space. See `jaxconv.pixel_shuffle`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape
    `(n, *(factor · spatial), c / factors)`, where `factors` is the product over the axes.

    Args:
      factor: As in `jaxconv.pixel_shuffle`.

    The gradient is derived in `jaxconv.pixel_shuffle`.

    >>> import jax.numpy as jnp
    >>> PixelShuffle(2)(jnp.ones((1, 4, 6, 8))).shape
    (1, 8, 12, 2)
    """

    _function = staticmethod(ops.pixel_shuffle)

    def __init__(self, factor: Size):
        super().__init__(factor=factor)


class PixelUnshuffle(Stateless):
    """Move space into channels. See `jaxconv.pixel_unshuffle`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape
    `(n, *(spatial / factor), c · factors)`, where `factors` is the product over the axes.

    Args:
      factor: As in `jaxconv.pixel_unshuffle`.

    The gradient is derived in `jaxconv.pixel_unshuffle`.

    >>> import jax.numpy as jnp
    >>> PixelUnshuffle(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 12)
    """

    _function = staticmethod(ops.pixel_unshuffle)

    def __init__(self, factor: Size):
        super().__init__(factor=factor)
