"""How close is close enough for the gradients of a whole network.

A gradient is a sum of products of activations and errors, which are such sums themselves. The
bound is eps times the number of terms on the longest way, forward, back and into the gradient,
times the magnitudes of the terms of the gradient in this run. It allows for no cancellation
on the way, where rounding would matter more.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.backprop._weighted import Weighted


def magnitudes(network, parameters, edges):
    """The magnitude of every gradient's terms, like `edges.gradients`."""
    gradients = {name: {} for name in parameters}
    for layer in network.layers:
        if isinstance(layer, Weighted):
            (source,) = network.inputs_of(layer)
            weights = network.weights_of(layer, parameters, {})
            sizes = jnp.abs(edges.a[source]), jnp.abs(edges.delta[layer.name])
            for what, value in layer.gradients(weights, *sizes).items():
                own = gradients[layer.kernel_owner if what == "kernel" else layer.name]
                own[what] = own.get(what, 0) + value
    return gradients


def terms(network, parameters, edges):
    """The number of terms of all sums on the longest way: forward, back, and into a gradient."""
    count = 0
    for layer in network.layers:
        if isinstance(layer, Weighted):
            *taps, c, o = parameters[layer.kernel_owner]["kernel"].shape
            count += int(np.prod(taps)) * (c + o)
    return count + max(delta[..., 0].size for delta in edges.delta.values())


def in_units_of_the_bound(network, parameters, edges, expected):
    """For each layer the largest difference of its gradients from `expected`, over the bound."""
    scale = jax.jit(magnitudes, static_argnums=0)(network, parameters, edges)
    number = terms(network, parameters, edges)
    ratios = {}
    for name, own in edges.gradients.items():
        for what, value in own.items():
            bound = 2 * number * np.finfo(value.dtype).eps * np.asarray(scale[name][what])
            difference = np.abs(np.asarray(value) - np.asarray(expected[name][what]))
            assert (bound > 0).any()
            # Where all terms are zero, only zero is right.
            ratios[f"{name}.{what}"] = float(np.max(difference / np.where(bound, bound, 1e-300)))
    return ratios
