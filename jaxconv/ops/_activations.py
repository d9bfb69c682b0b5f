"""Activations: the pieces that are not linear, each with its derivative spelled out."""

import jax
import jax.numpy as jnp

from .._forms import broadcast_batch, linear_pair
from .._typing import AnyArray, Array
from ._checks import as_array, checked_rate


def relu(x: AnyArray) -> Array:
    """Rectify: keep what is positive.

        y = max(x, 0),        y_dot = [x > 0] x_dot                                            (1)

    The derivative at 0, where there is none, is 0, one of the subgradients. A NaN is kept, and (1)
    sends its gradient nowhere else. For the reverse pass only the sign of `x` is remembered.

    Args:
      x: Array of real numbers, any shape.

    Returns:
      Array of the shape and dtype of `x`.

    Raises:
      TypeError: `x` is no array of real numbers.

    Source: Glorot, Bordes & Bengio, "Deep sparse rectifier neural networks", AISTATS 2011.

    >>> relu(jnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    x = as_array("relu: x", x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError("relu: x must be real, complex numbers have no sign.")
    return _relu(x)


@jax.custom_jvp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    positive = ~(x <= 0)  # so that a NaN passes its gradient on instead of hiding it
    return _relu(x), scale_kept(x_dot, positive, scale=1.0)  # (1)


def tanh(x: AnyArray) -> Array:
    """Hyperbolic tangent.

        y = tanh(x),        y_dot = (1 - y²) x_dot                                             (1)

    (1) is written in terms of the output, which the next layer keeps anyway.

    Args:
      x: Array of floating-point numbers, any shape.

    Returns:
      Array of the shape and dtype of `x`, in (-1, 1).

    Raises:
      TypeError: `x` is no array of floating-point numbers.

    Source: as an activation LeCun, Bottou, Orr & Müller, "Efficient BackProp", 1998; (1) is in any
    table of derivatives.

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
    y = _tanh(x)  # not jnp.tanh: the second derivative differentiates (1), too
    return y, (1 - y) * (1 + y) * x_dot  # (1), without the cancellation of 1 - y² near |y| = 1


def dropout(x: AnyArray, keep: AnyArray, rate: float) -> Array:
    """Silence the features that a mask leaves out, and scale up the others.

        y = keep · x / (1 - rate)                                                              (1)

    With `keep` drawn so that it is 1 with probability 1 - rate, the mean of y is x. Given the mask,
    (1) is linear and symmetric, hence its own transpose: errors take the paths that the signals
    took.

    Args:
      x: Array of floating-point numbers, any shape.
      keep: Mask of booleans, of the shape of `x`.
      rate: Probability in [0, 1) with which features were left out of the mask.

    Returns:
      Array of the shape and dtype of `x`.

    Raises:
      ValueError: The shapes differ, or `rate` is not in [0, 1).
      TypeError: `x` is no array of floating-point numbers, `keep` not one of booleans, or `rate` no
        number.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout", JMLR 15, 2014; the
    scaling is moved to the training pass, so that evaluation is the identity.

    >>> dropout(jnp.ones(3), jnp.array([True, False, True]), rate=0.5)
    Array([2., 0., 2.], dtype=float32)
    """
    x = as_array("dropout: x", x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"dropout: x must be floating point, got dtype {x.dtype}.")
    if not (hasattr(keep, "dtype") and jnp.issubdtype(keep.dtype, jnp.bool_)):
        raise TypeError(f"dropout: keep must be an array of booleans, got {keep!r}.")
    if keep.shape != x.shape:
        raise ValueError(f"dropout: keep must have the shape of x, {x.shape}, got {keep.shape}.")
    rate = checked_rate("dropout: rate", rate)
    return scale_kept(x, jnp.asarray(keep), scale=1 / (1 - rate))


def _scale_kept(x, keep, *, scale):
    return jnp.where(keep, x * jnp.asarray(scale, x.dtype), jnp.zeros((), x.dtype))  # dropout (1)


def _same_shape(slot, x, keep, **_):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


# A fixed mask, one bool an element; also relu's derivative, whose mask is the sign of its input.
scale_kept, _ = linear_pair(
    "jaxconv_scale_kept", _scale_kept, _scale_kept, result=_same_shape, batch=broadcast_batch
)
