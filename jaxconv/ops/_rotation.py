"""The rotated kernel: its window is reversed and its channel axes are exchanged."""

import jax.numpy as jnp
from jax import lax

from .._typing import AnyArray, Array
from ._checks import as_array


def rotate_kernel(kernel: AnyArray) -> Array:
    """Rotate a kernel by 180° and exchange its channel axes.

        k_rot[r,o,c] = k[R-1-r, c, o]                                                          (1)

    The gradient of a convolution's input is a convolution with this kernel. The reason is derived
    in `conv_input_vjp`. (1) is a permutation of the elements and its own inverse, so its transpose
    is (1), too.

    Args:
      kernel: Kernel `(*window, c, o)`.

    Returns:
      Kernel `(*window, o, c)`, of the same dtype.

    Raises:
      ValueError: `kernel` has fewer than two axes.
      TypeError: `kernel` is not an array of numbers.

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
