"""Which equations are computed in float64 and which are not, and what visits are told of them.

Covers jaxconv/verify/program/_interpreter.py, jaxconv/verify/program/_program.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

from jaxconv.verify.program import _interpreter, _program
from jaxconv.verify.program._in_numpy import SMALL
from jaxconv.verify.program._interpreter import (
    Context,
    bind,
    computations,
    evaluate,
    evaluate_in,
    straight_equations,
)
from jaxconv.verify.program._program import Program

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

FINE, SINGLE, HALF = 2.0**-52, 2.0**-23, 2.0**-7
X = np.float32([0.1, -1.7, 2.5])

# A primitive of somebody's own, of float32 alone, and one that is never computed.
single = Primitive("single_double")


@single.def_impl
def _(x):
    if x.dtype != np.float32:
        raise TypeError("float32 alone")
    return x + x


single.def_abstract_eval(lambda aval: aval)


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


def equation_of(f, *args):
    return traced(f, *args).jaxpr.eqns[-1]


def _combined(x):
    """A sum whose combination JAX does not know by name."""
    return lax.reduce(x, np.float32(0), lambda a, b: a + 1.0 * b, (0,))


# A function of one equation, its arguments, the results, and whether they are those of the trace.
EQUATIONS = {
    "in NumPy": (lambda x: lax.mul(x, x), [X], np.float64(X) ** 2, False),
    "precision": (lambda x: lax.reduce_precision(x, 5, 10), [X], np.float64(X), False),
    "bits": (lambda x: lax.bitcast_convert_type(x, np.int32), [X], X.view(np.int32), False),
    "next": (
        lambda x: lax.nextafter(x, x + 1),
        [X],
        np.float64(np.nextafter(X, np.float32(9) + X)),
        True,
    ),
    "for float32 alone": (single.bind, [X], np.float64(X) * 2, True),
    "a combination": (_combined, [X], np.float64(X.sum()), True),
    "in JAX": (
        lambda x: lax.reduce_window(x, -np.inf, lax.max, (2,), (1,), "VALID"),
        [X],
        np.float64([X[0], X[2]]),
        False,
    ),
    "scatter": (
        lambda x: x.at[np.array([0, 0])].add(np.float32([0.1, 0.2]), mode="drop"),
        [X],
        np.float64(X) + np.float64(np.float32([0.1, 0.2])).sum() * np.eye(3)[0],
        False,
    ),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_how_an_equation_is_computed(name):
    f, args, expected, is_narrow = EQUATIONS[name]
    program = traced(f, *args)
    told = []

    def visit(equation, operands, results, is_narrow):
        told.append((equation, is_narrow))
        assert not any(r.dtype == np.float32 for r in results)
        return results

    wide = [np.float64(a) for a in args]
    context = Context(visit, None, False)
    (found,) = evaluate_in(program, wide, context)
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert isinstance(found, np.ndarray)
    assert told[-1][1] == is_narrow
    assert context.unit == (SINGLE if is_narrow else FINE)
    operands = [np.float64(a) for a in args]
    equation = program.jaxpr.eqns[-1]
    if len(equation.invars) == len(args):
        (again,), narrow = bind(equation, operands)
        np.testing.assert_allclose(again, expected, rtol=1e-15)
        assert narrow == is_narrow


def test_coarsest_dtype_of_what_is_computed_as_traced():
    def f(x, y):
        return single.bind(x), lax.nextafter(y, y), single.bind(x)

    context = Context(None, None, False)
    evaluate_in(traced(f, X, jnp.bfloat16(X)), [np.float64(X)] * 2, context)
    assert context.unit == HALF
    for dtype, unit in ((np.int32, FINE), (np.float32, SINGLE), (np.complex64, SINGLE)):
        context = Context(None, None, False)
        context.note(equation_of(lambda x, t=dtype: x.astype(t), np.float64(X)))
        assert context.unit == unit


def test_foreign_code_is_compiled_once():
    """Unless JAX traces its operands."""
    program = traced(lambda x: lax.nextafter(x, x), X)
    kept = {}
    for _ in range(2):
        evaluate_in(program, [np.float64(X)], Context(None, None, False, kept=kept))
    assert list(kept) == [id(program.jaxpr.eqns[-1])]
    kept.clear()
    jax.eval_shape(lambda x: evaluate_in(program, [x], Context(None, None, True, kept=kept)), X)
    assert not kept
    # What NumPy can't compute is not.
    larger = traced(lambda x: lax.reduce_window(x, 0.0, lax.add, (2,), (1,), "VALID"), X)
    evaluate_in(larger, [np.float64(X)], Context(None, None, False, kept=kept))
    assert not kept


def test_what_numpy_declines_is_computed_in_jax():
    (found,) = evaluate(traced(lax.digamma, np.array([0.0, 1.0])), [np.array([0.0, 1.0])])
    np.testing.assert_allclose(found[1], -np.euler_gamma)
    (found,) = evaluate(traced(lambda x: x + 1, np.zeros(SMALL + 1)), [np.zeros(SMALL + 1)])
    assert isinstance(found, jax.Array)


def test_results_are_arrays_of_numpy_if_they_are_small():
    assert isinstance(_interpreter._array(np.float64(1)), np.ndarray)
    small, large = jnp.ones(SMALL), jnp.ones(SMALL + 1)
    assert isinstance(_interpreter._array(small), np.ndarray)
    assert _interpreter._array(large) is large
    key, array = jax.random.key(0), np.ones(2)
    for same in (key, array, "a token"):
        assert _interpreter._array(same) is same

    def inside(x):
        assert _interpreter._array(x) is x
        return x

    jax.eval_shape(inside, 1.0)


def test_literals_are_replaced():
    program = traced(lambda x: (x * 0.5 + 3.0, 2.0), 1.0)
    asked = []

    def literal(atom, value):
        asked.append(float(atom.val))
        return value + 10

    found = evaluate(program, [1.0], literal=literal)
    assert sorted(asked) == [0.5, 2.0, 3.0]
    assert [float(a) for a in found] == [23.5, 12.0]
    assert [float(a) for a in evaluate(program, [1.0])] == [3.5, 2.0]


def test_equations_that_run_once():
    def f(x):
        x = jax.jit(jnp.sin)(x)
        return lax.fori_loop(0, 3, lambda _, c: jnp.cos(c), jax.checkpoint(jnp.tan)(x))

    program = traced(f, 1.0)
    once = [e.primitive.name for e in straight_equations(program)]
    assert {"sin", "tan"} <= set(once)
    assert "cos" not in once
    assert {"jit", "pjit"} & set(once)
    computed = [e.primitive.name for e in computations(program)]
    assert {"sin", "tan", "cos"} <= set(computed)
    assert not {"jit", "pjit", "checkpoint", "remat2"} & set(computed)


# Programs


def loop(x):
    return lax.fori_loop(0, 3, lambda _, c: jnp.sin(c), x)


def test_what_is_left_to_a_loop():
    """A constant, and a number for each equation; what is spent is taken from it."""
    plain, looped = Program(traced(jnp.sin, 1.0)), Program(traced(loop, 1.0))
    assert not plain.has_loops
    assert plain._left == np.inf
    assert looped.has_loops
    count = len([*_interpreter.equations(looped.traced)])
    assert looped._left == _program._MORE + _program._FOR_EACH * count
    before = looped._left
    looped([0.5])
    spent = before - looped._left
    looped([0.5])
    assert before - looped._left == 2 * spent > 0
    assert (looped.is_compiled, looped.is_as_traced, looped.unit) == (False, False, FINE)

    def other(x):
        return looped([x])[0]

    left = looped._left
    assert jax.eval_shape(other, 0.5).shape == ()
    assert looped._left == left  # a program that JAX traces runs no loop


def test_a_compiled_program_is_kept_by_its_key(monkeypatch):
    made = []
    monkeypatch.setattr(_program, "compiled", lambda f: made.append(f) or f)
    program = Program(traced(loop, 0.5))
    program._left = 0.0
    asked = []

    def changes(options):
        asked.append(options)

        def visit(equation, operands, results, is_narrow):
            return [r + options if r.dtype == float else r for r in results]

        return visit, None

    (plain,) = program([0.5])
    np.testing.assert_allclose(plain, np.sin(np.sin(np.sin(0.5))))
    assert program.is_compiled
    (moved,) = program([0.5], changes, "a key", 100.0)
    program([0.5], changes, "a key", 100.0)
    program([0.5])
    assert moved > 90
    assert len(made) == 2
    assert set(program._functions) == {None, "a key"}
    assert asked == [100.0, 100.0]


def test_a_compiled_loop_is_a_loop(monkeypatch):
    """It is handed to JAX as one, although its operands are not yet traced."""
    monkeypatch.setattr(_program, "compiled", lambda f: lambda *args: jax.eval_shape(f, *args))
    program = Program(traced(loop, 0.5))
    program.is_compiled, seen = True, []

    def changes(options):
        def visit(equation, operands, results, is_narrow):
            seen.append(equation.primitive.name)
            return results

        return visit, None

    program([0.5], changes, "seen", None)
    assert seen.count("sin") == 1
    # So is one that no argument reaches, since a visit may replace what it computes.
    seen.clear()
    alone = Program(traced(lambda x: x * loop(np.float64(0.5)), 0.5))
    alone.is_compiled = True
    alone([0.5], changes, "seen", None)
    assert seen.count("sin") == 1


def fails(*_):
    raise RuntimeError("not understood")


def as_traced(f, *args, monkeypatch, signs=None, changes=None):
    monkeypatch.setattr(_interpreter, "_run", fails)
    program = Program(traced(f, *args))
    found = program([np.float64(a) for a in args], changes, None, signs)
    assert program.is_as_traced
    return program, found


def test_program_that_runs_as_it_was_traced(monkeypatch):
    program, (sines, count) = as_traced(
        lambda x, n: (jnp.sin(x), n + 1), X, np.int32(2), monkeypatch=monkeypatch
    )
    np.testing.assert_array_equal(sines, np.float64(np.float32(jnp.sin(X))))
    assert sines.dtype == np.float64
    assert (int(count), count.dtype) == (3, np.int32)
    assert program.unit == SINGLE
    with pytest.raises(RuntimeError, match="not understood"):  # JAX can trace it no further
        jax.eval_shape(Program(program.traced), [1.0, 2])


def test_perturbation_of_a_program_that_runs_as_it_was_traced(monkeypatch):
    """Each element of the arguments and results moves by a unit, in the direction of its sign."""

    def unused(options):
        return None, None

    signs = np.array([50, -60, 70, -3], np.int8)
    double = np.float64([0.5, 2.0, -4.0])

    def moved(x, signs):
        return x * (1 + FINE * np.sign(signs[-x.size :]) * np.sign(x))

    _, (found,) = as_traced(
        lambda x: x, double, monkeypatch=monkeypatch, signs=signs, changes=unused
    )
    np.testing.assert_array_equal(found, moved(moved(double, signs), signs))
    assert np.all(np.sign(found - double) == [-1, 1, -1])
    few = signs[:2]  # fewer than there are elements
    for given, changes in ((few, unused), (signs, None), (np.int8(1), unused)):
        _, (found,) = as_traced(
            lambda x: x, double, monkeypatch=monkeypatch, signs=given, changes=changes
        )
        np.testing.assert_array_equal(found, double)
    three = signs[:3]  # as many
    _, (found,) = as_traced(
        lambda x: x, double, monkeypatch=monkeypatch, signs=three, changes=unused
    )
    np.testing.assert_array_equal(np.sign(found - double), [1, -1, 1])
    _, (found, nothing) = as_traced(
        lambda x: (x, x[:0]), double, monkeypatch=monkeypatch, signs=signs, changes=unused
    )
    assert nothing.shape == (0,)


def test_one_traced_value_is_enough():
    assert not _interpreter.any_traced([])
    assert not _interpreter.any_traced([1.0, X])

    def inside(x):
        assert _interpreter.any_traced([1.0, x])
        assert _interpreter.any_traced([x])
        return x

    jax.eval_shape(inside, 1.0)
    # A program that can't be interpreted is not run in its own dtypes then.
    program = Program(traced(lambda x, y: x + y, 1.0, 2.0))
    program._in_float64 = fails
    with pytest.raises(RuntimeError, match="not understood"):
        jax.eval_shape(lambda x: program([x, 1.0])[0], 1.0)
    assert not program.is_as_traced


def test_scatter_of_a_large_array_is_in_float64():
    """JAX computes it, with a combination in float64."""
    x, more = np.zeros(SMALL + 1, np.float32), np.float32([0.1, 0.2])
    program = traced(lambda x: x.at[np.array([3, 3])].add(more, mode="drop"), x)
    told = []

    def visit(equation, operands, results, is_narrow):
        told.append((equation.primitive.name, is_narrow))
        return results

    (found,) = evaluate(program, [x], visit)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[3], np.float64(more).sum(), rtol=1e-15)
    assert told[-1][0].startswith("scatter")
    assert told[-1][1] is False
