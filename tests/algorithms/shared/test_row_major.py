"""Asking for a layout: where it helps, and where it must not be asked for.

Covers jaxconv/algorithms/shared/_row_major.py, jaxconv/algorithms/gpu/_hints.py.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import conv, conv_input_vjp, conv_kernel_vjp
from jaxconv.algorithms.cpu._folding import _Patches
from jaxconv.algorithms.cpu._strips import _RowsOfWindows
from jaxconv.algorithms.shared._row_major import ASKS_FOR_LAYOUT, row_major
from tests.algorithms.problems import geometry_of

ASKED = "LayoutConstraint"
in_tiles = partial(conv, strides=2, impl="tiles")


@pytest.fixture
def operands(normal):
    return normal((8, 6, 4, 3), "float32"), normal((2, 2, 3, 5), "float32")


@pytest.mark.skipif(
    not ASKS_FOR_LAYOUT, reason="XLA of JAX 0.10 gathers a split array for it, so nothing is asked"
)
def test_the_loop_that_copies_ends_before_the_reshape(operands):
    lowered = jax.jit(in_tiles).lower(*operands)
    assert ASKED in lowered.as_text()
    # The tiles as the copy leaves them, with the axes of the window apart.
    assert re.search(r"f32\[8,3,2,2,2,3\]\S* fusion\(", lowered.compile().as_text())


@pytest.mark.parametrize("impl", ["input_patches", "strips"])
def test_an_algorithm_of_a_cpu_asks_no_other_platform(impl, normal):
    x, y = normal((2, 8, 9, 4), "float32"), normal((2, 6, 8, 5), "float32")
    gradient = jax.jit(partial(conv_kernel_vjp, kernel_shape=(3, 2, 4, 5), impl=impl))
    assert ASKED not in gradient.trace(x, y).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.skipif(not ASKS_FOR_LAYOUT, reason="on JAX 0.10 nothing is asked")
@pytest.mark.parametrize(("platform", "asks"), [("cuda", True), ("rocm", True), ("cpu", False)])
def test_sums_of_shifted_maps_ask_gpus(platform, asks, normal):
    x, kernel = normal((2, 8, 9, 4), "float32"), normal((3, 2, 1, 4), "float32")
    y = jax.eval_shape(partial(conv, feature_group_count=4), x, kernel)
    forward = jax.jit(partial(conv, feature_group_count=4, impl="shifts"))
    backward = jax.jit(
        partial(conv_input_vjp, input_shape=x.shape, feature_group_count=4, impl="shifts")
    )
    for traced in (forward.trace(x, kernel), backward.trace(y, kernel)):
        assert (ASKED in traced.lower(lowering_platforms=(platform,)).as_text()) == asks


@pytest.mark.parametrize("impl", ["tiles", "input_patches", "strips"])
def test_an_exported_program_does_not_ask_and_computes_the_same(impl, normal):
    x, y = normal((2, 8, 9, 16), "float32"), normal((2, 4, 3, 5), "float32")
    strides, window = ((2, 3), (2, 3)) if impl == "tiles" else ((1, 1), (5, 7))
    options = {"kernel_shape": (*window, 16, 5), "strides": strides, "impl": impl}
    gradient = jax.jit(partial(conv_kernel_vjp, **options))
    exported = export.deserialize(export.export(gradient, platforms=["cpu"])(x, y).serialize())
    assert ASKED not in exported.mlir_module()
    assert not ASKS_FOR_LAYOUT or ASKED in gradient.lower(x, y).as_text()
    np.testing.assert_allclose(exported.call(x, y), gradient(x, y), rtol=1e-4, atol=1e-4)


def test_a_split_array_stays_split(operands):
    mesh = jax.make_mesh((8,), ("data",))
    x = jax.device_put(operands[0], NamedSharding(mesh, P("data")))
    text = jax.jit(in_tiles).lower(x, operands[1]).compile().as_text()
    assert "all-gather" not in text


def test_nothing_but_the_layout_changes(normal):
    a = normal((2, 3, 4), "float32")

    def exchanged(a):
        return row_major(jnp.swapaxes(a, 0, 1)).reshape(3, -1)

    expected = np.swapaxes(a, 0, 1).reshape(3, -1)
    np.testing.assert_array_equal(exchanged(a), expected)
    np.testing.assert_array_equal(jax.jit(exchanged)(a), expected)


PATCHES = _Patches((0, 1), geometry_of((6, 5), (3, 2), 1, "SAME"))
ROWS = _RowsOfWindows(geometry_of((6,), (3,)))


@pytest.mark.parametrize(
    ("patches", "shape"),
    [(PATCHES, (2, 6, 5, 1, 16)), (ROWS, (2, 6, 3, 8))],
    ids=["patches", "rows"],
)
def test_both_ways_to_make_patches_have_the_same_elements(patches, shape, normal):
    a = normal(shape, "float32")
    expected = np.asarray(patches.by_slices(a)).reshape(-1)
    np.testing.assert_array_equal(patches.in_one_loop(a).reshape(-1), expected)
    compiled = jax.jit(row_major, static_argnums=1)(a, patches)
    np.testing.assert_array_equal(compiled, patches.by_slices(a))


@pytest.mark.skipif(not ASKS_FOR_LAYOUT, reason="on JAX 0.10 there is no primitive")
def test_equal_traces_compare_equal():
    """A parameter that is a function would be another one in each trace."""
    a = jax.ShapeDtypeStruct((2, 6, 5, 1, 16), "float32")

    def trace():
        patches = _Patches((0, 1), geometry_of((6, 5), (3, 2)))
        (equation,) = jax.make_jaxpr(lambda a: row_major(a, patches))(a).jaxpr.eqns
        return equation.params

    assert trace() == trace()
