"""The layers of `jaxconv.backprop` have the gradients of the plain Flax networks."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.networks import as_layers, autoencoders, classifiers, plain
from experiments.networks.layers import Layers
from jaxconv.backprop import backpropagate, initial_parameters
from tests.experiments.networks.bounds import in_units_of_the_bound

pytestmark = pytest.mark.usefixtures("float64")

RATE = 0.5


class GivenDropout(nnx.Module):
    """Dropout in plain JAX with a mask that depends on the number of features."""

    def __init__(self, rate, *, rngs):
        self.rate = rate

    def __call__(self, x):
        return jnp.where(mask(x.shape), x / (1 - self.rate), 0)


def mask(shape):
    return np.random.default_rng(shape[-1]).random(shape) < 1 - RATE


def plain_model(name):
    """A network in plain Flax and lax, its score, and the network of `jaxconv.backprop`."""
    nn = SimpleNamespace(**vars(plain) | {"Dropout": GivenDropout})
    rngs = nnx.Rngs(0)
    if name == "autoencoder":
        options = {"code_size": 256, "dropout": RATE, "tied": True, "brightness": 0.1}
        model = autoencoders.Autoencoder(**options, rngs=rngs, nn=nn, relu=nn.relu, tanh=nn.tanh)
        return model, autoencoders.score, as_layers.autoencoder()
    model = classifiers.NETWORKS[name](rngs, nn=nn, relu=nn.relu)
    score = plain.with_optax_loss(classifiers.score)
    return model, score, as_layers.classifier(name)


# The standard network is in the modified one.
@pytest.mark.parametrize(
    "name", [pytest.param("modified", marks=pytest.mark.exhaustive), "autoencoder"]
)
def test_equals_jax_grad_of_plain_flax(name):
    """With dropout, the largest difference in each layer is within the rounding bound."""
    rng = np.random.default_rng(0)
    images, labels = jnp.asarray(rng.random((2, 28, 28, 1))), jnp.array([1, 7])
    model, score, network = plain_model(name)
    definition, state, others = nnx.split(model, nnx.Param, ...)
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state)

    @jax.jit
    @jax.value_and_grad
    def value_and_grad(state):
        return score(nnx.merge(definition, state, others), images, labels)["loss"].mean()

    cost, gradient = value_and_grad(state)
    expected = as_layers.parameters_of(nnx.merge(definition, gradient, others))
    parameters = as_layers.parameters_of(nnx.merge(definition, state, others))
    widths = {"dropout1": 512, "dropout2": {"standard": 256, "modified": 544}.get(name, 256)}
    masks = {layer: mask((2, width)) for layer, width in widths.items()}
    target = images if name == "autoencoder" else labels
    edges = backpropagate(network, parameters, images, target, masks=masks)
    np.testing.assert_allclose(edges.cost, cost, rtol=1e-13)
    differences = in_units_of_the_bound(network, parameters, edges, expected)
    assert set(differences) == {f"{n}.{what}" for n, own in parameters.items() for what in own}
    assert max(differences.values()) <= 1, differences


def test_initial_parameters_have_the_shapes_of_the_experiments():
    for name in ("modified", "autoencoder"):
        model, _, network = plain_model(name)
        expected = jax.tree.map(jnp.shape, as_layers.parameters_of(model))
        shapes = jax.eval_shape(
            lambda key, network=network: initial_parameters(network, key, (1, 28, 28, 1)),
            jax.random.key(0),
        )
        assert jax.tree.map(lambda leaf: leaf.shape, shapes) == expected


def test_a_layer_without_counterpart_is_refused():
    with pytest.raises(TypeError, match="last: Embed has no counterpart"):
        as_layers.layers_of(Layers(last=nnx.Embed(2, 3, rngs=nnx.Rngs(0))))
