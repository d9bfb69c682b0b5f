"""Softmax and losses, with their derivatives."""

import jax
import jax.numpy as jnp

from .._typing import AnyArray, Array
from ._checks import as_array


def softmax_cross_entropy(logits: AnyArray, labels: AnyArray) -> Array:
    """Cross entropy between the softmax of `logits` and the true class.

        C[n] = -log p[n, labels[n]],    p[n,j] = exp(z[n,j]) / Σ_k exp(z[n,k])                 (1)

    Derivative. From C = log Σ_k exp(z[k]) - z[label],

        ∂C/∂z[j] = exp(z[j]) / Σ_k exp(z[k]) - [j = label] = p[j] - [j = label]                (2)

    The gradient is the predicted minus the true probability. It does not vanish where the softmax
    saturates at a wrong class, because the derivative of the logarithm cancels that of the
    exponential. In forward mode C_dot = Σ_j (p[j] - [j = label]) z_dot[j].

    Args:
      logits: Scores z, `(n, classes)`, floating point.
      labels: True classes, `(n,)`, integers in [0, classes).

    Returns:
      Losses `(n,)`, in nats, in the dtype of `logits`. A label out of range gives NaN, because
      traced code cannot raise an error for a value.

    Raises:
      ValueError: The shapes are not `(n, classes)` and `(n,)`.
      TypeError: `logits` are not floating point, or `labels` are not integers.

    Source: (2) is in Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4, and
    M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 3.

    >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))
    Array([1.3862944], dtype=float32)
    """
    function = "softmax_cross_entropy"
    logits, labels = (
        as_array(f"{function}: logits", logits),
        as_array(f"{function}: labels", labels),
    )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{function}: logits must be floating point, got dtype {logits.dtype}.")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{function}: labels must be integers, got dtype {labels.dtype}.")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{function}: logits must be (n, classes) and labels (n,), "
            f"got shapes {logits.shape} and {labels.shape}."
        )
    return _cross_entropy(logits, labels)


@jax.custom_jvp
def _cross_entropy(z: Array, labels: Array) -> Array:
    if not z.shape[-1]:  # no label is in range
        return jnp.full(labels.shape, jnp.nan, z.dtype)
    shifted = z - z.max(axis=-1, keepdims=True)  # (1) stays the same, and exp cannot overflow
    is_true = _one_hot(z, labels)
    true = jnp.where(is_true, shifted, 0).sum(axis=-1)
    loss = jnp.log(jnp.exp(shifted).sum(axis=-1)) - true
    return jnp.where(is_true.any(axis=-1), loss, jnp.nan)


@_cross_entropy.defjvp
def _cross_entropy_jvp(primals, tangents):
    (z, labels), (z_dot, _) = primals, tangents
    delta = softmax(z) - _one_hot(z, labels).astype(z.dtype)  # (2)
    return _cross_entropy(z, labels), (delta * z_dot).sum(axis=-1)


def _one_hot(z: Array, labels: Array) -> Array:
    if labels.dtype.itemsize < 4:  # 8 or 16 bits may be too few for the number of classes
        labels = labels.astype(jnp.int32)
    return labels[:, None] == jnp.arange(z.shape[-1], dtype=labels.dtype)[None]


def softmax(z: AnyArray) -> Array:
    """Turn scores into probabilities.

        p[j] = exp(z[j]) / Σ_k exp(z[k])                                                       (1)
        p_dot[j] = p[j] (z_dot[j] - Σ_k p[k] z_dot[k])         quotient rule                   (2)

    The matrix of (2), diag(p) - p pᵀ, is symmetric, so the VJP has the same form as the JVP.

    Args:
      z: Scores `(..., classes)`, floating point.

    Returns:
      Probabilities of the shape and dtype of `z`. They sum to 1 over the last axis.

    Raises:
      ValueError: `z` has no axis of classes.
      TypeError: `z` is not an array of floating-point numbers.

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs",
    1990; (2) is in Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4.

    >>> softmax(jnp.zeros((1, 4)))
    Array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    z = as_array("softmax: z", z)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"softmax: z must be floating point, got dtype {z.dtype}.")
    if not z.ndim:
        raise ValueError("softmax: z must be (..., classes), got shape ().")
    return _softmax(z)


@jax.custom_jvp
def _softmax(z: Array) -> Array:
    if not z.size:  # nothing has no maximum
        return z
    e = jnp.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    (z,), (z_dot,) = primals, tangents
    p = _softmax(z)
    return p, p * (z_dot - (p * z_dot).sum(axis=-1, keepdims=True))  # softmax (2)


def squared_error(y: AnyArray, target: AnyArray) -> Array:
    """Squared difference, element by element.

        C = (y - t)²,        C_dot = 2 (y - t) (y_dot - t_dot)                                 (1)

    Args:
      y: Prediction y, floating point, any shape.
      target: Target t of the prediction, of the same shape and dtype.

    Returns:
      Array of the shape and dtype of `y`.

    Raises:
      ValueError: The shapes differ.
      TypeError: An operand is not an array of floating-point numbers, or the dtypes differ.

    Source: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors",
    1986, with a factor of one half. (1) leaves the factor out.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
    Array([0., 4.], dtype=float32)
    """
    y, target = as_array("squared_error: y", y), as_array("squared_error: target", target)
    if not jnp.issubdtype(y.dtype, jnp.inexact) or y.dtype != target.dtype:
        raise TypeError(
            "squared_error: y and target must have one floating-point dtype, "
            f"got {y.dtype} and {target.dtype}."
        )
    if y.shape != target.shape:
        raise ValueError(
            "squared_error: y and target must have the same shape, "
            f"got {y.shape} and {target.shape}."
        )
    return _squared_error(y, target)


@jax.custom_jvp
def _squared_error(y: Array, target: Array) -> Array:
    return (y - target) ** 2


@_squared_error.defjvp
def _squared_error_jvp(primals, tangents):
    (y, target), (y_dot, target_dot) = primals, tangents
    return _squared_error(y, target), 2 * (y - target) * (y_dot - target_dot)  # (1)
