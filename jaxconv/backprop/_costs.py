"""Costs: a number for each example, and the error of the network's output."""

from dataclasses import dataclass

import jax.numpy as jnp

from .. import ops
from .._typing import Array


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """The cross entropy of the softmax of the output, with labels. See
    `jaxconv.softmax_cross_entropy`.

    The target is an array of labels `(n,)`.

    Source: derived in `jaxconv.derivations.output_error`.
    """

    def cost(self, a: Array, target: Array) -> Array:
        """The cost of each example, `(n,)`."""
        return ops.softmax_cross_entropy(a, target)

    def error(self, a: Array, target: Array) -> Array:
        """Its derivative by the output: what was predicted minus what is true."""
        truth = target[:, None] == jnp.arange(a.shape[-1])
        return ops.softmax(a) - truth.astype(a.dtype)


@dataclass(frozen=True)
class SquaredError:
    """The squared difference from a target, summed over all that an example has.

    The target is an array of the output's shape.

    Source: derived in `jaxconv.squared_error`.
    """

    def cost(self, a: Array, target: Array) -> Array:
        """The cost of each example, `(n,)`."""
        return ops.squared_error(a, target).sum(axis=tuple(range(1, a.ndim)))

    def error(self, a: Array, target: Array) -> Array:
        """Its derivative by the output."""
        return 2 * (a - target)
