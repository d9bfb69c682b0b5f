"""Values and parameters in float64 and complex128; integers, booleans and keys stay."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program._in_numpy import SMALL
from jaxconv.verify.program._wide import (
    bind_as_traced,
    bind_with,
    equations,
    inner_programs,
    wide,
    wide_parameter,
    widen,
)

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

DTYPES = {
    **{"float32": "float64", "bfloat16": "float64", "float64": "float64"},
    **{"complex64": "complex128", "complex128": "complex128", "int32": "int32", "bool": "bool"},
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_values(dtype):
    assert wide(jnp.dtype(dtype)) == DTYPES[dtype]
    for array in (np.ones(2, jnp.dtype(dtype)), jnp.ones(2, dtype), jnp.dtype(dtype).type(1)):
        found = widen(array)
        assert found.dtype == DTYPES[dtype]
        np.testing.assert_array_equal(np.asarray(found, complex), np.ones(np.shape(array)))


def test_small_arrays_become_those_of_numpy():
    assert isinstance(widen(jnp.ones(SMALL, jnp.float32)), np.ndarray)
    assert isinstance(widen(jnp.ones(SMALL + 1, jnp.float32)), jax.Array)
    same = jnp.ones(2)
    assert widen(same) is same
    assert widen(0.5) == 0.5
    assert widen(0.5).dtype == float
    assert widen("token") == "token"
    key = jax.random.key(0)
    assert widen(key) is key
    assert jax.eval_shape(widen, jax.ShapeDtypeStruct((2,), np.float32)).dtype == float


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass(frozen=True)
class Spec:
    dtype: Any
    dtypes: Any
    size: int = 3


def test_parameters():
    f32, f64, i32 = (np.dtype(name) for name in ("float32", "float64", "int32"))
    assert wide_parameter("new_dtype", f32) == f64
    assert wide_parameter("anything", f32) == f64
    assert wide_parameter("dtypes", (f32, "bfloat16", i32, None)) == (f64, "float64", i32, None)
    assert wide_parameter("dtypes", Pair(f32, "int32")) == Pair(f64, "int32")
    assert isinstance(wide_parameter("dtypes", Pair(f32, i32)), Pair)
    assert wide_parameter("dtypes", ("no dtype", 2.5, f32)) == ("no dtype", 2.5, f64)
    assert wide_parameter("sizes", ("float32", 3)) == ("float32", 3)
    assert wide_parameter("axis", 2) == 2
    found = wide_parameter("spec", Spec(f32, ("float32",)))
    assert found == Spec(f64, ("float64",))
    same = Spec(f64, i32)
    assert wide_parameter("spec", same) is same
    assert wide_parameter("kind", Spec) is Spec


def test_equations_inside_of_others():
    def f(x):
        return lax.cond(x > 0, lambda x: lax.fori_loop(0, 3, lambda _, c: c * 2, x), jnp.sin, x)

    names = [e.primitive.name for e in equations(jax.make_jaxpr(f)(1.0))]
    assert {"cond", "sin", "mul"} <= set(names)
    (cond,) = (e for e in equations(jax.make_jaxpr(f)(1.0)) if e.primitive.name == "cond")
    assert len(inner_programs(cond.params)) == 2
    assert inner_programs({"axis": 1, "sizes": (1, 2)}) == []


def test_as_traced_is_in_the_traced_dtype():
    x = np.float32([1.0, 3.0])
    (equation,) = jax.make_jaxpr(lambda x: lax.div(jnp.float32(1), x))(x).jaxpr.eqns
    (found,) = bind_as_traced(equation, [np.float64(1), np.float64(x)])
    assert found.dtype == float
    np.testing.assert_array_equal(found, np.float64(np.float32(1) / x))
    (equation,) = jax.make_jaxpr(lambda x: lax.top_k(x, 1))(x).jaxpr.eqns
    values, places = bind_as_traced(equation, [np.float64(x)])
    assert (values.dtype, places.dtype, places[0]) == (float, np.int32, 1)


@pytest.mark.parametrize("has_many", [False, True])
def test_parameters_of_both_versions_of_jax(has_many):
    """JAX 0.10 returns functions and parameters, and JAX 0.12 the parameters alone."""

    class Bound:
        multiple_results = has_many

        def __init__(self, params):
            self.params = params

        def get_bind_params(self, params):
            assert params == {"n": 1}
            return self.params

        def bind(self, *operands, **params):
            return (operands, params)

    for given, operands in (({"m": 2}, ("a", "b")), ((["f", "g"], {"m": 2}), ("f", "g", "a", "b"))):
        equation = SimpleNamespace(primitive=Bound(given))
        found = bind_with(equation, ["a", "b"], {"n": 1})
        assert found == ([operands, {"m": 2}] if has_many else [(operands, {"m": 2})])
