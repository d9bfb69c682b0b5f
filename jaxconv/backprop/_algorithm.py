"""Backpropagation in five steps, every edge of the graph open to inspection and replacement."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import AnyArray, Array
from ._layers import ACTIVATIONS, Concat
from ._network import INPUT, Network, check_names
from ._weighted import Weighted


class Edges(NamedTuple):
    """All that a run of backpropagation computes, by layer name. A pytree.

    Attributes:
      cost: The mean cost of the batch, a scalar of shape `()`.
      z: Weighted inputs, of each layer `(n, …)`.
      a: Activations, those of "input" among them.
      delta: Errors δ = ∂C/∂z, of the shape of z.
      gradients: ∂C/∂kernel and ∂C/∂bias, like the parameters.
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

    For a dense layer mapᵀ is the transposed matrix; for a convolution it is the full convolution
    with the rotated kernel; a max pool's sends errors to the winners, an upscaling's adds them up.
    All are the library's hand-written maps: nothing here is left to automatic differentiation.

    Compiled once for a network and shapes. Whoever calls this inside a jitted function of their own
    and uses only some of the edges pays for no others.

    Args:
      network: The layers and the cost.
      parameters: For each layer that has some, by name, its "kernel" and "bias"; without a "bias"
        nothing is added.
      x: The input, `(n, …)`.
      target: As the cost takes it: labels `(n,)`, or an array of the output's shape.
      masks: For `Dropout` layers, by name, which features to keep; one without a mask is the
        identity, as in evaluation.
      replace: Edges to replace, `{"z" | "a" | "delta" | "gradients": {layer: value}}`. A value has
        the shape of what it replaces, and whatever is computed after it follows: a replaced z
        changes all later activations and the cost, and in the backward pass the slope σ'(z), but
        errors flow through the edge as if it was still there. A replaced δ changes the gradients of
        its layer and all earlier errors.

    Returns:
      The cost and every z, a, δ and gradient.

    Raises:
      ValueError: Names or shapes don't go with the network.
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
    # A jitted function returns its dictionaries sorted; here they are in the order of the layers.
    # An array that is two things, as a where nothing is activated, was returned once, not copied.
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
        """The value of an edge: the one computed, or the one put in its place."""
        given = replace.get(kind, {}).get(name)
        if given is None:
            return value
        return jax.tree.map(partial(_in_place_of, f"replace[{kind!r}][{name!r}]"), value, given)

    # 1. Input.
    z, a, memory, weights = {}, {INPUT: jnp.asarray(x)}, {}, {}

    def into(layer):
        fed = tuple(a[name] for name in network.inputs_of(layer))
        return fed if isinstance(layer, Concat) else fed[0]

    # 2. Feedforward.
    for layer in network.layers:
        name, (activate, _) = layer.name, ACTIVATIONS[layer.activation]
        weights[name] = network.weights_of(layer, parameters, masks)
        computed, memory[name] = layer.forward(weights[name], into(layer))
        z[name] = edge("z", name, computed)
        a[name] = edge("a", name, activate(z[name]))

    # 3. Output error, the mean's 1/n in it.
    last = network.layers[-1].name
    examples = len(a[last])
    cost = network.cost.cost(a[last], target).mean()
    a_bar = {last: network.cost.error(a[last], target) / examples}

    # 4. Backpropagate the error. Where several layers read the same activations, errors add up.
    delta = {}
    for layer in reversed(network.layers):
        name, (_, back_through) = layer.name, ACTIVATIONS[layer.activation]
        if name not in a_bar:  # nobody listens to this layer
            a_bar[name] = jnp.zeros_like(a[name])
        delta[name] = edge("delta", name, back_through(z[name], a[name], a_bar[name]))
        sources = network.inputs_of(layer)
        if sources == (INPUT,):
            continue
        errors = layer.back(weights[name], into(layer), memory[name], delta[name])
        errors = errors if isinstance(layer, Concat) else (errors,)
        for source, error in zip(sources, errors, strict=True):
            a_bar[source] = a_bar[source] + error if source in a_bar else error

    # 5. Gradients. A shared kernel's is the sum of what its uses contribute.
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
