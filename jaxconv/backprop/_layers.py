"""What a layer is: a map from activations to z, and an activation function.

A layer computes z = map(a) + b from the activations a of the layer before it, and then a = σ(z).
Together with z it returns the transposed map, which carries the error of z back to the error of a.
Maps and transposed maps are operations of `jaxconv`. Where an operation's transpose has no name of
its own, `jax.vjp` of that one operation is it, by the rule that the operation states.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from .. import ops
from .._typing import Array

Weights: TypeAlias = Mapping[str, Array]  # "kernel" and "bias", where the layer has them
Transpose: TypeAlias = Callable[[Array], Any]  # from the error of z to that of a


def _identity(z: Array) -> Array:
    return z


ACTIVATIONS = {None: _identity, "relu": ops.relu, "tanh": ops.tanh}


def activate(activation: str | None, z: Array) -> tuple[Array, Transpose]:
    """σ(z), and the product with the slope σ'(z), which is its own transpose."""
    if activation is None:
        return z, _identity
    return with_transpose(ACTIVATIONS[activation], z)


def with_transpose(f: Callable[[Array], Array], a: Array) -> tuple[Array, Transpose]:
    """`f(a)`, and the transpose of the derivative of `f` at `a`."""
    value, pull_back = jax.vjp(f, a)
    return value, lambda error: pull_back(error)[0]


@dataclass(frozen=True)
class Layer(ABC):
    """What all layers share: a name, an activation function, and the source of the input.

    Attributes:
      name: The name under which z, a, δ and gradients are found.
      activation: `"relu"`, `"tanh"` or None.
      after: The name of the layer whose activations come in. None means the layer before, and
        `"input"` means the network's input.
    """

    name: str
    activation: str | None = field(default=None, kw_only=True)
    after: str | tuple[str, ...] | None = field(default=None, kw_only=True)

    @abstractmethod
    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        """The layer's z, and the transposed map."""

    def gradients(self, weights: Weights, a: Any, delta: Array) -> dict[str, Array]:
        """The derivatives of the cost by the layer's weights. By default there are none."""
        return {}


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout with a mask that is given for each run. See `jaxconv.dropout`.

    Without a mask the layer is the identity.

    Attributes:
      rate: The probability with which a feature was left out when the mask was drawn.
    """

    rate: float

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        if "mask" not in weights:
            return a, _identity

        def kept(features):
            return ops.dropout(features, weights["mask"], self.rate)

        return kept(a), kept  # symmetric: it is its own transpose


@dataclass(frozen=True)
class Reshape(Layer):
    """Another shape for each example. `(-1,)` flattens a feature map.

    Attributes:
      shape: The shape of an example.
    """

    shape: tuple[int, ...]

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        return a.reshape(len(a), *self.shape), lambda error: error.reshape(a.shape)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function alone: z is the input."""

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        return a, _identity


@dataclass(frozen=True)
class Concat(Layer):
    """The activations of several layers, concatenated along the channels.

    Attributes:
      after: The names of the layers.
    """

    after: tuple[str, ...] = field(kw_only=True)

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        ends = [sum(part.shape[-1] for part in a[: i + 1]) for i in range(len(a) - 1)]
        return jnp.concatenate(a, axis=-1), lambda error: jnp.split(error, ends, axis=-1)
