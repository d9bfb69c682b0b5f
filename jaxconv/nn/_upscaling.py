"""Upscaling and pixel shuffles as modules, without parameters."""

from flax import nnx

from .. import ops
from .._geometry import Size
from .._typing import Array


class Upscale(nnx.Module):
    """An enlarged feature map. See `jaxconv.upscale`, whose arguments it takes.

    Args:
      factor, method, align_corners: As for `jaxconv.upscale`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *(factor · spatial),
    c)`; raises what the function raises.

    Source: `jaxconv.upscale`.

    >>> import jax.numpy as jnp
    >>> Upscale(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 8, 12, 3)
    """

    def __init__(self, factor: Size, method: str = "nearest", *, align_corners: bool = False):
        self.factor = factor
        self.method = method
        self.align_corners = align_corners

    def __call__(self, x: Array) -> Array:
        return ops.upscale(x, self.factor, self.method, align_corners=self.align_corners)


class PixelShuffle(nnx.Module):
    """Channels moved into space. See `jaxconv.pixel_shuffle`.

    Args:
      factor: As for `jaxconv.pixel_shuffle`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *(factor · spatial),
    c / factors)`; raises what the function raises.

    Source: `jaxconv.pixel_shuffle`.

    >>> import jax.numpy as jnp
    >>> PixelShuffle(2)(jnp.ones((1, 4, 6, 8))).shape
    (1, 8, 12, 2)
    """

    def __init__(self, factor: Size):
        self.factor = factor

    def __call__(self, x: Array) -> Array:
        return ops.pixel_shuffle(x, self.factor)


class PixelUnshuffle(nnx.Module):
    """Space moved into channels. See `jaxconv.pixel_unshuffle`.

    Args:
      factor: As for `jaxconv.pixel_unshuffle`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *(spatial / factor),
    c · factors)`; raises what the function raises.

    Source: `jaxconv.pixel_unshuffle`.

    >>> import jax.numpy as jnp
    >>> PixelUnshuffle(2)(jnp.ones((1, 4, 6, 3))).shape
    (1, 2, 3, 12)
    """

    def __init__(self, factor: Size):
        self.factor = factor

    def __call__(self, x: Array) -> Array:
        return ops.pixel_unshuffle(x, self.factor)
