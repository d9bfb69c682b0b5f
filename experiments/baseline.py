"""The layers of the classifier in plain Flax and lax, differentiated by `jax.grad`.

The comparison for epoch times (`python -m experiments.classifier --gradients autodiff`): the same
network, the same loop, but every derivative comes from JAX's own transpose rules. Each layer has
the signature of its namesake in `jaxconv.nn`, as far as the classifier uses it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx

relu = nnx.relu

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
    """Convolution, bias, relu and max pool, one after the other."""

    def __init__(self, *args, window_shape, **options):
        super().__init__(*args, **options)
        self.window_shape = window_shape

    def __call__(self, x):
        return nnx.max_pool(relu(super().__call__(x)), self.window_shape, self.window_shape)


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
