"""What a layer is: a map, linear once its choices are made, and an activation.

Every layer computes z = map(a) + b from the activations a of the layer before it, and a = σ(z). The
hand-written transposes of the map carry errors back and find gradients; none is left to autodiff.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax.numpy as jnp

from .. import ops
from .._typing import Array

Weights: TypeAlias = Mapping[str, Array]  # "kernel" and "bias", those that a layer has


def _keep(z, a, a_bar):
    return a_bar


def _back_through_relu(z, a, a_bar):
    return jnp.where(z <= 0, jnp.zeros((), a_bar.dtype), a_bar)  # [z > 0], and a NaN passes


def _back_through_tanh(z, a, a_bar):
    return (1 - a) * (1 + a) * a_bar


# σ, and the error of z from that of a: δ = a_bar ⊙ σ'(z).
ACTIVATIONS = {
    None: (lambda z: z, _keep),
    "relu": (ops.relu, _back_through_relu),
    "tanh": (ops.tanh, _back_through_tanh),
}


@dataclass(frozen=True)
class Layer(ABC):
    """What all layers share: a name, an activation, and where the input comes from.

    Attributes:
      name: What z, a, δ and gradients are called by.
      activation: "relu", "tanh" or None.
      after: Name of the layer whose activations come in; None means the one before, and "input"
        the network's input.
    """

    name: str
    activation: str | None = field(default=None, kw_only=True)
    after: str | tuple[str, ...] | None = field(default=None, kw_only=True)

    @abstractmethod
    def forward(self, weights: Weights, a: Any) -> tuple[Array, Any]:
        """z of the layer, and what else the way back needs to know."""

    @abstractmethod
    def back(self, weights: Weights, a: Any, memory: Any, delta: Array) -> Any:
        """The transpose of the map: the error of the incoming activations."""

    def gradients(self, weights: Weights, a: Any, delta: Array) -> dict[str, Array]:
        """The derivatives of the cost by the layer's weights; by default it has none."""
        return {}


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout with a mask that is given for each run, or the identity. See `jaxconv.dropout`.

    Attributes:
      rate: Probability with which features were left out of the mask.
    """

    rate: float

    def forward(self, weights, a):
        return (ops.dropout(a, weights["mask"], self.rate) if "mask" in weights else a), None

    def back(self, weights, a, memory, delta):
        return self.forward(weights, delta)[0]  # its own transpose


@dataclass(frozen=True)
class Reshape(Layer):
    """Another shape for each example: `(-1,)` flattens a feature map.

    Attributes:
      shape: Shape of an example.
    """

    shape: tuple[int, ...]

    def forward(self, weights, a):
        return a.reshape(len(a), *self.shape), None

    def back(self, weights, a, memory, delta):
        return delta.reshape(a.shape)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation alone; z is what comes in."""

    def forward(self, weights, a):
        return a, None

    def back(self, weights, a, memory, delta):
        return delta


@dataclass(frozen=True)
class Concat(Layer):
    """The activations of several layers side by side, channels behind channels.

    Attributes:
      after: The names of the layers.
    """

    after: tuple[str, ...] = field(kw_only=True)

    def forward(self, weights, a):
        return jnp.concatenate(a, axis=-1), None

    def back(self, weights, a, memory, delta):
        ends = [sum(part.shape[-1] for part in a[: i + 1]) for i in range(len(a) - 1)]
        return jnp.split(delta, ends, axis=-1)
