"""Batching and sharding: where a batch stands, and how a result lies on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.forms import axis_by_axis, linear_pair, merge_leading_axes, nothing_sharded
from jaxconv.forms._rules import aval_like, in_every_member, vary_alike, with_leading_batch


def explicit():
    return jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))


def test_an_operand_without_a_mesh_has_no_say_in_it():
    mesh, outside = explicit(), jax.typeof(jnp.ones(3))
    with jax.set_mesh(mesh):
        inside = jax.typeof(jnp.ones(3))
    out = jax.ShapeDtypeStruct((8, 4), np.float32)
    for avals in ([outside, inside], [inside, outside]):
        found = aval_like(avals, out, ("d", None))
        assert found.sharding == NamedSharding(mesh.abstract_mesh, PartitionSpec("d", None))
        assert (found.shape, found.dtype) == ((8, 4), np.float32)
    found = aval_like([outside], out, (None, None))
    assert found.sharding.mesh.empty
    given = NamedSharding(mesh.abstract_mesh, PartitionSpec(None, "d"))
    assert aval_like([outside], out, given).sharding == given


def test_a_sharding_rule_counts_without_a_rule_for_the_result():
    asked = []

    def shard(slot, shape, *avals):
        asked.append((slot, shape))
        return (None,) * len(shape)

    twice, _ = linear_pair(lambda x: 2 * x, lambda y: 2 * y, shard=shard)
    mesh = explicit()
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec("d")))
        y = jax.eval_shape(twice, x)
    assert asked
    assert {shape for _, shape in asked} == {(8,)}
    assert y.sharding.spec == PartitionSpec(None)


def test_a_batch_becomes_the_leading_axis():
    x, whole = np.arange(24.0).reshape(2, 3, 4), np.arange(2.0)
    found = with_leading_batch([x, x, x, whole], [0, 2, -2, None])
    assert all(isinstance(a, jax.Array) for a in found)
    assert [a.shape for a in found] == [(2, 3, 4), (4, 2, 3), (3, 2, 4), (2,)]
    np.testing.assert_array_equal(found[1], np.moveaxis(x, 2, 0))


def test_operands_without_a_batch_are_repeated_for_every_member():
    x, whole = jnp.arange(6.0).reshape(3, 2), jnp.arange(2.0)
    one, other = in_every_member([x, whole], [True, False])
    assert one is x
    np.testing.assert_array_equal(other, [whole] * 3)
    other, one = in_every_member([jnp.float32(5), x], [False, True])
    np.testing.assert_array_equal(other, [5, 5, 5])
    with pytest.raises(ValueError, match=r"too many values|expected 1"):
        in_every_member([x, whole], [True, True])  # batches of two sizes


def test_merged_axes_are_split_again():
    """A batch of 2 of 3 examples is one of 6, and each array of the result is split."""
    asked = []

    def contraction(x, s, *, k):
        asked.append((x.shape, s.shape, k))
        return {"sum": x.sum(1), "all": x * k}

    x, s = jnp.arange(24.0).reshape(2, 3, 4), jnp.ones((3, 1))
    out = merge_leading_axes({"out": contraction}, "out", [x, s], [True, False], k=2)
    assert asked == [((6, 4), (6, 1), 2)]
    assert out["sum"].shape == (2, 3)
    np.testing.assert_array_equal(out["all"], 2 * x)


def test_operands_are_brought_to_the_same_varying_axes():
    """Only an operand that lacks an axis is cast, and to the axes that it lacks."""
    mesh = jax.make_mesh((2, 2), ("d", "e"), axis_types=(AxisType.Auto,) * 2)
    cast = []

    def look(d, e, both, none):
        given = d, e, both, none
        found = vary_alike(given)
        varying = {jax.typeof(a).manual_axis_type.varying for a in found}
        cast.append((varying, [a is b for a, b in zip(given, found, strict=True)]))
        return sum(map(jnp.sum, found)).reshape(1, 1)

    specs = PartitionSpec("d"), PartitionSpec("e"), PartitionSpec("d", "e"), PartitionSpec()
    f = jax.shard_map(look, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("d", "e"))
    jaxpr = str(jax.make_jaxpr(f)(*[jnp.ones((4, 4))] * 4))
    assert cast == [({frozenset({"d", "e"})}, [False, False, True, False])]
    assert "axes=('d',)" in jaxpr
    assert "axes=('e',)" in jaxpr


def typed(shape, *spec):
    """The abstract value of an array on the mesh of four devices."""
    sharding = NamedSharding(explicit(), PartitionSpec(*spec))
    return jax.typeof(jax.device_put(np.ones(shape, np.float32), sharding))


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("spec", [("d", None), (None, "d")])
def test_no_operand_may_be_sharded(place, spec):
    operands = [typed((4, 4), None, None) for _ in range(2)]
    assert nothing_sharded("out", (2, 3, 4), *operands) == (None, None, None)
    operands[place] = typed((4, 4), *spec)
    with pytest.raises(ValueError, match="takes arrays that are not sharded"):
        nothing_sharded("out", (2, 3, 4), *operands)


def test_an_axis_that_keeps_its_size_stays_sharded():
    operand = typed((4, 8), None, "d")
    assert axis_by_axis("out", (5, 8), operand) == (None, "d")
    with pytest.raises(ValueError, match="Axis 1") as caught:
        axis_by_axis("out", (4, 9), operand)
    assert str(caught.value) == (
        "Axis 1, of size 8, is sharded over mesh axes d and its size becomes 9. Spatial axes must "
        "not be sharded, see jax.sharding.reshard."
    )


def test_a_result_is_not_weakly_typed():
    found = aval_like([jax.typeof(jnp.asarray(1.0))], jax.typeof(jnp.asarray(1.0)), ())
    assert not found.weak_type
