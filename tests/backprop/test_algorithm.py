"""The five steps: equal to autodiff, and open at every edge.

Covers jaxconv/backprop/_costs.py, jaxconv/backprop/_layers.py, jaxconv/backprop/_pooling.py,
jaxconv/backprop/_weighted.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
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
from tests.oracles import lax_conv

pytestmark = pytest.mark.usefixtures("float64")

RATE = 0.5

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
    """The same network in plain JAX, with `added[name]` added to each z."""

    def layer(name, z, activate=lambda z: z):
        return activate(z + added.get(name, 0))

    def windows(a, reduce, start, size, strides, padding):
        return jax.lax.reduce_window(a, start, reduce, (1, *size, 1), (1, *strides, 1), padding)

    w = parameters
    a = lax_conv(x, w["conv"]["kernel"], (2, 1), ((1, 1), (0, 1)), groups=2) + w["conv"]["bias"]
    a = layer("conv", a, jnp.tanh)
    a = windows(a, jax.lax.add, 0.0, (2, 2), (1, 1), "VALID") / 4
    avg = layer("avg", a, jax.nn.relu)
    a = layer("drop", jnp.where(keep, avg / (1 - RATE), 0))
    a = layer("up", jnp.repeat(a, 2, axis=2))
    # The transpose of a dilated convolution that flips its kernel: its input gradient.
    flipped = w["deconv"]["kernel"][::-1, ::-1]
    shape = (2, a.shape[1] + 2, a.shape[2] + 2, 2)
    transpose = jax.linear_transpose(
        lambda image: lax_conv(image, flipped, 1, "VALID", kernel_dilation=2), jnp.zeros(shape)
    )
    a = layer("deconv", transpose(a)[0] + w["deconv"]["bias"], jnp.tanh)
    sides = ((0, 0), (1, 1), (1, 1), (0, 0))
    a = layer("max", windows(a, jax.lax.max, -jnp.inf, (3, 2), (2, 2), sides))
    a = layer("act", layer("flat", a.reshape(len(a), -1)), jnp.tanh)
    a = layer("both", jnp.concatenate([a, layer("branch", avg.reshape(len(a), -1))], axis=-1))
    a = layer("hidden", a @ w["hidden"]["kernel"] + w["hidden"]["bias"], jax.nn.relu)
    z = layer("out", a @ w["out"]["kernel"] + w["out"]["bias"])
    return -jax.nn.log_softmax(z)[jnp.arange(len(z)), labels].mean()


@pytest.fixture(scope="module")
def run():
    """The arguments of the small network, and its edges."""
    with jax.enable_x64(True):
        return _run()


def _run():
    rng = np.random.default_rng(0)
    parameters = initial_parameters(NETWORK, jax.random.key(0), SHAPE, np.float64)
    parameters = jax.tree.map(lambda w: w + 0.3 * rng.normal(size=w.shape), parameters)
    given = (parameters, rng.normal(size=SHAPE), np.array([2, 0]))
    masks = {"drop": rng.random((2, 2, 4, 4)) < 0.7}
    edges = backpropagate(NETWORK, *given, masks=masks)
    return given, masks, edges


def zeros(edges):
    return {name: jnp.zeros_like(z) for name, z in edges.z.items()}


grad_by_autodiff = jax.jit(jax.value_and_grad(by_autodiff, argnums=(0, 1)))


def assert_equal(actual, expected):
    """To a thousand roundings of the largest element. The sums have fewer terms than that."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1000 * np.finfo(float).eps * max(1, np.abs(b).max())
        ),
        actual,
        expected,
    )


def test_every_error_and_gradient_of_every_layer(run):
    (parameters, x, labels), masks, edges = run
    added = zeros(edges)
    cost, (gradients, errors) = grad_by_autodiff(parameters, added, x, labels, masks["drop"])
    assert_equal((edges.cost, edges.gradients, edges.delta), (cost, gradients, errors))
    assert all(np.abs(delta).max() > 0 for delta in edges.delta.values())
    assert list(edges.z) == list(edges.delta) == [layer.name for layer in LAYERS]
    assert list(edges.a) == ["input", *edges.z]
    assert_equal(edges.a["conv"], np.tanh(edges.z["conv"]))
    assert edges.a["out"] is edges.z["out"]


def test_the_algorithm_can_be_differentiated(run):
    """A gradient of gradients, through every kind of layer, is that of autodiff."""
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
    """Cost and gradients are those of a network whose z is moved by the difference."""
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
    """What is computed from an error is linear in it: twice the error, twice the gradients."""
    (parameters, x, labels), masks, edges = run
    twice = {"delta": {"deconv": 2 * edges.delta["deconv"]}}
    replaced = backpropagate(NETWORK, parameters, x, labels, masks=masks, replace=twice)
    assert_equal(replaced.gradients["deconv"]["kernel"], 2 * edges.gradients["deconv"]["kernel"])
    assert_equal(replaced.delta["up"], 2 * edges.delta["up"])
    assert_equal(replaced.delta["max"], edges.delta["max"])
    # Before that layer, the branch adds an error of its own.
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
    """The gradient of a kernel that encoder and decoder share is the sum over both uses."""
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
