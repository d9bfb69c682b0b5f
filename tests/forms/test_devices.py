"""Operations over several devices, in exported programs, and with a map for each platform.

Covers jaxconv/forms/_operation.py, jaxconv/forms/_rules.py.
"""

import jax
import jax.numpy as jnp
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.forms import linear_pair

from .maps import assert_same, blur, blur_transpose, centred

pytestmark = pytest.mark.usefixtures("float64")


def in_mesh(kind):
    return jax.make_mesh((4,), ("d",), axis_types=(kind,))


def test_shard_map(normal):
    blurred, _ = linear_pair(blur, blur_transpose)
    mesh, x = in_mesh(AxisType.Auto), normal((8, 5))

    def loss(f, shard):
        def each(x, w):
            y = jax.vmap(f)(x * w)
            return jax.lax.psum(jnp.sum(y**2), "d") if shard else jnp.sum(y**2)

        return each

    parts = (PartitionSpec("d"), PartitionSpec())
    ours = jax.shard_map(loss(blurred, True), mesh=mesh, in_specs=parts, out_specs=PartitionSpec())
    assert_same(
        jax.jit(jax.grad(ours, (0, 1)))(x, x[0]), jax.grad(loss(blur, False), (0, 1))(x, x[0])
    )


def test_a_map_may_communicate_over_the_axes_of_shard_map(normal):
    ours, _ = linear_pair(centred, centred)
    x, parts = normal((4, 5)), PartitionSpec("d")

    def loss(f):
        each = jax.shard_map(
            jax.vmap(f), mesh=in_mesh(AxisType.Auto), in_specs=parts, out_specs=parts
        )
        return lambda x: jnp.sum(each(x) ** 3)

    assert_same(jax.jit(jax.grad(loss(ours)))(x), jax.grad(loss(centred))(x))


def test_jit_with_shardings(normal):
    blurred, _ = linear_pair(blur, blur_transpose)
    mesh, x = in_mesh(AxisType.Auto), normal((8, 5))
    sharded = NamedSharding(mesh, PartitionSpec("d"))
    f = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(blurred)(x) ** 2)), in_shardings=sharded)
    assert_same(f(x), jax.grad(lambda x: jnp.sum(jax.vmap(blur)(x) ** 2))(x))


def test_explicit_meshes(normal):
    times, _ = linear_pair(lambda x, s: x * s, lambda y, s: y * s)
    total, _ = linear_pair(lambda x: x.sum(1), lambda y: jnp.broadcast_to(y[:, None], (8, 5)))
    x, s = normal((8, 5)), normal((5,))
    expected = jax.grad(lambda x: jnp.sum((x * s).sum(1) ** 2))(x)
    with jax.set_mesh(in_mesh(AxisType.Explicit)):
        x, s = jax.device_put(x, PartitionSpec("d")), jax.device_put(s, PartitionSpec())
        y = jax.jit(times)(x, s)
        assert jax.typeof(y).sharding.spec == PartitionSpec("d", None)
        bar = jax.jit(jax.grad(lambda x: jnp.sum(total(times(x, s)) ** 2)))(x)
        assert jax.typeof(bar).sharding.spec == PartitionSpec("d", None)
        batch = jax.jit(jax.vmap(times, (0, None)))(x, s)
        assert jax.typeof(batch).sharding.spec == PartitionSpec("d", None)
    assert_same(bar, expected)


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "tpu")])
def test_export(platforms, normal):
    blurred, _ = linear_pair(blur, blur_transpose)
    f = jax.jit(jax.grad(lambda x: jnp.sum(blurred(x) ** 2)))
    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n,), jnp.float64)
    exported = export.export(f, platforms=platforms)(shape)
    if platforms == ("cpu",):
        x = normal((6,))
        again = export.deserialize(exported.serialize())
        assert_same(again.call(x), f(x))
    assert exported.platforms == platforms


def test_platforms_compile_their_own_map():
    double, _ = linear_pair(
        lambda x: x + x,
        lambda y: y + y,
        lowerings={"tpu": (lambda x: 2 * x, lambda y: 2 * y)},
    )

    def program(platform, f):
        return jax.jit(f).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()

    for f in (double, jax.grad(lambda x: double(x).sum()), jax.vmap(double)):
        assert ("multiply" in program("tpu", f), "multiply" in program("cpu", f)) == (True, False)
