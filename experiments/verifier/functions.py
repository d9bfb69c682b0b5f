"""The functions whose gradients are made wrong; small, so that a check takes a moment."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def conv(x, kernel, strides=1, padding="SAME", dilation=1, groups=1):
    """A convolution over two spatial axes."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=CHANNELS_LAST,
        feature_group_count=groups,
    )


def conv_transpose(x, kernel):
    """A transposed convolution of stride 2."""
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=CHANNELS_LAST)


def rotated(kernel):
    """The kernel with its window reversed and its channel axes exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def windows(x, reducer, start, strides=2, window=2, padding="VALID"):
    """A reduction over windows of a feature map."""
    return lax.reduce_window(
        x, start, reducer, (1, window, window, 1), (1, strides, strides, 1), padding
    )


def max_pool(x):
    """The maximum of each 2×2 block. At a tie JAX gives the gradient to the first element."""
    return windows(x, lax.max, -jnp.inf)


def avg_pool(x):
    """The mean of each 2×2 block."""
    return windows(x, lax.add, 0.0) / 4


def batch_norm(x, gain, bias):
    """Normalise each channel over batch and positions, then scale and shift it."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = ((x - mean) ** 2).mean(axes)
    return gain * (x - mean) / jnp.sqrt(variance + 1e-3) + bias


def layer_norm(x, gain, bias):
    """Normalise each position over its channels, then scale and shift it."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return gain * (x - mean) / jnp.sqrt(variance + 1e-3) + bias


def rms_norm(x, gain):
    """Divide each position by the root mean square of its channels, then scale it."""
    return gain * x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def softmax(z):
    """The softmax of scores, without overflow."""
    e = jnp.exp(z - lax.stop_gradient(z.max(-1, keepdims=True)))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v):
    """Scaled dot-product attention over `(n, positions, channels)`."""
    scores = jnp.einsum("nqc,nkc->nqk", q, k) / q.shape[-1] ** 0.5
    return jnp.einsum("nqk,nkc->nqc", softmax(scores), v)


def cross_entropy(logits, labels):
    """Mean cross-entropy of scores `(n, classes)` and true classes `(n,)`."""
    top = lax.stop_gradient(logits.max(-1, keepdims=True))
    total = jnp.log(jnp.exp(logits - top).sum(-1)) + top[:, 0]
    return (total - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]).mean()


def squared_error(y, target):
    """Mean squared error."""
    return ((y - target) ** 2).mean()


def huber(y, target):
    """The mean Huber loss: quadratic near the target, linear further away."""
    gap = jnp.abs(y - target)
    return jnp.where(gap < 1, gap**2 / 2, gap - 0.5).mean()


def binary_cross_entropy(z, target):
    """Mean binary cross-entropy of scores, without overflow."""
    return (jnp.maximum(z, 0) - z * target + jnp.log1p(jnp.exp(-jnp.abs(z)))).mean()


def deep(x, kernel):
    """Twelve convolutions with tanh between."""
    for _ in range(12):
        x = jnp.tanh(conv(x, kernel))
    return x


def with_vjp(f, rule):
    """`f` with a reverse rule of its own.

    `rule(true, args, y_bar)` returns the cotangents of the arguments; `true` are the right ones.
    """

    @jax.custom_vjp
    def function(*args):
        return f(*args)

    def backward(args, y_bar):
        return tuple(rule(jax.vjp(f, *args)[1](y_bar), args, y_bar))

    function.defvjp(lambda *args: (f(*args), args), backward)
    return function


def with_jvp(f, rule):
    """`f` with a forward rule of its own.

    `rule(true, args, dots)` returns the tangent of the result; `true` is the right one.
    """

    @jax.custom_jvp
    def function(*args):
        return f(*args)

    @function.defjvp
    def _(args, dots):
        y, y_dot = jax.jvp(f, args, dots)
        return y, rule(y_dot, args, dots)

    return function


strided_conv = partial(conv, strides=2)
dilated_conv = partial(conv, dilation=2)

# The positions of the arguments in each of which a function is linear.
LINEAR_IN = {
    **dict.fromkeys((conv, strided_conv, dilated_conv, conv_transpose), (0, 1)),
    avg_pool: (0,),
}


def hints(f):
    """The options of `check_gradients` that say in which arguments a function is linear."""
    return {"linear_in": LINEAR_IN[f]} if f in LINEAR_IN else {}
