"""The vector-Jacobian product of a layer, as a layer."""

from collections.abc import Callable

import jax
from flax import nnx

from .._typing import Array


class Inverse(nnx.Module):
    """The vector-Jacobian product of a layer with respect to its input, as a layer.

        x_bar = Jᵀ y,   J = ∂layer(x)/∂x                                                       (1)

    For a convolution, (1) is the transposed convolution with the same kernel. For max pooling it is
    the unpooling that puts each value back where the maximum was. For average pooling it spreads
    each value over its window, for upscaling it sums over blocks, and for a dense layer it is the
    product with the transposed matrix. A decoder made of the inverses of an encoder's layers shares
    the encoder's parameters. Biases do not take part.

    The name is the field's. The layer is a transpose and inverts nothing.

    Called with `y`, of the shape of the layer's output, and `x`, the input at which the layer was
    called, it returns an array like `x`. For a linear layer only the shape and dtype of `x` matter.

    Args:
      layer: A module, or any function of one array, whose result depends on its input and its
        parameters only. It is shared, not copied.

    Raises:
      TypeError: `layer` cannot be called.
      ValueError: `y` does not have the shape and dtype of the layer's output.

    Source: `InverseLayer` of Lasagne. (1) is the map whose derivation each operation of `jaxconv`
    has in its docstring.

    >>> from jaxconv import nn
    >>> pool = nn.MaxPool(2)
    >>> x = jax.numpy.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> Inverse(pool)(pool(x), x)[0, ..., 0]
    Array([[0., 0.],
           [4., 0.]], dtype=float32)
    """

    def __init__(self, layer: Callable[[Array], Array]):
        if not callable(layer):
            raise TypeError(f"Inverse: layer must be callable, got {type(layer).__name__}.")
        self.layer = layer

    def __call__(self, y: Array, x: Array) -> Array:
        out, pull_back = jax.vjp(lambda x: self.layer(x), x)
        if (y.shape, y.dtype) != (out.shape, out.dtype):
            raise ValueError(
                f"Inverse: y must be like the layer's output, {out.dtype} of shape {out.shape}, "
                f"got {y.dtype} of shape {y.shape}."
            )
        (x_bar,) = pull_back(y)  # (1)
        return x_bar
