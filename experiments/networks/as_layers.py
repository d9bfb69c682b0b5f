"""The networks of the experiments as `jaxconv.backprop` reads them.

    network = as_layers.classifier("standard")
    edges = backpropagate(network, as_layers.parameters_of(model), images, labels)
    edges.delta["conv1"]

The Flax model is the definition. `layers_of` walks it, and each layer keeps its name. A block of
convolution, activation and max pool becomes two layers, such as `conv1` and `pool1` or `wide` and
`wide_pool`, with the pool before the activation: for activations that do not decrease, the order
does not matter, and the pooled map is smaller.
"""

from dataclasses import replace
from typing import Any

import jax
from flax import nnx

from jaxconv import backprop, relu, tanh
from jaxconv import nn as ours

from . import classifiers
from .autoencoders import Autoencoder
from .layers import Layers, Unflatten, named_layers

Parameters = dict[str, dict[str, jax.Array]]


def classifier(name: str, features: int = 32, hidden: int = 256) -> backprop.Network:
    """The "standard" or the "modified" classifier."""

    def build():
        return classifiers.NETWORKS[name](nnx.Rngs(0), features=features, hidden=hidden)

    return backprop.Network(layers_of(nnx.eval_shape(build)), backprop.SoftmaxCrossEntropy())


def autoencoder(
    *, features: int = 32, code_size: int = 256, dropout: float = 0.5, tied: bool = True
) -> backprop.Network:
    """The plain autoencoder."""
    options = {"features": features, "code_size": code_size, "dropout": dropout, "tied": tied}
    model = nnx.eval_shape(lambda: Autoencoder(**options, brightness=0.5, rngs=nnx.Rngs(0)))
    layers = layers_of(Layers(encode=model.encode, decode=model.decode))
    return backprop.Network(layers, backprop.SquaredError())


def layers_of(model: Layers) -> tuple[backprop.Layer, ...]:
    """The layers of `jaxconv.backprop` that compute what a model does.

    Args:
      model: Of the layers of jaxconv.nn, with or without arrays.

    Raises:
      TypeError: A layer has no counterpart.
    """
    layers: list[backprop.Layer] = []
    kernels: dict[int, str] = {}
    for name, layer in model.items():
        _append(layers, kernels, name, layer)
    return tuple(layers)


def _append(layers: list, kernels: dict[int, str], name: str, layer: Any) -> None:
    match layer:
        case Layers():
            for inner, each in layer.items():
                _append(layers, kernels, inner, each)
        case ours.Concat():
            fed_by, ends = layers[-1].name if layers else "input", []
            for branch in layer.branches:
                start = len(layers)
                _append(layers, kernels, name, branch)
                layers[start] = replace(layers[start], after=fed_by if start else None)
                ends.append(layers[-1].name)
            layers.append(backprop.Concat(name, after=tuple(ends)))
        case ours.ConvTranspose():
            owner, flip = kernels.get(id(layer.kernel)), layer.options["flip_kernel"]
            window, features = tuple(layer.kernel.shape[:-2]), layer.bias.shape[0]
            layers.append(
                backprop.ConvTranspose(name, features, window, kernel_of=owner, flip_kernel=flip)
            )
        case ours.ConvBlock():
            kernels[id(layer.kernel)] = name
            *window, _, features = layer.kernel.shape
            flip, pooled = layer.options["flip_kernel"], tuple(layer.pool["window_shape"])
            pool = name.replace("conv", "pool") if "conv" in name else f"{name}_pool"
            layers.append(backprop.Conv(name, features, tuple(window), flip_kernel=flip))
            layers.append(backprop.MaxPool(pool, pooled, activation=layer.pool["activation"]))
        case ours.Linear():
            layers.append(backprop.Dense(name, layer.kernel.shape[-1]))
        case ours.Dropout():
            layers.append(backprop.Dropout(name, layer.rate))
        case ours.Flatten():
            layers.append(backprop.Reshape(name, (-1,)))
        case Unflatten():
            layers.append(backprop.Reshape(name, layer.shape))
        case ours.Upscale():
            layers.append(backprop.Upscale(name, layer.options["factor"]))
        case _ if layer is relu or layer is tanh:
            layers[-1] = replace(layers[-1], activation="relu" if layer is relu else "tanh")
        case _:
            raise TypeError(f"{name}: {type(layer).__name__} has no counterpart in backprop.")


def parameters_of(model: nnx.Module) -> Parameters:
    """The parameters of a model by the names of its layers. A shared kernel belongs to the first.

    Args:
      model: A classifier or an `Autoencoder`, of the layers of jaxconv.nn or of `plain`.
    """
    found: Parameters = {}
    seen: set[int] = set()
    for name, layer in named_layers(model):
        for kind in ("kernel", "bias"):
            parameter = getattr(layer, kind, None)
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                found.setdefault(name, {})[kind] = parameter[...]
    return found
