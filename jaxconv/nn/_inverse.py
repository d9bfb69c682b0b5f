"""A layer run backwards: what carries its errors, as a layer of its own."""

from collections.abc import Callable

import jax
from flax import nnx

from .._typing import Array


class Inverse(nnx.Module):
    """The vector-Jacobian product of a layer with respect to its input, as a layer.

        x_bar = Jᵀ y,   J = ∂layer(x)/∂x                                                       (1)

    For a convolution (1) is the transposed convolution with the same kernel, for max pooling the
    unpooling that puts each value back where the largest was, for average pooling and upscaling the
    spreading and the sum, for a dense layer the transposed matrix. A decoder made of the inverses
    of an encoder's layers is tied to it: there is one set of parameters. Biases do not take part,
    and despite its name in the field, the layer inverts nothing.

    Args:
      layer: A module, or any function of one array, that depends on its input and its parameters
        alone; it is shared, not copied.

    Called with `y`, of the shape of the layer's output, and `x`, the input at which the layer was
    called (for linear layers only its shape and dtype matter), returns an array like `x`.

    Raises:
      TypeError: `layer` cannot be called.
      ValueError: `y` does not have the shape and dtype of the layer's output.

    Source: `InverseLayer` of Lasagne; (1) is what every rule of `jaxconv` computes.

    >>> from jaxconv import nn
    >>> pool = nn.MaxPool(2)
    >>> x = jax.numpy.array([[1.0, 2.0], [4.0, 3.0]]).reshape(1, 2, 2, 1)
    >>> Inverse(pool)(pool(x), x)[0, ..., 0]
    Array([[0., 0.],
           [4., 0.]], dtype=float32)
    """

    def __init__(self, layer: Callable[[Array], Array]):
        if not callable(layer):
            raise TypeError(f"Inverse: layer must be a layer, got {type(layer).__name__}.")
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
