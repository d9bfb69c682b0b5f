"""Backpropagation through random networks, against autodiff of the same layers.

Covers jaxconv/backprop/_algorithm.py, jaxconv/backprop/_layers.py,
jaxconv/backprop/_pooling.py, jaxconv/backprop/_weighted.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from jaxconv import backprop

from .running import fuzzed

ACTIVATIONS = st.sampled_from([None, "relu", "tanh"])


@st.composite
def networks(draw):
    """Layers that keep or shrink a map of 8×7 pixels, then dense ones; and a cost."""
    layers = []
    for number in range(draw(st.integers(0, 4))):
        name, activation = f"layer{number}", draw(ACTIVATIONS)
        kind = draw(st.sampled_from(["conv", "transposed", "max", "avg", "up", "act", "concat"]))
        window, strides = draw(st.tuples(*[st.integers(1, 2)] * 2)), draw(st.integers(1, 2))
        layers.append({
            "conv": backprop.Conv(name, 3, window, strides, "SAME", activation=activation),
            "transposed": backprop.ConvTranspose(name, 2, window, activation=activation),
            "max": backprop.MaxPool(name, window, 1, activation=activation),
            "avg": backprop.AvgPool(name, window, 1, activation=activation),
            "up": backprop.Upscale(name, 2 if number == 0 else 1),
            "act": backprop.Activation(name, activation=activation or "tanh"),
            "concat": backprop.Concat(name, after=(layers[-1].name,) * 2 if layers else ("input",)),
        }[kind])  # fmt: skip
    if draw(st.booleans()):
        layers.append(backprop.Dropout("drop", 0.5))
    layers.append(backprop.Reshape("flat", (-1,)))
    for number in range(draw(st.integers(0, 1))):
        layers.append(backprop.Dense(f"dense{number}", 5, activation=draw(ACTIVATIONS)))
    layers.append(backprop.Dense("out", 3))
    costs = backprop.SoftmaxCrossEntropy(), backprop.SquaredError()
    return backprop.Network(tuple(layers), draw(st.sampled_from(costs)))


@fuzzed(2, networks(), st.integers(0, 99))
def test_backpropagation_is_autodiff(network, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        shape = (2, 8, 7, 2)
        x = jnp.asarray(rng.normal(size=shape))
        parameters = backprop.initial_parameters(network, jax.random.key(seed), shape, jnp.float64)
        is_classifier = isinstance(network.cost, backprop.SoftmaxCrossEntropy)
        target = np.array([2, 0]) if is_classifier else jnp.asarray(rng.normal(size=(2, 3)))
        masks = {}
        if "drop" in (layer.name for layer in network.layers):
            shape = backprop.backpropagate(network, parameters, x, target).z["drop"].shape
            masks["drop"] = rng.random(shape) < 0.5

        def cost(parameters):
            return backprop.backpropagate(network, parameters, x, target, masks=masks).cost

        edges = backprop.backpropagate(network, parameters, x, target, masks=masks)
        expected = jax.grad(cost)(parameters)
        assert jax.tree.structure(edges.gradients) == jax.tree.structure(expected)
        for a, e in zip(*map(jax.tree.leaves, (edges.gradients, expected)), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-11)
