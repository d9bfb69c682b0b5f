"""The layers of the experiments in plain Flax and lax, differentiated by `jax.grad`.

`python -m experiments.classifier --gradients autodiff` and `python -m experiments.benchmark
--suite step` compare with them: the network and the loop are the same, but every derivative comes
from JAX's transpose rules. Each layer has the signature of its namesake in `jaxconv.nn`, as far as
the classifiers and the tied autoencoder use it. `Concat` and `Flatten`, which have no derivatives
of their own, are those of `jaxconv.nn`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxconv.nn import Concat as Concat
from jaxconv.nn import Flatten as Flatten

relu = nnx.relu
tanh = nnx.tanh

_glorot = nnx.initializers.glorot_uniform()


class Conv(nnx.Conv):
    """`flax.nnx.Conv`, by default without padding."""

    def __init__(
        self, in_features, out_features, kernel_size, *, padding="VALID", flip_kernel=False, rngs
    ):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            padding=padding,
            kernel_init=_glorot,
            conv_general_dilated=_true_convolution if flip_kernel else jax.lax.conv_general_dilated,
            rngs=rngs,
        )


def _true_convolution(x, kernel, *args, **kwargs):
    return jax.lax.conv_general_dilated(x, kernel[::-1, ::-1], *args, **kwargs)


class ConvBlock(Conv):
    """Convolution, bias, activation and max pool."""

    def __init__(self, *args, window_shape, activation="relu", **options):
        super().__init__(*args, **options)
        self.window_shape = window_shape
        self.activate = {"relu": relu, "tanh": jnp.tanh}[activation]

    def __call__(self, x):
        y = self.activate(super().__call__(x))
        return nnx.max_pool(y, self.window_shape, self.window_shape)


class MaxPool(nnx.Module):
    """The largest element of each window; windows do not overlap."""

    def __init__(self, window_shape):
        self.window_shape = window_shape

    def __call__(self, x):
        return nnx.max_pool(x, self.window_shape, self.window_shape)


class GlobalAvgPool(nnx.Module):
    """The mean of each channel."""

    def __call__(self, x):
        return x.mean(axis=(1, 2))


class ConvTranspose(nnx.Module):
    """The adjoint of a `Conv` with `flip_kernel=True`. Both share one kernel."""

    def __init__(self, convolution, *, bias_init):
        self.kernel = convolution.kernel
        key, features = jax.random.key(0), (convolution.in_features,)
        self.bias = nnx.Param(bias_init(key, features, jnp.float32))

    @classmethod
    def tied(cls, convolution, *, bias_init=nnx.initializers.zeros):
        return cls(convolution, bias_init=bias_init)

    def __call__(self, x):
        kernel = self.kernel[...][::-1, ::-1]
        y = jax.lax.conv_transpose(x, kernel, (1, 1), "VALID", transpose_kernel=True)
        return y + self.bias[...]


class Upscale(nnx.Module):
    """Nearest-neighbour upscaling."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        for axis, factor in enumerate(self.factor, start=1):
            x = jnp.repeat(x, factor, axis=axis)
        return x


class Linear(nnx.Linear):
    """`flax.nnx.Linear` with Glorot's initialiser."""

    def __init__(self, in_features, out_features, *, rngs):
        super().__init__(in_features, out_features, kernel_init=_glorot, rngs=rngs)


Dropout = nnx.Dropout


def with_optax_loss(score):
    """The classifier's score with Optax's cross entropy."""
    return partial(score, cross_entropy=optax.softmax_cross_entropy_with_integer_labels)
