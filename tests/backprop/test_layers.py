"""Layers alone: their defaults, their maps, and the transposes that carry errors back.

Covers jaxconv/backprop/.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import backprop
from jaxconv.backprop._layers import activate

FUNCTIONS = {
    backprop.Conv: jaxconv.conv,
    backprop.ConvTranspose: jaxconv.conv_transpose,
    backprop.MaxPool: jaxconv.max_pool,
    backprop.AvgPool: jaxconv.avg_pool,
}


def whole(*shape):
    return np.random.default_rng(0).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("layer", FUNCTIONS)
def test_options_have_the_defaults_of_the_function(layer):
    """And what is passed by keyword only there is so here."""
    of_function = inspect.signature(FUNCTIONS[layer]).parameters
    of_layer = inspect.signature(layer).parameters
    shared = set(of_layer) & set(of_function)
    assert len(shared) == {backprop.Conv: 6, backprop.ConvTranspose: 7}.get(layer, 2)
    for name in shared:
        assert of_layer[name].default == of_function[name].default
        assert of_layer[name].kind == of_function[name].kind


@pytest.mark.parametrize(
    "layer",
    [
        backprop.Activation,
        backprop.AvgPool,
        backprop.Concat,
        backprop.Conv,
        backprop.ConvTranspose,
        backprop.Dense,
        backprop.Dropout,
        backprop.MaxPool,
        backprop.Reshape,
        backprop.Upscale,
    ],
)
def test_what_all_layers_share_is_passed_by_keyword(layer):
    parameters = inspect.signature(layer).parameters
    for name in {"activation", "after", "kernel_of"} & set(parameters):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert next(iter(parameters)) == "name"


def test_what_else_has_a_default():
    layer = backprop.ConvTranspose("t", 2, (3,))
    assert (layer.activation, layer.after, layer.kernel_of) == (None, None, None)
    assert (
        layer.kernel_owner,
        backprop.ConvTranspose("t", 2, (3,), kernel_of="c").kernel_owner,
    ) == (*("t", "c"),)


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (backprop.Dense("d", 5), (2, 3), (3, 5)),
        (backprop.Conv("c", 6, (2, 3), feature_group_count=2), (1, 4, 4, 4), (2, 3, 2, 6)),
        (backprop.Conv("c", 6, (3,)), (1, 4, 2), (3, 2, 6)),
        (backprop.ConvTranspose("t", 6, (2, 3), feature_group_count=2), (1, 4, 4, 4), (2, 3, 3, 4)),
    ],
)
def test_shapes_of_kernels(layer, shape, kernel):
    assert layer.kernel_shape(shape) == kernel


# A layer of each kind and the shape of its input.
LINEAR = {
    "reshape": (backprop.Reshape("r", (2, -1)), (2, 4, 3)),
    "activation": (backprop.Activation("a"), (2, 3)),
    "dropout": (backprop.Dropout("d", 0.75), (2, 3)),
    "upscale": (backprop.Upscale("u", (1, 2)), (1, 2, 3, 1)),
    "average": (backprop.AvgPool("p", 2, 1), (1, 3, 2, 1)),
    "dense": (backprop.Dense("d", 2), (2, 3)),
    "convolution": (backprop.Conv("c", 4, (2,), 2, ((1, 0),), feature_group_count=2), (1, 5, 4)),
    "transposed": (backprop.ConvTranspose("t", 4, (2,), 2, feature_group_count=2), (1, 3, 4)),
    "flipped": (backprop.Conv("c", 2, (3,), kernel_dilation=2, flip_kernel=True), (1, 7, 2)),
    "dilated": (backprop.Conv("c", 2, (3,), input_dilation=2), (1, 3, 2)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_the_transpose_is_the_adjoint_and_gradients_are_derivatives(case):
    """<e, map(a)> = <mapᵀ(e), a>, and = <gradient, kernel> where there is one; whole numbers."""
    layer, shape = LINEAR[case]
    a, weights = whole(*shape), {}
    if hasattr(layer, "kernel_shape"):
        weights["kernel"] = jnp.asarray(whole(*layer.kernel_shape(shape)))
    if case == "dropout":
        weights["mask"] = jnp.array([[True, False, True], [True, True, False]])
    z, transposed = layer.forward(weights, jnp.asarray(a))
    error = whole(*z.shape)
    expected = np.vdot(error, z)
    assert expected != 0
    back = transposed(jnp.asarray(error))
    assert back.shape == shape
    assert np.vdot(back, a) == expected
    gradients = layer.gradients(weights, jnp.asarray(a), jnp.asarray(error))
    assert set(gradients) == set(weights) - {"mask"}
    if gradients:
        assert np.vdot(gradients["kernel"], weights["kernel"]) == expected
        weights["bias"] = jnp.arange(float(z.shape[-1]))
        biased, _ = layer.forward(weights, jnp.asarray(a))
        np.testing.assert_array_equal(biased - z, np.broadcast_to(weights["bias"], z.shape))
        of_bias = layer.gradients(weights, jnp.asarray(a), jnp.asarray(error))["bias"]
        np.testing.assert_array_equal(of_bias, error.reshape(-1, z.shape[-1]).sum(0))


def test_dropout_keeps_the_expectation_and_without_a_mask_the_input():
    layer, a = backprop.Dropout("d", 0.75), jnp.ones((1, 2))
    z, _ = layer.forward({"mask": jnp.array([[True, False]])}, a)
    np.testing.assert_array_equal(z, [[4, 0]])
    z, transposed = layer.forward({}, a)
    assert z is a
    assert transposed(a) is a


@pytest.mark.parametrize("sizes", [(2,), (2, 1, 3)])
def test_concatenated_activations_are_split_again(sizes):
    parts = tuple(jnp.asarray(whole(2, 3, c)) + c for c in sizes)
    z, transposed = backprop.Concat("both", after=("a",) * len(sizes)).forward({}, parts)
    assert z.shape == (2, 3, sum(sizes))
    for part, back in zip(parts, transposed(z), strict=True):
        np.testing.assert_array_equal(part, back)


def test_a_max_pool_sends_errors_to_the_maxima():
    layer = backprop.MaxPool("p", 2, 1, ((1, 0),))
    z, transposed = layer.forward({}, jnp.array([[[3.0], [1.0], [4.0]]]))
    np.testing.assert_array_equal(z[0, :, 0], [3, 3, 4])
    np.testing.assert_array_equal(
        transposed(jnp.array([[[1.0], [10], [100]]]))[0, :, 0], [11, 0, 100]
    )


def test_slopes_of_activations():
    z, error = jnp.array([-1.0, 0.5]), jnp.array([10.0, 100.0])
    for name, values, back in (
        (None, z, error),
        ("relu", [0, 0.5], [0, 100]),
        ("tanh", np.tanh(z), error * (1 - np.tanh(z) ** 2)),
    ):
        a, slope = activate(name, z)
        np.testing.assert_allclose(a, values, rtol=1e-6)
        np.testing.assert_allclose(slope(error), back, rtol=1e-6)


def test_costs_of_each_example():
    a = jax.device_put(np.arange(12.0).reshape(2, 3, 2))
    np.testing.assert_array_equal(
        backprop.SquaredError().of_examples(a, jnp.zeros_like(a)), [55, 451]
    )
    z, labels = map(jax.device_put, (np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0])))
    found = backprop.SoftmaxCrossEntropy().of_examples(z, labels)
    np.testing.assert_allclose(found, -np.log([0.75, 0.5]), rtol=1e-6)


def test_a_layer_that_nobody_reads_has_no_error():
    """Its parameters have gradients of zero, and what it reads gets no error from it."""
    layers = (
        backprop.Dense("a", 2),
        backprop.Dense("idle", 3),
        backprop.Dense("out", 1, after="a"),
    )
    network, x = backprop.Network(layers, backprop.SquaredError()), whole(2, 2)
    kernels = {"a": whole(2, 2), "idle": whole(2, 3), "out": whole(2, 1)}
    parameters = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    edges = backprop.backpropagate(network, parameters, x, np.zeros((2, 1), np.float32))
    np.testing.assert_array_equal(edges.delta["idle"], np.zeros((2, 3)))
    np.testing.assert_array_equal(edges.gradients["idle"]["kernel"], np.zeros((2, 3)))
    y = x @ kernels["a"] @ kernels["out"]
    assert edges.cost == (y**2).mean() != 0
    np.testing.assert_array_equal(edges.delta["out"], y)  # 2 y for each example, and their mean
    np.testing.assert_array_equal(edges.delta["a"], y @ kernels["out"].T)
    np.testing.assert_array_equal(edges.gradients["a"]["kernel"], x.T @ edges.delta["a"])


def test_parameters_are_drawn_anew_for_each_layer():
    network = backprop.Network(
        (backprop.Dense("a", 3), backprop.Dense("b", 3), backprop.Dense("c", 3)),
        backprop.SquaredError(),
    )
    drawn = backprop.initial_parameters(network, jax.random.key(0), (1, 3))
    kernels = [drawn[name]["kernel"] for name in "abc"]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 3
    assert not any(drawn[name]["bias"].any() for name in "abc")
    assert {kernel.dtype.name for kernel in kernels} == {"float32"}
    half = backprop.initial_parameters(network, jax.random.key(0), (1, 3), jnp.bfloat16)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half)} == {"bfloat16"}


def test_a_kernel_must_be_that_of_an_earlier_layer_that_has_its_own():
    first, tied = backprop.Conv("a", 2, (3,)), backprop.ConvTranspose("b", 2, (3,), kernel_of="a")
    backprop.Network((first, tied), backprop.SquaredError())
    for layers in (
        (tied, first),
        (first, tied, backprop.ConvTranspose("c", 2, (3,), kernel_of="b")),
        (backprop.Activation("a"), tied),
    ):
        with pytest.raises(ValueError, match="kernel_of must name an earlier layer"):
            backprop.Network(layers, backprop.SquaredError())


def test_which_edges_may_be_replaced():
    network = backprop.Network(
        (backprop.Dense("d", 2), backprop.Activation("a", activation="tanh")),
        backprop.SquaredError(),
    )
    x, kernel = whole(1, 2), {"d": {"kernel": np.eye(2, dtype=np.float32)}}
    for kind in ("z", "a", "delta"):
        given = {kind: {"a": np.ones((1, 2))}}
        edges = backprop.backpropagate(network, kernel, x, 0 * x, replace=given)
        np.testing.assert_array_equal(getattr(edges, kind)["a"], [[1, 1]])
    with pytest.raises(ValueError, match=r"replace\['gradients'\] must name layers among \['d'\]"):
        backprop.backpropagate(network, kernel, x, 0 * x, replace={"gradients": {"a": {}}})
