"""Activations and dropout, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import AnyArray, Array
from ..forms import axis_by_axis, broadcast_batch, linear_pair
from ._checks import as_array, checked_rate


def relu(x: AnyArray) -> Array:
    """Rectify: keep the positive elements and replace the others by 0.

        y = max(x, 0),        y_dot = [x > 0] x_dot                                            (1)

    At 0 the derivative does not exist, and (1) uses the subgradient 0. A NaN in `x` is kept, and
    the gradient of its element passes through unchanged. The reverse pass keeps one bool for each
    element, x > 0.

    Args:
      x: Array of real numbers, any shape.

    Returns:
      Array of the shape and dtype of `x`.

    Raises:
      TypeError: `x` is not an array of real numbers.

    Source: Glorot, Bordes & Bengio, "Deep sparse rectifier neural networks", AISTATS 2011.

    >>> relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    x = as_array("relu: x", x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(
            f"relu: x must be real because complex numbers have no sign, got {x.dtype}."
        )
    return _relu(x)


@jax.custom_jvp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    positive = ~(x <= 0)  # True for NaN, unlike x > 0: a gradient of 0 would hide the NaN
    return _relu(x), scale_kept(x_dot, positive, scale=1.0)  # (1)


def tanh(x: AnyArray) -> Array:
    """Hyperbolic tangent.

        y = tanh(x),        y_dot = (1 - y²) x_dot                                             (1)

    (1) uses the output y instead of x. The next layer usually keeps y for its own gradient, so (1)
    needs no further memory.

    Args:
      x: Array of floating-point numbers, any shape.

    Returns:
      Array of the shape and dtype of `x`, in (-1, 1).

    Raises:
      TypeError: `x` is not an array of floating-point numbers.

    Source: LeCun, Bottou, Orr & Müller, "Efficient BackProp", 1998, for tanh as an activation.

    >>> tanh(jnp.array([0.0]))
    Array([0.], dtype=float32)
    """
    x = as_array("tanh: x", x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"tanh: x must be floating point, got dtype {x.dtype}.")
    return _tanh(x)


@jax.custom_jvp
def _tanh(x: Array) -> Array:
    return jnp.tanh(x)


@_tanh.defjvp
def _tanh_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y = _tanh(x)  # not jnp.tanh, so that the second derivative uses (1), too
    return y, (1 - y) * (1 + y) * x_dot  # (1); 1 - y² would lose digits near |y| = 1


def dropout(x: AnyArray, keep: AnyArray, rate: float) -> Array:
    """Set the elements that a mask leaves out to 0, and scale up the others.

        y = keep · x / (1 - rate)                                                              (1)

    If `keep` is 1 with probability 1 - rate, the mean of y is x. For a fixed mask (1) is linear and
    symmetric, so it is its own transpose: the gradient is masked and scaled as the features are.

    Args:
      x: Array of floating-point numbers, any shape.
      keep: Mask of booleans, of the shape of `x`; False sets an element to 0.
      rate: Probability in [0, 1) with which an element of the mask is False.

    Returns:
      Array of the shape and dtype of `x`.

    Raises:
      ValueError: The shapes differ, or `rate` is not in [0, 1).
      TypeError: `x` is not an array of floating-point numbers, `keep` is not an array of booleans,
        or `rate` is not a number.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout", JMLR 15, 2014.
    They scale at evaluation. (1) scales during training, so that evaluation is the identity.

    >>> dropout(jnp.ones(3), jnp.array([True, False, True]), rate=0.5)
    Array([2., 0., 2.], dtype=float32)
    """
    x = as_array("dropout: x", x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"dropout: x must be floating point, got dtype {x.dtype}.")
    if not (isinstance(keep, jax.Array | np.ndarray | np.generic) and keep.dtype == bool):
        raise TypeError(f"dropout: keep must be an array of booleans, got {keep!r}.")
    if keep.shape != x.shape:
        raise ValueError(f"dropout: keep must have the shape of x, {x.shape}, got {keep.shape}.")
    rate = checked_rate("dropout: rate", rate)
    return scale_kept(x, jnp.asarray(keep), scale=1 / (1 - rate))


def _scale_kept(x, keep, *, scale):
    return jnp.where(keep, x * jnp.asarray(scale, x.dtype), jnp.zeros((), x.dtype))  # dropout (1)


def _same_shape(slot, x, keep, **_):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


# A linear map with a fixed mask of one bool for each element. It computes dropout, and the
# derivative of relu with the mask x > 0.
scale_kept, _ = linear_pair(
    _scale_kept,
    _scale_kept,
    name="jaxconv_scale_kept",
    result=_same_shape,
    batch=broadcast_batch,
    shard=axis_by_axis,
)
