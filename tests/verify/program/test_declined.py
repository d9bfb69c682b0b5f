"""What is left to JAX, and where NumPy begins: each condition at both of its sides.

Covers jaxconv/verify/program/_in_numpy.py, jaxconv/verify/program/_plan.py.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program import _in_numpy, _plan
from jaxconv.verify.program._in_numpy import SMALL, in_numpy, quick_function
from jaxconv.verify.program._numpy_moves import MOVES
from jaxconv.verify.program._numpy_sums import SUMS

from .equation import C, equation, of

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


# Elementwise functions


def test_functions_by_the_kinds_of_their_operands():
    whole, real, boolean = np.array([4, 9]), np.array([4.0, 9.0]), np.array([True, False])
    key = SimpleNamespace(shape=(), dtype=jax.random.key(0).dtype, size=1)
    tables = _in_numpy._INTEGERS, _in_numpy._FLOATING, _in_numpy._ANY
    for name in sorted(set().union(*tables)):
        for x, table in ((whole, tables[:1]), (real, tables[1:]), (C, tables[2:])):
            expected = next((t[name] for t in table if name in t), None)
            assert quick_function(equation(name, [x, x], [x])) == (expected, False)
        for pair in ([whole, real], [real, C], [C, whole]):
            assert quick_function(equation(name, pair, [real])) == (None, False)
        for pair in ([boolean, boolean], [whole, boolean]):
            is_left = name in ("sub", "neg", "abs", "sign", "square")
            found = quick_function(equation(name, pair, [boolean]))[0]
            assert (found is None) == (is_left or name not in tables[0])
        other = equation(name, [real], [real])
        other.outvars[0].aval = key
        assert quick_function(other) == (None, False)
    assert quick_function(equation("no such thing", [real], [real])) == (None, False)
    for name in _in_numpy._IDENTITIES:
        function, has_many = quick_function(equation(name, [C], [C]))
        assert (function(C) is C, has_many) == (True, False)
    for name in _in_numpy._IDENTITIES_OF_MANY:
        function, has_many = quick_function(equation(name, [C, real], [C, real]))
        assert (function(C, real), has_many) == ([C, real], True)


def test_kinds_of_arrays():
    def kind(dtype):
        return _in_numpy._kind(SimpleNamespace(aval=SimpleNamespace(dtype=dtype)))

    for names, expected in (
        (("float64", "float32", "bfloat16", "float16"), "f"),
        (("complex64", "complex128"), "c"),
        (("int8", "uint64", "bool", "int32"), "i"),
        (("int4", "uint2"), ""),
    ):
        assert {kind(jnp.dtype(name)) for name in names} == {expected}
    assert kind(jax.random.key(0).dtype) == ""
    assert _in_numpy._kind(SimpleNamespace(aval=None)) == ""


def test_powers():
    whole, real = np.array([2, -3]), np.array([2.0, -3.0])
    for y in (-2, -1, 0, 1, 3):
        np.testing.assert_array_equal(of("integer_pow", real, y=y), real**y)
        found = of("integer_pow", whole, y=y)
        assert (found is None) == (y < 0)
        if found is not None:
            np.testing.assert_array_equal(found, whole**y)
    assert of("integer_pow", C, y=2) is None
    np.testing.assert_array_equal(of("pow", real, real), real**real)
    np.testing.assert_array_equal(of("pow", real, whole), real**whole)
    assert of("pow", C, C) is None
    assert of("pow", whole, whole) is None
    assert of("pow", C, real) is None


def test_rounding_to_whole_numbers():
    x = np.array([0.5, 1.5, 2.5, -0.5, -2.5, 0.25, -0.75, 3.0])
    even = of("round", x, rounding_method=lax.RoundingMethod.TO_NEAREST_EVEN)
    np.testing.assert_array_equal(even, [0, 2, 2, 0, -2, 0, -1, 3])
    away = of("round", x, rounding_method=lax.RoundingMethod.AWAY_FROM_ZERO)
    np.testing.assert_array_equal(away, [1, 2, 3, -1, -3, 0, -1, 3])


def test_cases_that_are_chosen():
    a, b, c = (np.full(3, float(i)) for i in range(3))
    which = np.array([0, 1, 2], np.int32)
    np.testing.assert_array_equal(of("select_n", which, a, b, c, result=a), [0, 1, 2])
    np.testing.assert_array_equal(of("select_n", which + 2, a, b, c, result=a), [2, 2, 2])
    np.testing.assert_array_equal(of("select_n", which - 2, a, b, c, result=a), [0, 0, 0])
    np.testing.assert_array_equal(of("select_n", which > 0, a, b, result=a), [0, 1, 1])
    np.testing.assert_array_equal(of("select_n", which, a, result=a), [0, 0, 0])
    np.testing.assert_array_equal(of("select_n", np.int32(1), a, b, c, result=a), b)


def test_conversions_of_each_kind():
    real, whole = np.array([1.5, -2.5, np.nan, 1e30, -1e30]), np.array([0, 300])

    def converted(x, dtype):
        return of("convert_element_type", x, result=np.zeros(1, dtype))

    np.testing.assert_array_equal(converted(real, np.int8), [1, -2, 0, 127, -128])
    np.testing.assert_array_equal(converted(real, np.uint8), [1, 0, 0, 255, 0])
    np.testing.assert_array_equal(converted(np.array([127.0, -128.0]), np.int8), [127, -128])
    np.testing.assert_array_equal(converted(np.array([126.5, -127.5]), np.int8), [126, -127])
    np.testing.assert_array_equal(converted(real, bool), [True] * 5)
    np.testing.assert_array_equal(converted(whole, bool), [False, True])
    np.testing.assert_array_equal(converted(whole, np.uint8), [0, 44])
    np.testing.assert_array_equal(converted(real, np.float32), real)
    np.testing.assert_array_equal(converted(C, np.float32), C.real)
    assert converted(whole, np.float32).dtype == np.float64
    assert converted(whole, np.complex64).dtype == np.complex128
    np.testing.assert_array_equal(converted(C, np.complex64), C)
    assert converted(C, np.int32) is None
    assert converted(real, jnp.int4) is None


def test_poles_of_digamma():
    assert of("digamma", np.array([0.0, 1.0])) is None
    found = of("digamma", np.array([-1.0, -0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, False])


def test_places_without_operands():
    for axis, expected in ((0, [[0, 0], [1, 1], [2, 2]]), (1, [[0, 1]] * 3)):
        for dtype, wide in ((np.float32, np.float64), (np.int8, np.int8)):
            result = np.zeros((3, 2), dtype)
            iota = equation("iota", [], [result], shape=(3, 2), dimension=axis)
            (found,) = in_numpy(iota, [])
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == wide
    for dtype, wide in (("float32", "float64"), ("complex64", "complex128"), ("int8", "int8")):
        (found,) = in_numpy(equation("empty", [], [np.ones((2, 1), dtype)]), [])
        assert (found.dtype, found.shape, found.any()) == (wide, (2, 1), False)


# Sizes


def test_the_largest_array_of_numpy():
    small, large = np.ones(SMALL), np.ones(SMALL + 1)
    one = np.ones(1)
    for operands, result, is_known in (
        ([small, small], small, True),
        ([one, large], small, False),
        ([large, one], small, False),
        ([one, one], large, False),
        ([one, one], small, True),
    ):
        add = equation("add", operands, [result])
        assert (in_numpy(add, operands) is not None) == is_known
        assert (_plan.cost_of(add) < 80) == is_known
    wider = equation("add", [one, one], [one])  # the operand that is given counts, too
    assert in_numpy(wider, [one, large]) is None
    assert in_numpy(wider, [one, 2.0])[0] == 3

    def inside(x):
        assert in_numpy(wider, [one, x]) is None
        return x

    jax.eval_shape(inside, 1.0)
    assert _plan._numbers(equation("empty", [], [])) == 0
    assert _plan._numbers(equation("add", [one, small], [one])) == SMALL


def test_constants_of_a_program():
    narrow, small, large = jnp.ones(2, jnp.float32), jnp.ones(SMALL), jnp.ones(SMALL + 1)
    assert isinstance(_plan._constant(narrow), np.ndarray)
    assert _plan._constant(narrow).dtype == np.float64
    assert isinstance(_plan._constant(small), np.ndarray)
    assert _plan._constant(large) is large
    key = jax.random.key(0)
    assert _plan._constant(key) is key
    assert _plan._constant("a token") == "a token"


def test_a_plan_with_a_tracer_is_not_kept():
    kept = []

    def inside(x):
        traced = jax.make_jaxpr(lambda y: y * x)(1.0)
        kept.append(_plan.plan_of(traced) is _plan.plan_of(traced))
        return x

    jax.eval_shape(inside, 1.0)
    traced = jax.make_jaxpr(lambda y: y * np.ones(3))(1.0)
    kept.append(_plan.plan_of(traced) is _plan.plan_of(traced))
    assert kept == [False, True]
    assert set(SUMS) & set(MOVES) == set()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_shifts_by_all_bits_and_more(dtype):
    """Nothing is left, or the sign."""
    x = np.array([-128, -3, 5, 127]).astype(dtype)
    for by in (0, 1, 7, 8, 9, *((-1,) if dtype == np.int8 else ())):
        amount = np.full(4, by, dtype)
        is_out = not 0 <= by < 8
        left = 0 * x if is_out else (x.astype(int) << by).astype(dtype)
        logical = 0 * x if is_out else (x.view(np.uint8) >> by).view(dtype)
        kept = (x.view(np.int8) >> (7 if is_out else by)).view(dtype)
        for name, expected in (
            ("shift_left", left),
            ("shift_right_logical", logical),
            ("shift_right_arithmetic", kept),
        ):
            found = of(name, x, amount)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {by}")
