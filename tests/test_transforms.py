"""JAX transforms of a small network with every operation in it.

They are: export to StableHLO and back, also for platforms that are not present; meshes that shard
the batch; `shard_map` with its replication check; and gradients of single examples. The same
program must give the same bits every time.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import (
    avg_pool,
    conv,
    conv_transpose,
    dense,
    max_pool,
    relu,
    softmax_cross_entropy,
    squared_error,
    tanh,
    upscale,
)
from jaxconv.algorithms.cpu import _blocks

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def network(normal):
    """Parameters, images and labels."""
    parameters = {
        "first": normal((3, 3, 1, 4)),
        "second": normal((2, 2, 4, 6)) / 4,
        "out": normal((24, 5)) / 4,
    }
    return parameters, normal((8, 10, 10, 1)), jnp.arange(8) % 5


def loss(parameters, images, labels):
    features = max_pool(relu(conv(images, parameters["first"])), 2)  # 10 -> 8 -> 4
    deeper = avg_pool(tanh(conv(features, parameters["second"], padding="SAME")), 2)  # -> 2
    logits = dense(deeper.reshape(deeper.shape[0], -1), parameters["out"])
    back = conv_transpose(upscale(deeper, 2), parameters["second"], padding="SAME")
    rebuilt = conv_transpose(upscale(back, 2), parameters["first"])
    return softmax_cross_entropy(logits, labels).mean() + squared_error(rebuilt, images).mean()


# Compiled once: what every test compares with.
value_and_gradient = jax.jit(jax.value_and_grad(loss))


def close(actual, expected):
    chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("no_type_checker")
def test_export_of_many_taps_for_any_number_of_examples(normal):
    x = normal((3, 14, 14, 2))

    def loss(x):
        return (max_pool(x, 12, 1) ** 2).sum()  # more taps than are unrolled

    (n,) = export.symbolic_shape("n")
    open_shape = jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)
    exported = export.export(jax.jit(jax.grad(loss)))(open_shape)
    close(exported.call(x), jax.grad(loss)(x))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_export_for_another_platform(network, platform):
    """The exported program is run on the CPU, and computes what the program for the CPU does.

    float64 is the tests' choice; accelerators are written for float32. A sum of float32 has some
    hundred terms here, and second factors that are sums themselves.
    """
    network = jax.tree.map(lambda a: a.astype("float32") if a.dtype == "float64" else a, network)
    exported = export.export(
        value_and_gradient,
        platforms=[platform],
        disabled_checks=[export.DisabledSafetyCheck.platform()],
    )(*network)
    again = export.deserialize(exported.serialize())
    assert again.platforms == (platform,)
    assert "stablehlo.convolution" in again.mlir_module()
    assert "select_and_scatter" not in again.mlir_module()
    expected = value_and_gradient(*network)
    for actual, wanted in zip(*map(jax.tree.leaves, (again.call(*network), expected)), strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=200 * 2**-23 * scale)


@pytest.mark.usefixtures("no_type_checker")  # which takes sizes for integers
def test_export_for_any_number_of_examples(network):
    """On the CPU, through the serialised form."""
    parameters, images, labels = network
    (n,) = export.symbolic_shape("n")
    exported = export.export(jax.jit(jax.grad(loss)))(
        parameters,
        jax.ShapeDtypeStruct((n, *images.shape[1:]), images.dtype),
        jax.ShapeDtypeStruct((n,), labels.dtype),
    )
    exported = export.deserialize(exported.serialize())
    close(exported.call(parameters, images, labels), value_and_gradient(*network)[1])


def test_batch_sharded_mesh_under_jit(network):
    parameters, images, labels = network
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, P("data"))
    sharded = jax.device_put((images, labels), split)
    close(value_and_gradient(parameters, *sharded), value_and_gradient(*network))


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(network, check_vma):
    parameters, images, labels = network
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def mean_loss(parameters, images, labels):
        return jax.lax.pmean(loss(parameters, images, labels), "data")

    everywhere = jax.shard_map(
        mean_loss,
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=check_vma,
    )
    close(jax.jit(jax.value_and_grad(everywhere))(*network), value_and_gradient(*network))


def test_shard_map_of_the_gradient(network):
    """With the check on, a shared parameter's gradient is summed over the mesh, as it should be."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = jax.shard_map(
        jax.grad(loss), mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P()
    )
    expected = jax.tree.map(lambda g: 4 * g, value_and_gradient(*network)[1])
    close(jax.jit(everywhere)(*network), expected)


def depthwise(x):
    kernel = jnp.linspace(-1, 1, 9 * 4).reshape(3, 3, 1, 4)
    return lambda k: jnp.sum(conv(x, k, feature_group_count=4, impl="taps") ** 2), kernel


def in_blocks(x):
    kernel = jnp.linspace(-1, 1, 9 * 4 * 2).reshape(3, 3, 4, 2)
    return lambda k: jnp.sum(conv(x, k, impl="input_patches") ** 2), kernel


def pool_of_many_taps(x):
    scale = jnp.ones(x.shape[1:])
    return lambda scale: jnp.sum(max_pool(x * scale, 12, 1) ** 2), scale


@pytest.mark.parametrize("program", [depthwise, in_blocks, pool_of_many_taps])
def test_shard_map_of_loops(program, normal, monkeypatch):
    """What a loop carries varies over the mesh from its first turn on."""
    monkeypatch.setattr(_blocks, "BLOCK_ELEMENTS", 100)  # a block an example

    def gradient(x):
        f, parameter = program(x)
        return jax.grad(f)(parameter)  # of a shared parameter: summed over the mesh

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = jax.shard_map(gradient, mesh=mesh, in_specs=(P("data"),), out_specs=P())
    x = normal((8, 14, 13, 4))
    close(jax.jit(everywhere)(x), gradient(x))


def test_same_bits_again(network):
    first = value_and_gradient(*network)
    for _ in range(3):
        chex.assert_trees_all_equal(value_and_gradient(*network), first)


def test_per_example_gradients(network):
    parameters, images, labels = network

    def of_one(image, label):
        return value_and_gradient(parameters, image[None], label[None])[1]

    together = jax.jit(jax.vmap(of_one))(images, labels)
    first = jax.tree.map(lambda g: g[0], together)
    close(first, of_one(images[0], labels[0]))
    mean = jax.tree.map(lambda g: np.mean(g, axis=0), together)
    close(mean, value_and_gradient(*network)[1])


def test_per_example_kernel_gradients_are_products(normal):
    """`vmap(grad)` over examples is not one convolution with a feature group for each of them."""
    x, kernel = normal((32, 12, 12, 8)), normal((5, 5, 8, 16))

    def gradient(x):
        return jax.grad(lambda kernel: jnp.sum(conv(x[None], kernel) ** 2))(kernel)

    together = jax.jit(jax.vmap(gradient))
    program = together.lower(x).compile().as_text()
    assert "feature_group_count=32" not in program
    assert "feature_group_count=512" not in program
    close(together(x)[3], gradient(x[3]))


def test_an_ensemble_runs_member_by_member(normal):
    """Kernels that are batched with their inputs: no convolution with feature groups is left."""
    x, kernels = normal((4, 16, 12, 12, 8)), normal((4, 5, 5, 8, 16))

    def gradients(x, kernel):
        return jax.grad(lambda x, k: jnp.sum(conv(x, k) ** 2), argnums=(0, 1))(x, kernel)

    together = jax.jit(jax.vmap(gradients))
    assert "feature_group_count" not in together.lower(x, kernels).compile().as_text()
    close(jax.tree.map(lambda g: g[2], together(x, kernels)), gradients(x[2], kernels[2]))
