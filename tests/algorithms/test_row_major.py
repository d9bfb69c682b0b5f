"""Asking for a layout: where it helps, where it may not be asked for, and what it changes."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import conv, conv_kernel_vjp
from jaxconv.algorithms._arrays import IS_JAX_0_10
from jaxconv.algorithms._row_major import row_major

ASKED = "LayoutConstraint"
in_tiles = partial(conv, strides=2, impl="tiles")


@pytest.fixture
def operands(normal):
    return normal((8, 6, 4, 3), "float32"), normal((2, 2, 3, 5), "float32")


@pytest.mark.skipif(IS_JAX_0_10, reason="JAX 0.10 gathers a split array for it; it is not asked")
def test_the_loop_that_copies_ends_before_the_reshape(operands):
    lowered = jax.jit(in_tiles).lower(*operands)
    assert ASKED in lowered.as_text()
    # The tiles as the copy leaves them, with the axes of the window apart.
    assert re.search(r"f32\[8,3,2,2,2,3\]\S* fusion\(", lowered.compile().as_text())


def test_no_other_platform_is_asked(operands):
    traced = jax.jit(in_tiles).trace(*operands)
    assert ASKED not in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_export_does_not_ask(operands):
    exported = export.export(jax.jit(in_tiles), platforms=["cpu"])(*operands)
    again = export.deserialize(exported.serialize())
    np.testing.assert_allclose(again.call(*operands), in_tiles(*operands), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", ["input_patches", "split_patches", "strips"])
def test_an_exported_program_rearranges_in_another_way_to_the_same_end(impl, normal):
    x, y = normal((2, 8, 9, 16), "float32"), normal((2, 6, 8, 5), "float32")
    gradient = jax.jit(partial(conv_kernel_vjp, kernel_shape=(3, 2, 16, 5), impl=impl))
    exported = export.export(gradient, platforms=["cpu"])(x, y)
    assert ASKED not in exported.mlir_module()
    assert IS_JAX_0_10 or ASKED in gradient.lower(x, y).as_text()
    np.testing.assert_allclose(exported.call(x, y), gradient(x, y), rtol=1e-4, atol=1e-4)


def test_a_split_array_stays_split(operands):
    mesh = jax.make_mesh((8,), ("data",))
    x = jax.device_put(operands[0], NamedSharding(mesh, P("data")))
    text = jax.jit(in_tiles).lower(x, operands[1]).compile().as_text()
    assert "all-gather" not in text


def test_nothing_but_the_layout_changes(normal):
    a = normal((2, 3, 4), "float32")

    def turned(a):
        return row_major(jnp.swapaxes(a, 0, 1)).reshape(3, -1)

    expected = np.swapaxes(a, 0, 1).reshape(3, -1)
    np.testing.assert_array_equal(turned(a), expected)
    np.testing.assert_array_equal(jax.jit(turned)(a), expected)
    np.testing.assert_array_equal(jax.vmap(turned)(a[None])[0], expected)


@pytest.mark.parametrize("axis", [0, 2])
def test_either_way_has_the_same_numbers_in_a_batch_too(axis, normal):
    a = normal((2, 3, 4), "float32")

    def turned(a):
        return row_major(a, lambda a: a.T[..., None], lambda a: a.T)

    expected = np.stack([part.T for part in np.moveaxis(a, axis, 0)])
    in_batch = jax.vmap(turned, axis)
    np.testing.assert_array_equal(in_batch(a), expected)
    np.testing.assert_array_equal(jax.jit(in_batch)(a), expected)


def test_both_ways_have_one_derivative(normal):
    """Forward, reverse, twice, and inside `shard_map`, whose arrays vary over the mesh."""
    turned, sliced = (
        lambda a: a.transpose(0, 2, 1),
        lambda a: jnp.stack([a[:, :, 0], a[:, :, 1]], 1),
    )
    a, moved = normal((4, 3, 2), "float32"), normal((4, 3, 2), "float32")

    def cubes(rearranged):
        return lambda a: jnp.sum(jnp.arange(3.0) * rearranged(a) ** 3)

    def derivatives(rearranged, a, moved):
        f = cubes(rearranged)
        return jax.jvp(f, (a,), (moved,)), jax.jvp(jax.grad(f), (a,), (moved,))

    asked = partial(derivatives, partial(row_major, rearranged=turned, otherwise=sliced))
    expected = derivatives(turned, a, moved)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(
        lambda *arrays: asked(*arrays)[1], mesh=mesh, in_specs=P("data"), out_specs=P("data")
    )
    chex.assert_trees_all_close(jax.jit(asked)(a, moved), expected, rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(spread)(a, moved), expected[1], rtol=1e-6)
