"""The five steps: equal to autodiff, open at every edge, particular about what they are given."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from experiments import autoencoder, baseline, classifier, open_networks
from jaxconv.backprop import (
    Activation,
    AvgPool,
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
    backpropagate,
    initial_parameters,
)
from tests.backprop.bounds import in_units_of_the_bound

pytestmark = pytest.mark.usefixtures("float64")

RATE = 0.5


class GivenDropout(nnx.Module):
    """Dropout in plain JAX with a mask that is a function of the features' number."""

    def __init__(self, rate, *, rngs):
        self.rate = rate

    def __call__(self, x):
        return jnp.where(mask(x.shape), x / (1 - self.rate), 0)


def mask(shape):
    return np.random.default_rng(shape[-1]).random(shape) < 1 - RATE


def plain_model(name):
    """A network of the experiments in plain Flax and lax, its score, and the same as layers."""
    nn = SimpleNamespace(**vars(baseline) | {"Dropout": GivenDropout})
    rngs = nnx.Rngs(0)
    if name == "autoencoder":
        options = {"code_size": 256, "dropout": RATE, "tied": True, "brightness": 0.1}
        plain = {"nn": nn, "relu": nn.relu, "tanh": nn.tanh}
        model = autoencoder.Autoencoder(**options, rngs=rngs, **plain)
        return model, autoencoder.score, open_networks.autoencoder()
    model = classifier.NETWORKS[name](rngs, nn=nn, relu=nn.relu)
    score = baseline.with_optax_loss(classifier.score)
    return model, score, open_networks.classifier(name)


@pytest.mark.parametrize("name", ["modified", "autoencoder"])  # the standard one is in the first
def test_equals_jax_grad_of_plain_flax(name):
    """With dropout; the largest difference of each layer is within the rounding bound."""
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
    expected = open_networks.parameters_of(nnx.merge(definition, gradient, others))
    parameters = open_networks.parameters_of(nnx.merge(definition, state, others))
    widths = {"dropout1": 512, "dropout2": {"standard": 256, "modified": 544}.get(name, 256)}
    masks = {layer: mask((2, width)) for layer, width in widths.items()}
    target = images if name == "autoencoder" else labels
    edges = backpropagate(network, parameters, images, target, masks=masks)
    np.testing.assert_allclose(edges.cost, cost, rtol=1e-13)
    differences = in_units_of_the_bound(network, parameters, edges, expected)
    assert set(differences) == {f"{n}.{what}" for n, own in parameters.items() for what in own}
    assert max(differences.values()) <= 1, differences


# A small network with a layer of every kind, options and a branch among them.

LAYERS = (
    Conv("conv", 4, (3, 2), (2, 1), ((1, 1), (0, 1)), feature_group_count=2, activation="tanh"),
    AvgPool("avg", 2, 1, activation="relu"),
    Dropout("drop", RATE),
    Upscale("up", (1, 2)),
    ConvTranspose("deconv", 2, (2, 2), kernel_dilation=2, flip_kernel=True, activation="tanh"),
    MaxPool("max", (3, 2), 2, 1),
    Reshape("flat", (-1,)),
    Activation("act", activation="tanh"),
    Reshape("branch", (-1,), after="avg"),
    Concat("both", after=("act", "branch")),
    Dense("hidden", 5, activation="relu"),
    Dense("out", 3),
)
NETWORK = Network(LAYERS, SoftmaxCrossEntropy())
SHAPE = (2, 6, 5, 2)


def by_autodiff(parameters, added, x, labels, keep):
    """The same network by the public functions, with `added[name]` added to each z."""

    def layer(name, z, activate=lambda z: z):
        return activate(z + added.get(name, 0))

    w = parameters
    options = {"strides": (2, 1), "padding": ((1, 1), (0, 1)), "feature_group_count": 2}
    a = jaxconv.conv(x, w["conv"]["kernel"], **options) + w["conv"]["bias"]
    avg = layer("avg", jaxconv.avg_pool(layer("conv", a, jnp.tanh), 2, 1), jax.nn.relu)
    a = layer("drop", jnp.where(keep, avg / (1 - RATE), 0))
    a = layer("up", jnp.repeat(a, 2, axis=2))
    options = {"kernel_dilation": 2, "flip_kernel": True}
    a = jaxconv.conv_transpose(a, w["deconv"]["kernel"], **options) + w["deconv"]["bias"]
    a = layer("max", jaxconv.max_pool(layer("deconv", a, jnp.tanh), (3, 2), 2, 1))
    a = layer("act", layer("flat", a.reshape(len(a), -1)), jnp.tanh)
    a = layer("both", jnp.concatenate([a, layer("branch", avg.reshape(len(a), -1))], axis=-1))
    a = layer("hidden", a @ w["hidden"]["kernel"] + w["hidden"]["bias"], jax.nn.relu)
    z = layer("out", a @ w["out"]["kernel"] + w["out"]["bias"])
    return -jax.nn.log_softmax(z)[jnp.arange(len(z)), labels].mean()


@pytest.fixture
def run():
    """What the small network is given, and its edges."""
    rng = np.random.default_rng(0)
    parameters = initial_parameters(NETWORK, jax.random.key(0), SHAPE, np.float64)
    parameters = jax.tree.map(lambda w: w + 0.3 * rng.normal(size=w.shape), parameters)
    given = (parameters, rng.normal(size=SHAPE), np.array([2, 0]))
    masks = {"drop": rng.random((2, 2, 4, 4)) < 0.7}
    return given, masks, backpropagate(NETWORK, *given, masks=masks)


def zeros(edges):
    return {name: jnp.zeros_like(z) for name, z in edges.z.items()}


grad_by_autodiff = jax.jit(jax.value_and_grad(by_autodiff, argnums=(0, 1)))


def assert_equal(actual, expected):
    """To a thousand roundings of the largest element; sums here have fewer terms."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1000 * np.finfo(float).eps * max(1, np.abs(b).max())
        ),
        actual,
        expected,
    )


@pytest.mark.usefixtures("optimised")
def test_every_error_and_gradient_of_every_layer(run):
    (parameters, x, labels), masks, edges = run
    added = zeros(edges)
    cost, (gradients, errors) = grad_by_autodiff(parameters, added, x, labels, masks["drop"])
    assert_equal((edges.cost, edges.gradients, edges.delta), (cost, gradients, errors))
    assert all(np.abs(delta).max() > 0 for delta in edges.delta.values())
    assert list(edges.z) == list(edges.delta) == [layer.name for layer in LAYERS]
    assert list(edges.a) == ["input", *edges.z]
    np.testing.assert_array_equal(edges.a["conv"], jnp.tanh(edges.z["conv"]))
    assert edges.a["out"] is edges.z["out"]


def test_the_algorithm_can_be_differentiated(run):
    """Through every layer, the pools among them: a gradient of gradients is autodiff's."""
    (parameters, x, labels), masks, edges = run

    def size(gradients):
        return sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients))

    def ours(parameters):
        return size(backpropagate(NETWORK, parameters, x, labels, masks=masks).gradients)

    def autodiffs(parameters):
        return size(jax.grad(by_autodiff)(parameters, zeros(edges), x, labels, masks["drop"]))

    assert_equal(*(jax.jit(jax.grad(f))(parameters) for f in (ours, autodiffs)))


@pytest.mark.parametrize("name", ["conv", "max"])
def test_a_replaced_z_is_followed(run, name):
    """The cost and all gradients are those of the network whose z has moved by as much."""
    (parameters, x, labels), masks, edges = run
    value = edges.z[name] * 0.7 + 0.1
    moved = zeros(edges) | {name: value - edges.z[name]}
    cost, (gradients, errors) = grad_by_autodiff(parameters, moved, x, labels, masks["drop"])
    replaced = backpropagate(
        NETWORK, parameters, x, labels, masks=masks, replace={"z": {name: value}}
    )
    assert_equal((replaced.cost, replaced.gradients, replaced.delta), (cost, gradients, errors))
    assert abs(replaced.cost - edges.cost) > 1e-6


def test_a_replaced_error_is_followed(run):
    """All that comes after it is linear in it: twice the error gives twice the gradients."""
    (parameters, x, labels), masks, edges = run
    twice = {"delta": {"deconv": 2 * edges.delta["deconv"]}}
    replaced = backpropagate(NETWORK, parameters, x, labels, masks=masks, replace=twice)
    assert_equal(replaced.gradients["deconv"]["kernel"], 2 * edges.gradients["deconv"]["kernel"])
    assert_equal(replaced.delta["up"], 2 * edges.delta["up"])
    assert_equal(replaced.delta["max"], edges.delta["max"])
    # Before that, the branch brings an error of its own.
    assert np.abs(replaced.delta["avg"] - 2 * edges.delta["avg"]).max() > 1e-6


def test_a_replaced_activation_and_gradient(run):
    (parameters, x, labels), masks, edges = run
    none = {
        "a": {"hidden": jnp.zeros_like(edges.a["hidden"])},
        "gradients": {"conv": jax.tree.map(jnp.ones_like, edges.gradients["conv"])},
    }
    replaced = backpropagate(NETWORK, parameters, x, labels, masks=masks, replace=none)
    np.testing.assert_array_equal(replaced.a["out"][0], parameters["out"]["bias"])
    np.testing.assert_array_equal(replaced.gradients["out"]["kernel"], 0)
    np.testing.assert_array_equal(replaced.gradients["conv"]["bias"], np.ones(4))


def test_a_shared_kernel_adds_up():
    """Encoder and decoder of one kernel: its gradient is that of both uses."""
    layers = (Conv("c", 3, (3,), activation="tanh"), ConvTranspose("t", 2, (3,), kernel_of="c"))
    x, network = np.random.default_rng(0).normal(size=(2, 7, 2)), Network(layers, SquaredError())
    parameters = initial_parameters(network, jax.random.key(0), x.shape, np.float64)
    assert set(parameters["t"]) == {"bias"}

    @jax.jit
    @jax.grad
    def gradient(p):
        code = jnp.tanh(jaxconv.conv(x, p["c"]["kernel"]) + p["c"]["bias"])
        y = jaxconv.conv_transpose(code, p["c"]["kernel"]) + p["t"]["bias"]
        return ((y - x) ** 2).sum(axis=(1, 2)).mean()

    edges = backpropagate(network, parameters, x, x)
    assert_equal(edges.gradients, gradient(parameters))


def test_initial_parameters_have_the_shapes_of_the_experiments():
    for name in ("modified", "autoencoder"):
        model, _, network = plain_model(name)
        expected = jax.tree.map(jnp.shape, open_networks.parameters_of(model))
        shapes = jax.eval_shape(
            lambda key, network=network: initial_parameters(network, key, (1, 28, 28, 1)),
            jax.random.key(0),
        )
        assert jax.tree.map(lambda leaf: leaf.shape, shapes) == expected


def small(*layers):
    return lambda: Network(layers, SquaredError())


def given(**options):
    network = Network((Dense("d", 2), Dropout("drop", 0.5)), SquaredError())
    parameters = {"d": {"kernel": jnp.ones((3, 2))}}
    given = {"parameters": parameters, "x": jnp.ones((1, 3)), "target": jnp.ones((1, 2))} | options
    return lambda: backpropagate(network, **given)


BAD = {
    "no layer": (small(), ValueError, "at least one layer"),
    "twice": (small(Dense("d", 2), Dense("d", 2)), ValueError, "'d': the name is used twice"),
    "activation": (small(Dense("d", 2, activation="elu")), ValueError, "'d': activation must be"),
    "after": (small(Dense("d", 2, after="e")), ValueError, "'d' is fed by 'e', which does not"),
    "kernel": (
        small(ConvTranspose("d", 2, (3,), kernel_of="e")),
        ValueError,
        "kernel of 'e', which",
    ),
    "list": (small(Conv("d", 2, (3,), [1])), TypeError, "'d' must have hashable options"),
    "parameters": (given(parameters={}), ValueError, r"must be those of \['d'\], got \[\]"),
    "masks": (given(masks={"d": 1}), ValueError, r"Dropout layers \['drop'\], got \['d'\]"),
    "edge": (given(replace={"w": {}}), ValueError, "replace takes .*, got 'w'"),
    "layer": (given(replace={"z": {"e": 1}}), ValueError, r"replace\['z'\] names layers"),
    "shape": (
        given(replace={"z": {"d": jnp.ones((1, 3))}}),
        ValueError,
        r"replace\['z'\]\['d'\] must have the shape \(1, 2\), got \(1, 3\)",
    ),
}


@pytest.mark.parametrize("mistake", BAD)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD[mistake]
    with pytest.raises(error, match=message):
        call()
