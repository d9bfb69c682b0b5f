"""The layers of the experiments in plain Flax and lax, differentiated by `jax.grad`.

The comparison for epoch times (`python -m experiments.classifier --gradients autodiff`) and for
steps (`python -m experiments.benchmark --suite step`): the same network, the same loop, but every
derivative comes from JAX's own transpose rules. Each layer has the signature of its namesake in
`jaxconv.nn`, as far as the classifier and the tied autoencoder use it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx

relu = nnx.relu
tanh = nnx.tanh

_glorot = nnx.initializers.glorot_uniform()


class Conv(nnx.Conv):
    """`flax.nnx.Conv` without padding."""

    def __init__(self, in_features, out_features, kernel_size, *, flip_kernel=False, rngs):
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            padding="VALID",
            kernel_init=_glorot,
            conv_general_dilated=_true_convolution if flip_kernel else jax.lax.conv_general_dilated,
            rngs=rngs,
        )


def _true_convolution(x, kernel, *args, **kwargs):
    return jax.lax.conv_general_dilated(x, kernel[::-1, ::-1], *args, **kwargs)


class ConvBlock(Conv):
    """Convolution, bias, activation and max pool, one after the other."""

    def __init__(self, *args, window_shape, activation="relu", **options):
        super().__init__(*args, **options)
        self.window_shape = window_shape
        self.activate = {"relu": relu, "tanh": jnp.tanh}[activation]

    def __call__(self, x):
        y = self.activate(super().__call__(x))
        return nnx.max_pool(y, self.window_shape, self.window_shape)


class ConvTranspose(nnx.Module):
    """The adjoint of a `Conv` that has `flip_kernel`, sharing its kernel."""

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
    """Each pixel repeated over a block."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        for axis, factor in enumerate(self.factor, start=1):
            x = jnp.repeat(x, factor, axis=axis)
        return x


class Flatten(nnx.Module):
    """From `(n, h, w, c)` to `(n, h w c)`."""

    def __call__(self, x):
        return x.reshape(len(x), -1)


class Concat(nnx.Module):
    """The outputs of several branches of one input, side by side."""

    def __init__(self, *branches):
        self.branches = nnx.List(branches)

    def __call__(self, x):
        return jnp.concatenate([branch(x) for branch in self.branches], axis=-1)


class Linear(nnx.Linear):
    """`flax.nnx.Linear` with Glorot's initialisation."""

    def __init__(self, in_features, out_features, *, rngs):
        super().__init__(in_features, out_features, kernel_init=_glorot, rngs=rngs)


Dropout = nnx.Dropout


def with_optax_loss(score):
    """The classifier's score, with optax's cross entropy in place of ours."""
    return partial(score, cross_entropy=optax.softmax_cross_entropy_with_integer_labels)
