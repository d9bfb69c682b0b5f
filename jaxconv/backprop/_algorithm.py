"""Backpropagation in five steps. Every value on the way can be read and replaced."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import AnyArray, Array
from ._layers import Concat, activate, with_transpose
from ._network import INPUT, Network, check_names
from ._weighted import Weighted


class Edges(NamedTuple):
    """Everything that a run of backpropagation computes, by layer name. A pytree.

    Attributes:
      cost: The mean cost of the batch, a scalar of shape `()`.
      z: The weighted input of each layer, of shape `(n, …)`.
      a: The activations of each layer, and the network's input under `"input"`.
      delta: The error δ = ∂C/∂z of each layer, of the shape of z.
      gradients: ∂C/∂kernel and ∂C/∂bias, in the structure of the parameters.
    """

    cost: Array
    z: dict[str, Array]
    a: dict[str, Array]
    delta: dict[str, Array]
    gradients: dict[str, dict[str, Array]]


def backpropagate(
    network: Network,
    parameters: Mapping[str, Mapping[str, AnyArray]],
    x: AnyArray,
    target: AnyArray,
    *,
    masks: Mapping[str, AnyArray] | None = None,
    replace: Mapping[str, Mapping[str, Any]] | None = None,
) -> Edges:
    """Run M. Nielsen's backpropagation algorithm.

        1. Input              a = x
        2. Feedforward        z^l = map^l(a^{l-1}) + b^l,  a^l = σ(z^l)                 for each l
        3. Output error       δ^L = ∂C/∂a^L ⊙ σ'(z^L)                                        (BP1)
        4. Backpropagate      δ^l = (map^{l+1})ᵀ(δ^{l+1}) ⊙ σ'(z^l)                          (BP2)
        5. Gradients          ∂C/∂b^l = Σ δ^l,   ∂C/∂w^l = a^{l-1} ⋆ δ^l                (BP3, BP4)

    For a dense layer, mapᵀ is the product with the transposed matrix. For a convolution it is the
    full convolution with the rotated kernel. For a max pool it sends each error to the largest
    element of its window, and for an upscaling it sums the errors of each block. All of these are
    hand-written rules of the library.

    The function is compiled once for a network and its shapes. Inside a jitted function, edges that
    are not used are not computed.

    Args:
      network: The layers and the cost.
      parameters: For each layer that has parameters, by name, its `"kernel"` and `"bias"`. A layer
        without a `"bias"` adds none.
      x: The input, `(n, …)`.
      target: What the cost takes: labels `(n,)`, or an array of the output's shape.
      masks: For `Dropout` layers, by name, the features to keep. A layer without a mask is the
        identity, as in evaluation.
      replace: Edges to replace, `{"z" | "a" | "delta" | "gradients": {layer: value}}`. A value has
        the shape of the edge that it replaces, and everything computed after it changes. A replaced
        z changes all later activations, the cost, and the slope σ'(z) of the backward pass. A
        replaced a changes all later activations and the cost. In both cases errors still flow back
        through the edge. A replaced δ changes the gradients of its layer and all earlier errors.

    Returns:
      The cost and every z, a, δ and gradient.

    Raises:
      ValueError: Names or shapes do not match the network.
      TypeError: An operand is no array, or dtypes differ.

    Source: M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 2, "The backpropagation
    algorithm"; the maps and their transposes are derived in `jaxconv.derivations`.

    >>> from jaxconv.backprop import Conv, Dense, Reshape, SoftmaxCrossEntropy, initial_parameters
    >>> layers = Conv("conv", 4, (3, 3), activation="relu"), Reshape("flat", (-1,)), Dense("out", 5)
    >>> network = Network(layers, SoftmaxCrossEntropy())
    >>> parameters = initial_parameters(network, jax.random.key(0), (2, 8, 8, 1))
    >>> edges = backpropagate(network, parameters, jnp.ones((2, 8, 8, 1)), jnp.array([3, 0]))
    >>> edges.delta["conv"].shape, edges.gradients["conv"]["kernel"].shape
    ((2, 6, 6, 4), (3, 3, 1, 4))
    """
    masks, replace = masks or {}, replace or {}
    check_names(network, parameters, masks, replace)
    parameters = {name: dict(own) for name, own in parameters.items()}
    replace = {kind: dict(values) for kind, values in replace.items()}
    edges = _five_steps(network, parameters, x, target, dict(masks), replace)
    # A jitted function sorts the dictionaries that it returns. Restore the order of the layers.
    # Where a is z itself, the jitted function returns z only. Returning both would copy it.
    order = [layer.name for layer in network.layers]
    z = {name: edges.z[name] for name in order}
    return Edges(
        edges.cost,
        z,
        {INPUT: jnp.asarray(x)} | {name: edges.a.get(name, z[name]) for name in order},
        {name: edges.delta[name] for name in order},
        {name: edges.gradients[name] for name in order if name in edges.gradients},
    )


@partial(jax.jit, static_argnums=0)
def _five_steps(network, parameters, x, target, masks, replace) -> Edges:
    def edge(kind, name, value):
        """The value of an edge: the computed one, or the one that replaces it."""
        given = replace.get(kind, {}).get(name)
        if given is None:
            return value
        return jax.tree.map(partial(_in_place_of, f"replace[{kind!r}][{name!r}]"), value, given)

    # 1. Input.
    z, a, weights = {}, {INPUT: jnp.asarray(x)}, {}
    transposed, slope = {}, {}  # by layer, from the error of z to that of its input; of a to z

    def into(layer):
        fed = tuple(a[name] for name in network.inputs_of(layer))
        return fed if isinstance(layer, Concat) else fed[0]

    # 2. Feedforward.
    for layer in network.layers:
        name = layer.name
        weights[name] = network.weights_of(layer, parameters, masks)
        computed, transposed[name] = layer.forward(weights[name], into(layer))
        z[name] = edge("z", name, computed)
        activations, slope[name] = activate(layer.activation, z[name])
        a[name] = edge("a", name, activations)

    # 3. Output error: the derivative of the mean cost.
    last = network.layers[-1].name
    cost, back = with_transpose(lambda a: network.cost.of_examples(a, target).mean(), a[last])
    a_bar = {last: back(jnp.ones_like(cost))}

    # 4. Backpropagate the error. Where several layers read the same activations, errors add up.
    delta = {}
    for layer in reversed(network.layers):
        name = layer.name
        if name not in a_bar:  # no layer reads these activations
            a_bar[name] = jnp.zeros_like(a[name])
        delta[name] = edge("delta", name, slope[name](a_bar[name]))
        sources = network.inputs_of(layer)
        if sources == (INPUT,):
            continue
        errors = transposed[name](delta[name])
        errors = errors if isinstance(layer, Concat) else (errors,)
        for source, error in zip(sources, errors, strict=True):
            a_bar[source] = a_bar[source] + error if source in a_bar else error

    # 5. Gradients. That of a shared kernel is the sum over its uses.
    gradients: dict[str, dict[str, Array]] = {name: {} for name in parameters}
    for layer in network.layers:
        name = layer.name
        for what, value in layer.gradients(weights[name], into(layer), delta[name]).items():
            shared = what == "kernel" and isinstance(layer, Weighted)
            own = gradients[layer.kernel_owner if shared else name]
            own[what] = own[what] + value if what in own else value
    gradients = {name: edge("gradients", name, own) for name, own in gradients.items()}
    activated = {name: value for name, value in a.items() if name in z and value is not z[name]}
    return Edges(cost, z, activated, delta, gradients)


def _in_place_of(where: str, value: Array, given: AnyArray) -> Array:
    given = jnp.asarray(given, value.dtype)
    if given.shape != value.shape:
        raise ValueError(
            f"backpropagate: {where} must have the shape {value.shape}, got {given.shape}."
        )
    return given
