"""The network: its connections, its initial parameters, and the mistakes that it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    backpropagate,
    initial_parameters,
)


def test_layers_are_fed_by_the_one_before_or_by_those_they_name():
    layers = (
        Conv("conv", 2, (3,)),
        MaxPool("pool", 2),
        Conv("wide", 3, (5,), after="input"),
        Concat("both", after=("pool", "wide")),
        Concat("alone", after=("wide",)),
        MaxPool("last", 2, after=("wide",)),
    )
    network = Network(layers, SquaredError())
    fed_by = [("input",), ("conv",), ("input",), ("pool", "wide"), ("wide",), ("wide",)]
    assert [network.inputs_of(layer) for layer in network.layers] == fed_by


def test_initial_parameters_have_the_shapes_that_the_layers_need():
    layers = (
        Conv("conv", 6, (3, 2), feature_group_count=2, strides=2),  # (7, 6, 4) -> (3, 3, 6)
        ConvTranspose("deconv", 4, (2, 2), feature_group_count=2),  # -> (4, 4, 4)
        ConvTranspose("tied", 4, (2, 2), kernel_of="deconv"),
        Reshape("flat", (-1,)),
        Dense("out", 10),
    )
    network = Network(layers[:2] + layers[3:], SoftmaxCrossEntropy())
    parameters = initial_parameters(network, jax.random.key(0), (2, 7, 6, 4), jnp.float32)
    assert jax.tree.map(jnp.shape, parameters) == {
        "conv": {"kernel": (3, 2, 2, 6), "bias": (6,)},
        "deconv": {"kernel": (2, 2, 2, 6), "bias": (4,)},
        "out": {"kernel": (64, 10), "bias": (10,)},
    }
    limit = np.sqrt(6 / (64 + 10))
    assert 0.9 * limit < np.abs(parameters["out"]["kernel"]).max() <= limit
    network = Network(
        (Conv("a", 4, (2, 2)), ConvTranspose("b", 4, (2, 2), kernel_of="a")), SquaredError()
    )
    tied = jax.eval_shape(
        lambda key: initial_parameters(network, key, (1, 5, 5, 4)), jax.random.key(0)
    )
    assert set(tied["b"]) == {"bias"}


def network(*layers):
    return lambda: Network(layers, SquaredError())


def run(**options):
    network = Network((Dense("d", 2), Dropout("drop", 0.5)), SquaredError())
    parameters = {"d": {"kernel": jnp.ones((3, 2))}}
    given = {"parameters": parameters, "x": jnp.ones((1, 3)), "target": jnp.ones((1, 2))} | options
    return lambda: backpropagate(network, **given)


BAD = {
    "no layer": (network(), ValueError, "at least one layer"),
    "twice": (network(Dense("d", 2), Dense("d", 2)), ValueError, "'d': the name is used twice"),
    "activation": (network(Dense("d", 2, activation="elu")), ValueError, "activation must be"),
    "after": (network(Dense("d", 2, after="e")), ValueError, "'d': its input 'e' is no layer"),
    "several": (
        network(Dense("a", 2), Dense("c", 2), Dense("d", 2, after=("a", "c"))),
        ValueError,
        r"'d': after must name one layer; see Concat, got \('a', 'c'\)",
    ),
    "none": (network(Dense("d", 2, after=())), ValueError, r"must name one layer; .* got \(\)"),
    "none to concatenate": (
        network(Dense("a", 2), Concat("d", after=())),
        ValueError,
        r"'d': after must name one layer or more, got \(\)",
    ),
    "kernel": (
        network(ConvTranspose("d", 2, (3,), kernel_of="e")),
        ValueError,
        "'d': kernel_of must name an earlier layer .* got 'e'",
    ),
    "list": (network(Conv("d", 2, (3,), [1])), TypeError, "'d': options must be hashable"),
    "parameters": (run(parameters={}), ValueError, r"must be those of \['d'\], got \[\]"),
    "masks": (run(masks={"d": 1}), ValueError, r"Dropout layers, \['drop'\], got \['d'\]"),
    "edge": (run(replace={"w": {}}), ValueError, "replace must name edges .*, got 'w'"),
    "layer": (run(replace={"z": {"e": 1}}), ValueError, r"replace\['z'\] must name layers"),
    "shape": (
        run(replace={"z": {"d": jnp.ones((1, 3))}}),
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
