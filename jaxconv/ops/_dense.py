"""The dense layer: a convolution without spatial axes."""

import math
from typing import Any

from jax import lax

from .._spec import Slot
from .._typing import AnyArray, Array
from ._checks import as_array
from ._convolution import convolve
from ._options import ConvOptions


def dense(
    x: AnyArray,
    kernel: AnyArray,
    *,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    kernel_dtype: Any = None,
) -> Array:
    """Multiply feature vectors with a weight matrix.

        y[n,o] = Σ_c x[n,c] w[c,o]                                                             (1)

    This is `conv` without spatial axes: one position and one tap, and (T) is Σ x[n,c] w[c,o]
    y[n,o]. Backpropagation through a dense layer needs the other two contractions:

        x_bar[n,c] = Σ_o w[c,o] y_bar[n,o]         the transposed matrix; nothing to rotate    (2)
        w_bar[c,o] = Σ_n x[n,c] y_bar[n,o]         a sum over the examples                     (3)

    Args:
      x: Features `(..., c)`; all leading axes count examples.
      kernel: Weights `(c, o)`, of the dtype of `x`.
      precision: As in `jax.lax.dot`.
      preferred_element_type: Dtype of the result, as in `conv`.
      kernel_dtype: Dtype that the weights are rounded to before products, as in `conv`.

    Returns:
      Features `(..., o)`, in the dtype of `x` or in `preferred_element_type`.

    Raises:
      ValueError: Ranks or channels do not match.
      TypeError: An operand is not an array, or dtypes differ.

    Source: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
    1986; (2) and (3) are BP2 and BP4 of M. Nielsen, "Neural Networks and Deep Learning", 2015,
    chapter 2.

    >>> import jax.numpy as jnp
    >>> dense(jnp.ones((2, 3)), jnp.ones((3, 4))).shape
    (2, 4)
    """
    options = ConvOptions(
        function="dense",
        precision=precision,
        preferred_element_type=preferred_element_type,
        kernel_dtype=kernel_dtype,
    )
    x, kernel = as_array("dense: x", x), as_array("dense: kernel", kernel)
    if x.ndim < 1 or kernel.ndim != 2 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            "dense: x must be (..., c) and kernel (c, o) with the same c, "
            f"got shapes {x.shape} and {kernel.shape}."
        )
    *examples, c = x.shape
    rows = options.operand(Slot.INPUT, "x", x.reshape(math.prod(examples), c))
    y = convolve(options, rows, options.operand(Slot.KERNEL, "kernel", kernel))
    return y.reshape(*examples, kernel.shape[1])
