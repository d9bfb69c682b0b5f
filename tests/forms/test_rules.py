"""The abstract value of a result: its mesh is that of the operands which are on one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.forms import linear_pair
from jaxconv.forms._rules import aval_like


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
