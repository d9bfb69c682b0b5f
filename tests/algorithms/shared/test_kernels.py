"""A kernel runs where one device computes a contraction. Elsewhere its plain form does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv.algorithms.shared import _kernels
from jaxconv.algorithms.shared._kernels import kernel_or_plain, result_of

from ..problems import geometry_of, spec_of

SPEC = spec_of(geometry_of((4,), (3,)), "float32")
SHAPE = (8, 6)


def kernel(x, y, *, spec):
    """The sum over examples, as a kernel that is interpreted; 1 more, to be recognised."""
    from jax.experimental import pallas as pl

    def body(x_ref, y_ref, sum_ref):
        sum_ref[...] = jnp.sum(x_ref[...] * y_ref[...], axis=0) + 1

    out = result_of(x, x.shape[1:], x.dtype)
    return pl.pallas_call(body, out_shape=out, interpret=True)(x, y)


def plain(x, y, *, spec):
    return jnp.sum(x * y, axis=0)


def broken(x, y, *, spec):
    raise AttributeError("Pallas has changed")


def contraction(x, y, *, platform="cpu", kernel=kernel):
    like = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    return kernel_or_plain(platform, kernel, plain, like, x, y, spec=SPEC)


def which(f, x, y):
    """Whether `f` ran the kernel or the plain form."""
    (difference,) = set(np.unique(np.asarray(f(x, y)) - np.asarray(x * y).sum(axis=0)).round(3))
    return {0: "plain", 1: "kernel"}[difference]


@pytest.fixture
def operands(normal):
    return normal(SHAPE, "float32"), normal(SHAPE, "float32")


def split(operands, kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    return mesh, [jax.device_put(a, NamedSharding(mesh, P("data"))) for a in operands]


@pytest.mark.parametrize("wrapped", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_on_one_device(wrapped, operands):
    assert which(wrapped(contraction), *operands) == "kernel"
    assert which(wrapped(partial(contraction, platform="cuda")), *operands) == "plain"


def test_without_a_working_pallas(operands):
    assert which(jax.jit(partial(contraction, kernel=broken)), *operands) == "plain"


def test_not_where_the_environment_says_so(operands, monkeypatch):
    monkeypatch.setenv(_kernels.ENVIRONMENT_VARIABLE, "0")
    assert which(jax.jit(lambda *a: contraction(*a)), *operands) == "plain"


def test_not_in_exported_programs(operands):
    exported = jax.export.export(jax.jit(contraction))(*operands)
    assert which(exported.call, *operands) == "plain"


@pytest.mark.usefixtures("no_type_checker")
def test_not_for_any_number_of_examples(operands):
    (n,) = jax.export.symbolic_shape("n")
    shapes = [jax.ShapeDtypeStruct((n, 6), "float32")] * 2
    exported = jax.export.export(jax.jit(contraction))(*shapes)
    assert which(exported.call, *operands) == "plain"


def test_no_array_is_gathered(operands):
    """XLA can't split a kernel over devices."""
    _, placed = split(operands, AxisType.Auto)
    f = jax.jit(contraction)
    assert which(f, *placed) == "plain"
    compiled = f.lower(*placed).compile().as_text()
    assert "all-reduce" in compiled
    assert "all-gather" not in compiled


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_each_device_runs_it_in_a_shard_map(kind, check, operands):
    mesh, placed = split(operands, kind)

    def part(x, y):
        return jax.lax.psum(contraction(x, y), "data")

    f = jax.shard_map(part, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=check)
    with jax.set_mesh(mesh):
        total = jax.jit(f)(*placed)
    expected = np.asarray(operands[0] * operands[1]).sum(axis=0) + 8  # 1 for each device
    np.testing.assert_allclose(np.asarray(total), expected, rtol=1e-5)


@pytest.mark.parametrize("both", [(("a",), ()), ((), ("a",)), (("a",), ("b",)), ((), ())], ids=str)
def test_its_result_varies_over_a_shard_map_as_both_operands_do(both):
    """In the input gradient the first operand is the kernel, which all devices share."""
    mesh = jax.make_mesh((2, 2), ("a", "b"), (AxisType.Auto,) * 2, devices=jax.devices()[:4])
    found = []

    def part(x, y):
        total = contraction(x, y)
        found.append(jax.typeof(total).manual_axis_type.varying)
        return jax.lax.psum(total, tuple(found[-1])) if found[-1] else total

    specs = tuple(P(axes or None) for axes in both)
    f = jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=P())
    shapes = [jax.ShapeDtypeStruct((2 * 2 ** len(axes), 6), "float32") for axes in both]
    assert jax.eval_shape(f, *shapes).shape == (6,)
    assert found == [frozenset(both[0]) | frozenset(both[1])]
