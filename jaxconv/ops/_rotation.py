"""The rotation by 180° that carries errors back."""

import jax.numpy as jnp
from jax import lax

from .._typing import AnyArray, Array
from ._checks import as_array


def rotate_kernel(kernel: AnyArray) -> Array:
    """Turn a kernel by 180° and exchange its channel axes.

        k_rot[r,o,c] = k[R-1-r, c, o]                                                          (1)

    The kernel with which `conv_input_vjp` convolves, see there for the reason. (1) permutes the
    elements, so it is its own inverse, and its transpose is (1) again.

    Args:
      kernel: Kernel `(*window, c, o)`.

    Returns:
      Kernel `(*window, o, c)`, of the same dtype.

    Raises:
      ValueError: `kernel` has fewer than two axes.
      TypeError: `kernel` is no array of numbers.

    Source: derived in `conv_input_vjp`.

    >>> rotate_kernel(jnp.arange(6.0).reshape(2, 3, 1, 1))[..., 0, 0]
    Array([[5., 4., 3.],
           [2., 1., 0.]], dtype=float32)
    """
    kernel = as_array("rotate_kernel: kernel", kernel)
    if kernel.ndim < 2:
        raise ValueError(
            f"rotate_kernel: kernel must be (*window, c, o), got shape {kernel.shape}."
        )
    return jnp.swapaxes(lax.rev(kernel, range(kernel.ndim - 2)), -2, -1)
