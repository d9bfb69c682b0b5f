"""Primitives in NumPy: what JAX computes, for numbers that are none, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify import _in_numpy
from jaxconv.verify._interpreter import equations

pytestmark = pytest.mark.usefixtures("float64")

A = np.array([[0.3, -1.7, 2.0], [np.nan, np.inf, -0.0]])
B = np.array([[1.5, -1.7, -0.2], [1.0, -np.inf, 0.0]])
CUBE = np.arange(24.0).reshape(2, 3, 4) / 7

# A function for each primitive, and its arguments.
CALLS = {
    "add": (lax.add, A, B),
    "add_any": (lambda x: jax.vjp(lambda x: x * x, x)[1](x)[0], A),
    "sub": (lax.sub, A, B),
    "mul": (lax.mul, A, B),
    "div": (lax.div, A, B),
    "max": (lax.max, A, B),
    "min": (lax.min, A, B),
    "pow": (lax.pow, A, B),
    "neg": (lax.neg, A),
    "abs": (lax.abs, A),
    "sign": (lax.sign, A),
    "square": (lax.square, A),
    "sqrt": (lax.sqrt, A),
    "rsqrt": (lax.rsqrt, A),
    "exp": (lax.exp, A),
    "expm1": (lax.expm1, A),
    "log": (lax.log, A),
    "log1p": (lax.log1p, A),
    "tanh": (lax.tanh, A),
    "sin": (lax.sin, A),
    "cos": (lax.cos, A),
    "floor": (lax.floor, A),
    "ceil": (lax.ceil, A),
    "is_finite": (lax.is_finite, A),
    "eq": (lax.eq, A, B),
    "ne": (lax.ne, A, B),
    "lt": (lax.lt, A, B),
    "le": (lax.le, A, B),
    "gt": (lax.gt, A, B),
    "ge": (lax.ge, A, B),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (3, 2, 5, 3), (1, 3)), A),
    "dot_general": (
        lambda a, b: lax.dot_general(a, b, (((0,), (1,)), ((2,), (0,)))),
        CUBE,
        CUBE.transpose(2, 0, 1)[:, :, :2] - 1,
    ),
    "integer_pow": (lambda x: lax.integer_pow(x, -3), A),
    "reduce_max": (lambda x: x.max(1), A),
    "reduce_min": (lambda x: x.min(0), A),
    "reduce_sum": (lambda x: x.sum((0, 2)), CUBE),
    "reshape": (lambda x: x.reshape(4, 6), CUBE),
    "squeeze": (lambda x: lax.squeeze(x, (0, 2)), CUBE[:1, :, :1]),
    "transpose": (lambda x: x.transpose(2, 0, 1), CUBE),
}


def test_every_primitive_is_tried():
    assert set(CALLS) == set(_in_numpy._ELEMENTWISE) | set(_in_numpy._WITH_PARAMETERS)


@pytest.mark.parametrize("name", CALLS)
def test_equals_jax(name):
    function, *args = CALLS[name]
    found = 0
    for equation in equations(jax.make_jaxpr(function)(*args)):
        if equation.primitive.name == name:
            operands = args if len(args) == len(equation.invars) else args * len(equation.invars)
            actual = _in_numpy.in_numpy(equation, operands)
            expected = equation.primitive.bind(*map(jnp.asarray, operands), **equation.params)
            assert actual is not None
            assert actual.dtype == expected.dtype
            np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=0)
            found += 1
    assert found


@pytest.mark.parametrize(
    "operands",
    [
        (np.ones(3, np.float32), np.ones(3, np.float32)),
        (np.arange(3), np.arange(3)),
        (np.ones(1 << 15), np.ones(1 << 15)),
        (np.ones(0), np.ones(0)),
    ],
    ids=["float32", "integers", "many", "none"],
)
def test_others_are_left_to_jax(operands):
    (equation,) = equations(jax.make_jaxpr(lax.add)(*operands))
    assert _in_numpy.in_numpy(equation, operands) is None
