"""Verdicts on functions of all kinds: nothing raises that the function itself does not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.experimental import pallas as pl
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import PartitionSpec

from jaxconv.verify import check_gradients
from jaxconv.verify._problem import problem_of
from jaxconv.verify.program import _interpreter
from jaxconv.verify.truth import _primal
from jaxconv.verify.truth._primal import Primal

from ..rules import some

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=4), jnp.float32)
SINGLE = float(np.finfo(np.float32).eps)
NOTHING = jnp.zeros((0, 3), jnp.float32)
MESH = jax.make_mesh((1,), ("i",))


def _with_rule(f, factor=1.0):
    """A function of sin's values with sin's gradient, times a factor, as its rule."""
    ruled = jax.custom_vjp(f)
    ruled.defvjp(lambda x: (f(x), x), lambda x, bar: (factor * jnp.cos(x) * bar,))
    return ruled


def _called_back(x):
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.sin, like, x, vmap_method="sequential")


def _called_back_in_the_rule(x, bar):
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return (jax.pure_callback(lambda x, b: np.cos(x) * b, like, x, bar, vmap_method="sequential"),)


def _told(x):
    io_callback(lambda x: None, None, x)
    return jnp.sin(x)


def _kernel(x, y):
    y[...] = jnp.sin(x[...])


def _pallas(x):
    return pl.pallas_call(_kernel, out_shape=jax.typeof(x), interpret=True)(x)


def _single(x):
    return single.bind(x)


# A primitive of somebody's own, of one dtype alone.
single = Primitive("single_sine")
single.def_impl(lambda x: jax.jit(single.bind)(x))


@single.def_abstract_eval
def _(aval):
    if aval.dtype != np.float32:
        raise TypeError(f"single_sine takes float32, got {aval.dtype}.")
    return aval


mlir.register_lowering(single, mlir.lower_fun(jnp.sin, multiple_results=False))

rule_calls_back = jax.custom_vjp(jnp.sin)
rule_calls_back.defvjp(lambda x: (jnp.sin(x), x), _called_back_in_the_rule)


@partial(jax.shard_map, mesh=MESH, in_specs=PartitionSpec(), out_specs=PartitionSpec())
def _sharded(x):
    return jnp.sin(x) * lax.psum(x[0], "i")


def _root(x):
    def solve(f, start):
        return lax.fori_loop(0, 40, lambda _, y: y - f(y) / (3 * y**2), start)

    return lax.custom_root(lambda y: y**3 - x, jnp.ones_like(x), solve, lambda g, y: y / g(1.0))


RIGHT = {
    "a count for each": (
        jax.vmap(lambda x, n: lax.fori_loop(0, n, lambda i, c: c * jnp.sin(c), x)),
        X,
        jnp.arange(4),
    ),
    "exponential integral": (jax.scipy.special.expi, jnp.float32([0.5, 3.0])),
    "root": (_root, jnp.float32(1.7)),
    "callback in the rule": (rule_calls_back, X),
    "callback": (_with_rule(_called_back), X),
    "callback without result": (_with_rule(_told), X),
    "message": (lambda x: (jax.debug.callback(lambda x: None, x), jnp.sin(x))[1], X),
    "pallas": (_with_rule(_pallas), X),
    "primitive for one dtype": (_with_rule(_single), X),
    "sharded": (_sharded, X),
    "random numbers": (lambda x: x * jax.random.normal(jax.random.key(3), x.shape), X),
    "random numbers, old keys": (lambda x: x * jax.random.uniform(jax.random.PRNGKey(3)), X),
    "random order": (lambda x: jax.random.permutation(jax.random.key(1), x), X),
    "sort by another": (lambda x, y: lax.sort((y, x), num_keys=1), X, X[::-1] ** 2),
    "constants of half precision": (lambda x: x * jnp.array([1, 2, 3.5, 4], jnp.bfloat16), X),
    "sign bit": (lambda x: jnp.where(jnp.signbit(x), x, 2 * x), X),
    "no results": (lambda x: x[:0] * 2, X),
    "no results beside some": (lambda x: (x[:0] * 2, jnp.sin(x)), X),
    "no arguments": (lambda x: jnp.sin(x).sum(), NOTHING),
    "no arguments beside some": (lambda x, y: jnp.sin(x).sum() + y * y, NOTHING, X),
}


def _ones_for_nothing(beside):
    f = jax.custom_vjp(lambda x: (x[:0], jnp.sin(x)) if beside else x[:0])
    f.defvjp(
        lambda x: (f(x), x),
        lambda x, bars: ((bars[1] * jnp.cos(x) if beside else 0) + jnp.ones_like(x),),
    )
    return f


WRONG = {
    "callback": (_with_rule(_called_back, 1.1), X),
    "pallas": (_with_rule(_pallas, 1.1), X),
    "primitive for one dtype": (_with_rule(_single, 1.1), X),
    "no results": (_ones_for_nothing(False), X),
    "no results beside some": (_ones_for_nothing(True), X),
}


# These have many primitives to compile.
LONG = {
    *("exponential integral", "root", "random order", "random numbers, old keys", "message"),
    *("sort by another", "sharded", "no results", "no arguments beside some"),
}


@pytest.mark.parametrize("name", some(RIGHT, RIGHT.keys() - LONG))
def test_right_gradient_is_called_right(name):
    f, *args = RIGHT[name]
    report = check_gradients(f, tuple(args), modes=["reverse", "forward", "vmap"], order=1)
    assert report.ok, report


@pytest.mark.parametrize("name", some(WRONG, ["callback"]))
def test_wrong_gradient_is_found(name):
    f, *args = WRONG[name]
    assert not check_gradients(f, tuple(args), modes="reverse", order=1).ok


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("callback", SINGLE),
        ("pallas", SINGLE),
        ("primitive for one dtype", SINGLE),
        ("sharded", None),
        ("random numbers", None),
        ("sign bit", None),
    ],
)
def test_what_is_not_computed_in_float64_is_known(name, unit):
    primal = Primal(problem_of(RIGHT[name][0], RIGHT[name][1:], None))
    assert primal.unit == (unit or np.finfo(np.float64).eps)
    assert not primal.is_as_it_is


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_what_is_not_understood_is_called_as_it_is(factor, monkeypatch):
    def fails(*_):
        raise RuntimeError("not understood")

    monkeypatch.setattr(_interpreter, "_run", fails)
    report = check_gradients(_with_rule(jnp.sin, factor), (X,), order=1)
    assert report.truth == "finite differences of the function in float32 along every coordinate"
    assert report.ok == (factor == 1.0), report


def test_random_numbers_stay_those_of_the_function():
    def f(x):
        bits = lax.rng_bit_generator(jnp.arange(4, dtype=jnp.uint32), (4,))[1]
        key = jax.random.key(7)
        return x * jax.random.normal(key, x.shape) + jax.random.gamma(key, 2.0) + (bits % 64)

    primal = Primal(problem_of(f, (X,), None))
    np.testing.assert_allclose(primal(primal.point), f(X), rtol=1e-6)


@pytest.mark.exhaustive
def test_rule_of_a_function_that_jax_can_not_differentiate_twice():
    """JAX's second derivative of erfcx by an array raises; a rule's own needn't."""

    def slope(x):
        return 2 * x * f(x) - 2 / jnp.sqrt(jnp.pi)

    f = jax.custom_jvp(jax.scipy.special.erfcx)
    f.defjvp(lambda p, t: (f(p[0]), t[0] * slope(p[0])))
    report = check_gradients(f, (jnp.array([0.1, 0.7]),), modes=["reverse", "second_order"])
    assert report.ok, str(report)


def test_many_points_in_one_batch(monkeypatch):
    """With the values inside `stop_gradient` held or not."""
    monkeypatch.setattr(_primal, "_ONE_BY_ONE", 0)
    primal = Primal(problem_of(lambda x: x * lax.stop_gradient(jnp.sin(x)), (X,), None))
    points = primal.point + RNG.normal(size=(5, 4))
    moving = points * np.sin(points)
    np.testing.assert_allclose(primal.many(points), moving, rtol=1e-12)
    primal.hold()
    np.testing.assert_allclose(primal.many(points), points * np.sin(primal.point), rtol=1e-12)
    primal.let_go()
    np.testing.assert_allclose(primal.many(points), moving, rtol=1e-12)
