"""Any program in float64: loops, branches, solvers, and what can't be raised in precision.

Covers jaxconv/verify/program/_plan.py, jaxconv/verify/program/_loops.py,
jaxconv/verify/program/_wide.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify import check_gradients
from jaxconv.verify.program import _program
from jaxconv.verify.program._interpreter import evaluate
from jaxconv.verify.program._program import Program

from ..rules import some

pytestmark = pytest.mark.usefixtures("float64")

RNG = np.random.default_rng(0)
X = RNG.normal(size=5)
W = RNG.normal(size=(5, 5)) / 3


def _cell(carry, x):
    h = jnp.tanh(W @ carry[0] + x)
    return (h, carry[1] + 1), h * carry[1]


def _collatz(n):
    def step(state):
        n, count = state
        return jnp.where(n % 2 == 0, n // 2, 3 * n + 1), count + 1

    return lax.while_loop(lambda state: state[0] > 1, step, (n, jnp.zeros_like(n)))[1]


def _newton(x):
    """The square root, to within 1e-12 of its square."""
    return lax.while_loop(
        lambda y: jnp.abs(y * y - x) > 1e-12 * x, lambda y: (y + x / y) / 2, jnp.ones_like(x)
    )


def _trips(x, n):
    return lax.fori_loop(0, n, lambda i, c: c * jnp.sin(c + i), x)


def _conjugate_gradients(x):
    matrix = jnp.asarray(W @ W.T + np.eye(5))
    return jax.scipy.sparse.linalg.cg(lambda v: matrix @ v, x)[0]


def _root(x):
    def solve(f, start):
        return lax.fori_loop(0, 60, lambda _, y: y - f(y) / (3 * y**2), start)

    return lax.custom_root(
        lambda y: y**3 - x, jnp.ones_like(x), solve, lambda g, y: y / g(jnp.ones_like(y))
    )


PROGRAMS = {
    "scan": (lambda x: lax.scan(_cell, (x, 0.0), jnp.asarray(W)), X),
    "scan, reversed": (lambda x: lax.scan(_cell, (x, 0.0), jnp.asarray(W), reverse=True), X),
    "scan of nothing": (lambda x: lax.scan(_cell, (x, 0.0), jnp.zeros((0, 5))), X),
    "scan without arrays": (lambda x: lax.scan(lambda c, _: (2 * c, c), x, None, 3), X),
    "scan over keys": (
        lambda x: lax.scan(
            lambda c, k: (c + jax.random.normal(k), k), x, jax.random.split(jax.random.key(1), 3)
        )[0],
        X,
    ),
    "while": (_newton, np.float64(3.7)),
    "while of integers": (_collatz, np.int32(27)),
    "while, batched": (jax.vmap(_newton), np.abs(X) + 1),
    "while of integers, batched": (jax.vmap(_collatz), np.arange(1, 12)),
    "for, a count for each": (jax.vmap(_trips), X, np.arange(5)),
    "for, a matrix for each": (jax.vmap(_trips, in_axes=(None, 0)), W, np.arange(4)),
    "cond": (lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), X),
    "switch": (lambda x, i: lax.switch(i, [jnp.sin, jnp.cos, jnp.tan], x), X, 7),
    "switch, batched": (
        jax.vmap(lambda x, i: lax.switch(i, [jnp.sin, jnp.cos, jnp.tan], x)),
        X,
        np.array([0, 2, 1, -3, 9]),
    ),
    "loop in a branch in a loop": (
        lambda x: lax.fori_loop(
            0, 4, lambda i, c: lax.cond(i % 2 == 0, lambda c: _trips(c, i), jnp.sin, c), x
        ),
        X,
    ),
    "linear solve": (_conjugate_gradients, X),
    "root": (_root, np.abs(X)),
    "solve": (jnp.linalg.solve, W + np.eye(5), X),
    "exponential of a matrix": (jax.scipy.linalg.expm, W),
    "exponential integral": (jax.scipy.special.expi, np.array([-3.0, 0.1, 1.0, 8.0, 60.0])),
}


# These have many primitives to compile.
LONG = {"exponential integral", "exponential of a matrix"}
SHORT = PROGRAMS.keys() - LONG


@pytest.mark.parametrize("name", some(PROGRAMS, SHORT))
def test_programs_run_in_python(name, monkeypatch):
    """With the results of JAX, and nothing compiled as a whole."""
    monkeypatch.setattr(_program, "compiled", None)
    function, *args = PROGRAMS[name]
    program = Program(jax.make_jaxpr(function)(*args))
    actual = program(args)
    expected = jax.tree.leaves(jax.jit(function)(*args))
    for ours, theirs in zip(actual, expected, strict=True):
        if not jnp.issubdtype(theirs.dtype, jax.dtypes.extended):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", some([n for n in PROGRAMS if "keys" not in n], SHORT))
def test_programs_can_be_traced(name):
    """So that JAX compiles them, or differentiates them if it can the function itself."""
    function, *args = PROGRAMS[name]
    traced = jax.make_jaxpr(function)(*args)
    actual = jax.jit(lambda *args: evaluate(traced, args))(*args)
    expected = jax.tree.leaves(jax.jit(function)(*args))
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    if "integers" in name:
        return
    dots = [jnp.ones_like(args[0])]
    expected = jax.tree.leaves(jax.jvp(lambda x: function(x, *args[1:]), args[:1], dots)[1])
    actual = jax.jvp(lambda x: evaluate(traced, [x, *args[1:]]), args[:1], dots)[1]
    for ours, theirs in zip(actual, expected, strict=True):
        if theirs.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_constants_in_loops_are_seen():
    """What half a unit in a constant moves is known of a loop's, too."""

    def function(x):
        return lax.fori_loop(0, 3, lambda i, c: c * jnp.float32(0.1), x)

    traced = jax.make_jaxpr(function)(np.float32(1.0))
    (doubled,) = evaluate(traced, [1.0], None, lambda atom, value: 2 * value)
    np.testing.assert_allclose(doubled, (2 * np.float64(np.float32(0.1))) ** 3, rtol=1e-12)


def test_a_random_key_may_be_a_constant():
    key = jax.random.key(0)
    noisy = check_gradients(lambda x: x * jax.random.uniform(key, x.shape), (X,), order=1)
    assert noisy.ok, noisy
