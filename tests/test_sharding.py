"""Over a mesh of devices the results are those of one device, however arrays are split.

Three ways to split: XLA decides (automatic axes), the types say it (explicit axes), or each device
runs its own part (`shard_map`, in `test_transforms.py`).

Covers jaxconv/ops/_sharding.py, jaxconv/ops/_batching.py, jaxconv/ops/_bias.py,
jaxconv/ops/_general.py.
"""

from contextlib import nullcontext
from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv
from jaxconv import (
    add_bias,
    avg_pool,
    conv,
    conv_block,
    conv_general_dilated,
    conv_input_vjp,
    conv_kernel_vjp,
    conv_transpose,
    dense,
    max_pool,
    relu,
    upscale,
)
from jaxconv import nn as layers

pytestmark = pytest.mark.usefixtures("float64")

OPERANDS = {
    "batch": (P("data"), P()),
    "output channels": (P(), P(None, None, None, "model")),
    "both": (P("data"), P(None, None, None, "model")),
    "summed channels": (P(None, None, None, "model"), P(None, None, "model")),
    "batch and summed channels": (P("data", None, None, "model"), P(None, None, "model")),
}


def mesh_of(kind):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)


def close(actual, expected):
    chex.assert_trees_all_close(
        jax.device_get(actual), jax.device_get(expected), rtol=1e-12, atol=1e-12
    )


@pytest.fixture
def operands(normal):
    return normal((8, 7, 6, 4)), normal((3, 2, 4, 6))


@jax.jit
def energies_and_gradients(pairs):
    """Of each pair of operands: one program computes all."""

    def energy(x, kernel):
        y = conv(x, kernel, strides=(2, 1), padding="SAME")
        return jnp.sum(jnp.sin(y)) + jnp.sum(conv_transpose(y, kernel) ** 2)

    return {name: jax.value_and_grad(energy, argnums=(0, 1))(*pair) for name, pair in pairs.items()}


@pytest.mark.parametrize(
    ("kind", "splits"),
    [
        (AxisType.Auto, ["batch and summed channels"]),
        (AxisType.Explicit, ["both", "batch and summed channels"]),
        pytest.param(AxisType.Auto, ["both"], marks=pytest.mark.exhaustive),
        pytest.param(AxisType.Explicit, [*OPERANDS], marks=pytest.mark.exhaustive),
    ],
    ids=lambda value: str(value) if isinstance(value, AxisType) else "",
)
def test_convolution(kind, splits, operands):
    """Operands that are split in any way give what one device computes.

    What XLA does with automatic axes is its own, so two splits are enough there, and one by
    default.
    """
    expected = energies_and_gradients({"one device": operands})["one device"]
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        placed = {
            split: [
                jax.device_put(a, NamedSharding(mesh, spec))
                for a, spec in zip(operands, OPERANDS[split], strict=True)
            ]
            for split in splits
        }
        for split, actual in energies_and_gradients(placed).items():
            close(actual, expected)
            if kind is AxisType.Explicit:  # a cotangent is split as its primal is
                for bar, primal in zip(actual[1], placed[split], strict=True):
                    assert jax.typeof(bar).sharding == jax.typeof(primal).sharding, split


def test_explicit_types_say_how_the_result_is_split(operands):
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        x = jax.device_put(operands[0], NamedSharding(mesh, P("data")))
        kernel = jax.device_put(operands[1], NamedSharding(mesh, P(None, None, None, "model")))
        assert jax.typeof(conv(x, kernel)).sharding.spec == P("data", None, None, "model")
        summed = partial(conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        spec = P(None, None, None, "model")
        y = summed(x, kernel, (1, 1), "VALID", out_sharding=spec)
        assert jax.typeof(y).sharding.spec == spec
        close(y, conv(*operands))


def whole_operands_of_many(x, kernel, bias, first):
    """One number of `x`, which is split, and of parameters that may have been made anywhere."""
    turned = jnp.swapaxes(kernel, -2, -1)
    layouts = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    y = conv(x, kernel, strides=(2, 1), padding="SAME")
    results = [
        y,
        conv(x, kernel, padding="SAME", padding_mode="circular"),
        conv(x, kernel, impl="textbook"),
        conv(x, kernel[:, :, :2], feature_group_count=2),
        conv_general_dilated(x, kernel, (1, 1), "VALID", **layouts),
        jaxconv.lax.conv_transpose(x, kernel, (2, 2), "SAME"),
        conv_transpose(x, turned, 2),
        conv_input_vjp(x, turned, (8, 9, 7, 6)),
        conv_kernel_vjp(x, x, (3, 2, 4, 4), padding="SAME"),
        conv_block(x, kernel, bias, window_shape=2),
        dense(x, kernel[0, 0]),
        add_bias(y, bias),
        avg_pool(y, 2, padding=1, count_include_pad=False),
        max_pool(y, 2),
        upscale(y, 2, "bilinear"),
    ]
    return sum(jnp.sum(jnp.sin(result)) for result in results[first::PARTS])


gradients_of_many = jax.jit(jax.grad(whole_operands_of_many, argnums=(0, 1, 2)), static_argnums=3)
PARTS = 4
ROWS = [(context, first) for first in range(PARTS) for context in ("of none", "of the mesh")]


@pytest.mark.parametrize(
    ("context", "first"),
    [
        *ROWS[1:3],
        *(pytest.param(*row, marks=pytest.mark.exhaustive) for row in ROWS[:1] + ROWS[3:]),
    ],
    ids=str,
)
def test_parameters_made_outside_the_mesh(context, first, normal):
    """By default every fourth operation in either context."""
    operands = normal((8, 7, 6, 4)), normal((3, 2, 4, 6)), normal((6,))
    expected = gradients_of_many(*operands, first)
    mesh = mesh_of(AxisType.Explicit)
    split = jax.device_put(operands[0], NamedSharding(mesh, P("data")))
    with jax.set_mesh(mesh) if context == "of the mesh" else nullcontext():
        chex.assert_trees_all_close(
            jax.device_get(gradients_of_many(split, *operands[1:], first)),
            jax.device_get(expected),
            rtol=1e-11,
            atol=1e-11,
        )


def of_split_batches(x, kernel, xs, kernels, grouped, biases):
    """Batches along a leading axis that is split: of kernels, of maps, of both, of groups."""
    in_groups = partial(conv, feature_group_count=2)
    results = [
        jax.vmap(conv, (None, 0))(x, kernels),
        jax.vmap(conv, (0, None))(xs, kernel),
        jax.vmap(conv)(xs, kernels),
        jax.vmap(in_groups, (None, 0))(x, grouped),
        jax.vmap(in_groups)(xs, grouped),
        jax.vmap(conv_transpose)(xs, jnp.swapaxes(kernels, -2, -1)),
        jax.vmap(dense)(xs, kernels[:, 0, 0]),
        jax.vmap(add_bias)(xs, biases),
        jax.vmap(add_bias, (None, 0))(x, biases),
    ]
    return sum(jnp.sum(jnp.sin(result)) for result in results)


def test_batches_split_over_explicit_axes(normal):
    whole = normal((2, 5, 4, 4)), normal((3, 2, 4, 6))
    batches = (
        normal((4, 2, 5, 4, 4)),
        normal((4, 3, 2, 4, 6)),
        normal((4, 3, 2, 2, 6)),
        normal((4, 4)),
    )
    gradients = jax.jit(jax.grad(of_split_batches, argnums=tuple(range(6))))
    expected = gradients(*whole, *batches)
    mesh = mesh_of(AxisType.Explicit)
    split = jax.device_put(batches, NamedSharding(mesh, P("data")))
    with jax.set_mesh(mesh):
        actual = gradients(*jax.device_put(whole, NamedSharding(mesh, P())), *split)
        chex.assert_trees_all_close(
            jax.device_get(actual), jax.device_get(expected), rtol=1e-11, atol=1e-11
        )
        for bar, batch in zip(actual[2:], split, strict=True):
            assert jax.typeof(bar).sharding == jax.typeof(batch).sharding


def test_groups_are_split_where_every_device_gets_whole_ones(normal):
    x, kernel = normal((2, 5, 4, 8)), normal((3, 2, 2, 8))
    y = conv(x, kernel, feature_group_count=4)
    mesh = mesh_of(AxisType.Explicit)
    channels = NamedSharding(mesh, P(None, None, None, "data"))
    with jax.set_mesh(mesh):
        split = conv(*jax.device_put((x, kernel), channels), feature_group_count=4)
        assert jax.typeof(split).sharding.spec == channels.spec
        close(split, y)


@pytest.fixture
def network(normal):
    parameters = {
        "first": normal((3, 3, 1, 4)),
        "bias": normal((4,)),
        "second": normal((2, 2, 4, 6)),
    }
    return parameters, normal((8, 10, 10, 1))


@jax.jit
def network_and_gradients(parameters, images):
    def loss(parameters):
        a = relu(add_bias(conv(images, parameters["first"]), parameters["bias"]))
        options = {"padding": "SAME", "padding_mode": "circular"}
        b = conv(max_pool(a, 2), parameters["second"], **options)
        return jnp.mean(avg_pool(b, 2) ** 2)

    return jax.value_and_grad(loss)(parameters)


def test_network_on_explicit_axes(network):
    parameters, images = network
    expected = network_and_gradients(parameters, images)
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        split = jax.device_put(images, NamedSharding(mesh, P("data")))
        whole = jax.device_put(parameters, NamedSharding(mesh, P()))
        close(network_and_gradients(whole, split), expected)


def test_layers_on_explicit_axes(normal):
    x = normal((8, 9, 9, 3), jnp.float32)

    def gradients(x):
        model = nnx.Sequential(
            layers.ConvBlock(3, 4, (3, 3), window_shape=2, rngs=nnx.Rngs(0)),
            layers.Conv(4, 2, (2, 2), padding="SAME", padding_mode="reflect", rngs=nnx.Rngs(1)),
        )
        return jax.jit(nnx.grad(lambda model, x: jnp.mean(model(x) ** 2)))(model, x)

    expected = gradients(x)
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        actual = gradients(jax.device_put(x, NamedSharding(mesh, P("data"))))
        chex.assert_trees_all_close(
            *(nnx.to_pure_dict(jax.device_get(g)) for g in (actual, expected)), rtol=1e-5, atol=1e-6
        )


BAD_SPLITS = {
    "spatial": (P(None, "model"), P(), 1, "spatial axes of a convolution must not be sharded"),
    "only one of them": (P(None, None, None, "model"), P(), 1, "must be sharded alike"),
    "groups of one of them": (P(), P(None, None, None, "model"), 2, "groups must be sharded alike"),
    "less than a group": (
        P(None, None, None, "data"),
        P(None, None, None, "data"),
        2,
        "got 2 groups for the 4 devices of mesh axes data",
    ),
    "inside a group": (
        P(),
        P(None, None, "model"),
        2,
        "channels of one feature group must not be sharded",
    ),
}


@pytest.mark.parametrize("mistake", BAD_SPLITS)
def test_bad_splits_are_refused(mistake, normal):
    *specs, groups, message = BAD_SPLITS[mistake]
    arrays = normal((8, 8, 6, 4)), normal((3, 2, 4 // groups, 8))
    mesh = mesh_of(AxisType.Explicit)
    placed = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)]
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=message):
        conv(*placed, feature_group_count=groups)
