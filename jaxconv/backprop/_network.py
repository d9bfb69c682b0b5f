"""A network: named layers, the connections between them, and a cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array
from ._costs import SoftmaxCrossEntropy, SquaredError
from ._layers import ACTIVATIONS, Concat, Dropout, Layer
from ._weighted import Weighted

INPUT = "input"


@dataclass(frozen=True)
class Network:
    """Layers in the order in which they run, and the cost of the last layer's activations.

    The cost of a batch is the mean over its examples.

    Args:
      layers: Layers of `jaxconv.backprop`. The input of a layer is the output of the layer before
        it, unless its `after` names others.
      cost: `SoftmaxCrossEntropy()` or `SquaredError()`.

    Raises:
      ValueError: There is no layer, a name is used twice, `after` or `kernel_of` names no earlier
        layer, `after` names several for a layer that takes one, or an activation is unknown.
      TypeError: An option of a layer is not hashable, for example a list.

    >>> from jaxconv.backprop import Conv, Dense, MaxPool, Reshape
    >>> network = Network(
    ...     (
    ...         Conv("conv", 8, (5, 5), activation="relu"),
    ...         MaxPool("pool", 2),
    ...         Reshape("flat", (-1,)),
    ...         Dense("out", 10),
    ...     ),
    ...     SoftmaxCrossEntropy(),
    ... )
    >>> [network.inputs_of(layer) for layer in network.layers[:2]]
    [('input',), ('conv',)]
    """

    layers: tuple[Layer, ...]
    cost: SoftmaxCrossEntropy | SquaredError

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        seen: dict[str, Layer | None] = {INPUT: None}
        for layer in self.layers:
            _check_layer(layer, seen, self.inputs_of(layer))
            seen[layer.name] = layer
        if not self.layers:
            raise ValueError("Network: needs at least one layer.")

    def inputs_of(self, layer: Layer) -> tuple[str, ...]:
        """The names of the layers that feed a layer."""
        if isinstance(layer.after, tuple):
            return layer.after
        if layer.after is not None:
            return (layer.after,)
        position = self.layers.index(layer)
        return (self.layers[position - 1].name if position else INPUT,)

    def weights_of(
        self, layer: Layer, parameters: Mapping[str, Any], masks: Mapping[str, Any]
    ) -> dict[str, Array]:
        """The arrays that a layer's map depends on besides its input."""
        weights = dict(parameters.get(layer.name, {}))
        if isinstance(layer, Weighted):
            weights["kernel"] = parameters[layer.kernel_owner]["kernel"]
        if layer.name in masks:
            weights["mask"] = masks[layer.name]
        return weights


def _check_layer(layer: Layer, seen: Mapping[str, Layer | None], inputs: Sequence[str]) -> None:
    what = f"Network: layer {layer.name!r}"
    try:
        hash(layer)
    except TypeError as error:
        raise TypeError(f"{what}: options must be hashable, tuples for lists: {error}.") from None
    if layer.name in seen:
        raise ValueError(f"{what}: the name is used twice.")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(
            f"{what}: activation must be one of {tuple(ACTIVATIONS)}, got {layer.activation!r}."
        )
    if not inputs or (len(inputs) > 1 and not isinstance(layer, Concat)):
        several = "one layer or more" if isinstance(layer, Concat) else "one layer; see Concat"
        raise ValueError(f"{what}: after must name {several}, got {inputs}.")
    for name in inputs:
        if name not in seen:
            raise ValueError(f"{what}: its input {name!r} is no layer before it.")
    if isinstance(layer, Weighted) and layer.kernel_owner != layer.name:
        owner = seen.get(layer.kernel_owner)
        if not isinstance(owner, Weighted) or owner.kernel_owner != owner.name:
            raise ValueError(
                f"{what}: kernel_of must name an earlier layer with a kernel of its own, "
                f"got {layer.kernel_owner!r}."
            )


def initial_parameters(
    network: Network, key: Array, input_shape: tuple[int, ...], dtype: jax.typing.DTypeLike = float
) -> dict[str, dict[str, Array]]:
    """Draw kernels from Glorot's uniform distribution, and set biases to zero.

    Args:
      network: The network.
      key: A random key.
      input_shape: Shape `(n, *spatial, c)` of the input. Any n will do.
      dtype: The dtype of the parameters.

    Returns:
      For each layer that has parameters, by name, its `"kernel"`, unless it is shared, and its
      `"bias"`.

    Raises:
      ValueError: A layer cannot take the shape that the layer before it returns.
      TypeError: `dtype` is no dtype that a layer can take.

    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    >>> from jaxconv.backprop import Dense
    >>> network = Network((Dense("out", 10),), SoftmaxCrossEntropy())
    >>> parameters = initial_parameters(network, jax.random.key(0), (1, 4))
    >>> parameters["out"]["kernel"].shape
    (4, 10)
    """
    glorot = jax.nn.initializers.glorot_uniform()
    parameters: dict[str, dict[str, Array]] = {}
    dtype = jnp.zeros((), dtype).dtype
    fed = {INPUT: jax.ShapeDtypeStruct(input_shape, dtype)}
    keys = jax.random.split(key, len(network.layers))
    for layer, own_key in zip(network.layers, keys, strict=True):
        inputs = tuple(fed[name] for name in network.inputs_of(layer))
        if isinstance(layer, Weighted):
            own = parameters[layer.name] = {"bias": jnp.zeros(layer.features, dtype)}
            if layer.kernel_owner == layer.name:
                own["kernel"] = glorot(own_key, layer.kernel_shape(inputs[0].shape), dtype)
        weights = network.weights_of(layer, parameters, {})
        a = inputs if isinstance(layer, Concat) else inputs[0]
        fed[layer.name] = jax.eval_shape(lambda w, a, f=layer.forward: f(w, a)[0], weights, a)
    return parameters


def check_names(
    network: Network,
    parameters: Mapping[str, Any],
    masks: Mapping[str, Any],
    replace: Mapping[str, Any],
) -> None:
    """Check the names of parameters, masks and replaced edges against the network.

    Raises:
      ValueError: A name is unknown, or parameters are missing.
    """
    function = "backpropagate"
    weighted = {layer.name for layer in network.layers if isinstance(layer, Weighted)}
    if set(parameters) != weighted:
        raise ValueError(
            f"{function}: parameters must be those of {sorted(weighted)}, got {sorted(parameters)}."
        )
    dropping = {layer.name for layer in network.layers if isinstance(layer, Dropout)}
    if not set(masks) <= dropping:
        raise ValueError(
            f"{function}: masks must name Dropout layers, {sorted(dropping)}, got {sorted(masks)}."
        )
    named = {layer.name for layer in network.layers}
    edges = {"z": named, "a": named, "delta": named, "gradients": weighted}
    for kind, values in replace.items():
        if kind not in edges:
            raise ValueError(
                f"{function}: replace must name edges among {tuple(edges)}, got {kind!r}."
            )
        if not set(values) <= edges[kind]:
            raise ValueError(
                f"{function}: replace[{kind!r}] must name layers among {sorted(edges[kind])}, "
                f"got {sorted(values)}."
            )
