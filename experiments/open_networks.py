"""The experiments' networks as named layers, every edge of which `jaxconv.backprop` shows.

    network = open_networks.classifier("standard")
    edges = backpropagate(network, open_networks.parameters_of(model), images, labels)
    edges.delta["conv1"]

Pools come before activations, as in `jaxconv.conv_block`: for activations that don't decrease the
order does not matter, and the pooled map is the smaller one.
"""

from typing import Any

import jax
from flax import nnx

from jaxconv.backprop import (
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    MaxPool,
    Network,
    Reshape,
    SoftmaxCrossEntropy,
    SquaredError,
    Upscale,
)

from .autoencoder import Autoencoder

Parameters = dict[str, dict[str, jax.Array]]


def classifier(name: str, features: int = 32, hidden: int = 256) -> Network:
    """The "standard" or the "modified" network of `experiments.classifier`."""
    trunk = (
        Conv("conv1", features, (5, 5), flip_kernel=True),  # 28 -> 24
        MaxPool("pool1", 2, activation="relu"),  # -> 12
        Conv("conv2", features, (5, 5), flip_kernel=True),  # -> 8
        MaxPool("pool2", 2, activation="relu"),  # -> 4
        Reshape("flat", (-1,)),
        Dropout("dropout1", 0.5),
        Dense("hidden", hidden, activation="relu"),
    )
    branch = (
        Conv("wide", features, (10, 10), flip_kernel=True, after="input"),  # 28 -> 19
        MaxPool("wide_pool", 5, activation="relu"),  # -> 3
        Reshape("wide_flat", (-1,)),
        Concat("joined", after=("hidden", "wide_flat")),
    )
    last = Dropout("dropout2", 0.5), Dense("out", 10)
    middle = {"standard": (), "modified": branch}[name]
    return Network((*trunk, *middle, *last), SoftmaxCrossEntropy())


def autoencoder(
    *, features: int = 32, code_size: int = 256, dropout: float = 0.5, tied: bool = True
) -> Network:
    """The network of `experiments.autoencoder`."""

    def transposed(name, c, convolution, activation):
        owner = convolution if tied else None
        options = {"kernel_of": owner, "flip_kernel": True, "activation": activation}
        return ConvTranspose(name, c, (5, 5), **options)

    layers = (
        Conv("conv1", features, (5, 5), flip_kernel=True),  # 28 -> 24
        MaxPool("pool1", 2, activation="tanh"),  # -> 12
        Conv("conv2", features, (5, 5), flip_kernel=True),  # -> 8
        MaxPool("pool2", 2, activation="tanh"),  # -> 4
        Reshape("flat", (-1,)),
        Dropout("dropout1", dropout),
        Dense("code", code_size, activation="tanh"),
        Dropout("dropout2", dropout),
        Dense("wide", 16 * features, activation="tanh"),
        Reshape("map", (4, 4, features)),
        Upscale("up2", 2),  # -> 8
        transposed("deconv2", features, "conv2", "relu"),  # -> 12
        Upscale("up1", 2),  # -> 24
        transposed("deconv1", 1, "conv1", "relu"),  # -> 28
    )
    return Network(layers, SquaredError())


def parameters_of(model: Any) -> Parameters:
    """The parameters of a model of the experiments, under the names that they have here.

    Args:
      model: What `experiments.classifier`'s networks or `Autoencoder` return, with the layers of
        jaxconv.nn or of baseline.py.
    """
    if isinstance(model, Autoencoder):
        first, second, *_, to_code, _ = model.encode.layers
        _, from_code, *_, deconv2, _, _, deconv1, _ = model.decode.layers
        modules = {"conv1": first, "conv2": second, "code": to_code, "wide": from_code}
        modules |= {"deconv2": deconv2, "deconv1": deconv1}
        tied = deconv1.kernel is first.kernel
    else:
        trunk, _, out = model.layers
        modules, tied = {"out": out}, False
        if hasattr(trunk, "branches"):
            trunk, branch = trunk.branches
            modules["wide"] = branch.layers[0]
        conv1, conv2, _, _, hidden, _ = trunk.layers
        modules |= {"conv1": conv1, "conv2": conv2, "hidden": hidden}
    parameters = {name: _weights(module) for name, module in modules.items()}
    if tied:
        del parameters["deconv1"]["kernel"], parameters["deconv2"]["kernel"]
    return parameters


def _weights(module: nnx.Module) -> dict[str, jax.Array]:
    return {"kernel": module.kernel[...], "bias": module.bias[...]}
