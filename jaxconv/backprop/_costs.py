"""Costs of a network's output. Their derivatives are those of the losses of `jaxconv`."""

from dataclasses import dataclass

from .. import ops
from .._typing import Array


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """The cross entropy of the softmax of the output with the true class.

    The target is an array of labels `(n,)`. See `jaxconv.softmax_cross_entropy`, and
    `jaxconv.derivations.output_error` for its derivative.
    """

    def of_examples(self, a: Array, target: Array) -> Array:
        """The cost of each example, of shape `(n,)`."""
        return ops.softmax_cross_entropy(a, target)


@dataclass(frozen=True)
class SquaredError:
    """The squared difference from a target, summed over the elements of an example.

    The target is an array of the output's shape. See `jaxconv.squared_error`.
    """

    def of_examples(self, a: Array, target: Array) -> Array:
        """The cost of each example, of shape `(n,)`."""
        return ops.squared_error(a, target).sum(axis=tuple(range(1, a.ndim)))
