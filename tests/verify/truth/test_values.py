"""The values of a function: how exact they are, which are held, and how many points a batch has.

Covers jaxconv/verify/truth/_primal.py, jaxconv/verify/truth/_precision.py.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify import _constants
from jaxconv.verify._modes import Absent
from jaxconv.verify._problem import problem_of
from jaxconv.verify.program._in_numpy import SMALL
from jaxconv.verify.truth import _precision, _primal
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._precision import coarsest_unit, set_precision
from jaxconv.verify.truth._primal import Primal

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

SINGLE, HALF = 2.0**-23, 2.0**-7
X = np.array([0.5, -2.0, 3.0])


def primal_of(f, *args):
    return Primal(problem_of(f, args or (X,), None))


def stopped(x):
    return lax.stop_gradient(jnp.round(x))


def in_loop(x):
    return lax.fori_loop(0, 2, lambda _, c: c + stopped(c), x)


# Values that are held


@pytest.mark.parametrize(
    ("f", "stops", "can_hold"),
    [
        (jnp.sin, False, False),
        (lambda x: x * stopped(x), True, True),
        (lambda x: jax.jit(stopped)(x) + stopped(2 * x), True, True),
        (in_loop, True, False),
        (lambda x: in_loop(x) + stopped(x), True, False),
        (lambda x: lax.fori_loop(0, 2, lambda _, c: 2 * c, x), False, False),
    ],
)
def test_whether_values_can_be_held(f, stops, can_hold):
    primal = primal_of(f)
    assert (primal.stops, primal.can_hold) == (stops, can_hold)
    assert not primal.is_as_it_is
    assert primal.unit == FINE
    assert primal.arithmetic == Arithmetic()
    assert primal.differences == "finite differences"


def test_several_values_are_held_in_their_order():
    def f(x, y):
        return x * lax.stop_gradient(jnp.sin(x)), y + lax.stop_gradient(y**2), x + y

    primal = primal_of(f, X, 2 * X)
    moved = np.concatenate([X + 1, 2 * X + 1])
    a, b = X + 1, 2 * X + 1
    before = np.concatenate([a * np.sin(a), b + b**2, a + b])
    np.testing.assert_allclose(primal(moved), before)
    primal.hold()
    held = np.concatenate([a * np.sin(X), b + 4 * X**2, a + b])
    for _ in range(2):
        np.testing.assert_allclose(primal(moved), held)
    primal.let_go()
    np.testing.assert_allclose(primal(moved), before)


# What the function is


@pytest.mark.parametrize(
    ("f", "is_smooth"),
    [
        (jnp.sin, True),
        (jnp.abs, False),
        (lambda x: jax.jit(jnp.tanh)(x) * x, True),
        (lambda x: lax.fori_loop(0, 2, lambda _, c: jnp.maximum(c, 0), x), False),
    ],
)
def test_whether_a_function_has_kinks(f, is_smooth):
    assert primal_of(f).is_smooth == is_smooth


def test_largest_of_all_results():
    """Of those that are finite; integers and constants do not count."""
    assert primal_of(lambda x: (x * 100.0 - 250.0) / 1e4).largest() == 450
    assert primal_of(lambda x: x + 0.0 * jnp.where(x > 0, jnp.inf, 1.0)).largest() == 2
    assert primal_of(lambda x: x * (jnp.arange(3) * 1000 // 1000 + 1)).largest() == 9
    assert primal_of(lambda x: x).largest() == 0
    lost = primal_of(lambda x: x * 100)
    lost.is_as_it_is = True
    assert lost.largest() == 0


def test_function_that_is_called_as_it_is(monkeypatch):
    """In its own dtypes, to the precision of the coarsest of them."""

    def f(x, y):
        return x * jnp.float32(3), y * jnp.bfloat16(2), y

    args = X.astype(np.float32), jnp.bfloat16(X)
    primal = primal_of(f, *args)
    assert primal.unit == FINE
    assert [str(a.dtype) for a in primal.function64(X, X)] == 3 * ["float64"]
    monkeypatch.setattr(_primal.Program, "_in_float64", lambda *_: 1 / 0)
    primal = primal_of(f, *args)
    assert primal.is_as_it_is
    assert not primal.can_hold
    assert primal.unit == HALF
    said = "finite differences of the function in bfloat16 and float32"
    assert primal.differences == said
    single = np.float32(0.1)
    np.testing.assert_array_equal(primal(np.full(6, 0.1))[:3], np.full(3, single * 3))
    with pytest.raises(Absent, match="f can't be evaluated in float64"):
        primal.function64(X, X)


@pytest.mark.parametrize("start", [0.0, np.inf])
def test_values_that_float64_does_not_have(start):
    """They are those of the function, unless that has none either."""

    def f(x):
        return jnp.where(x == np.float32(0.1), start, jnp.inf) + x

    primal = primal_of(f, np.float32(0.1)[None])
    assert not primal.is_as_it_is
    problem = primal.problem
    shifted = SimpleNamespace(**vars(problem), size=1, output_size=1)
    shifted.point = (np.float32(0.1)[None],)
    shifted.leaves = problem.leaves
    shifted.values = np.array([0.1])
    shifted.function = lambda x: (jnp.where(x < 0.5, jnp.inf, 0.0) + x,)
    assert Primal(shifted).is_as_it_is
    shifted.values = np.array([np.inf])
    assert not Primal(shifted).is_as_it_is


# Batches


def batches(f, count, monkeypatch, *, batch=1 << 22, one_by_one=0, size=2, as_it_is=False):
    """The numbers of points that are evaluated at once; the values are compared."""
    monkeypatch.setattr(_primal, "BATCH", batch)
    monkeypatch.setattr(_primal, "_ONE_BY_ONE", one_by_one)
    points = np.random.default_rng(0).normal(size=(count, size))
    primal = primal_of(f, points[0])
    primal.is_as_it_is = as_it_is
    asked = []

    def at_once(values, in_axes):
        assert in_axes == (0, None)

        def batched(points, held):
            asked.append(len(points))
            return np.stack([f(point) for point in points])

        return batched

    monkeypatch.setattr(jax, "vmap", at_once)
    np.testing.assert_allclose(primal.many(points), np.stack([f(p) for p in points]), rtol=1e-12)
    monkeypatch.undo()
    return asked


def cubed(x):
    return x * x * x


@pytest.mark.parametrize(
    ("count", "batch", "expected"),
    [
        *((1, 1 << 22, [4]), (4, 1 << 22, [4]), (5, 1 << 22, [16]), (16, 1 << 22, [16])),
        *((17, 1 << 22, [64]), (64, 1 << 22, [64]), (65, 1 << 22, [256])),
        (257, 1 << 22, [256, 256]),
        # A batch holds so many elements: two arguments and two results for each point.
        *((16, 64, [16]), (16, 63, [15, 15]), (5, 19, [4, 4]), (3, 16, [4]), (3, 8, [2, 2])),
        *((3, 4, [1, 1, 1]), (3, 3, [1, 1, 1])),
    ],
)
def test_sizes_of_batches(count, batch, expected, monkeypatch):
    assert batches(cubed, count, monkeypatch, batch=batch) == expected


def test_few_points_are_evaluated_one_by_one(monkeypatch):
    cost = 2 * (1 + 2 / 2000)  # of each point
    for limit, expected in ((4 * cost, [4]), (4 * cost + 0.01, [])):
        assert batches(cubed, 4, monkeypatch, one_by_one=limit) == expected
    assert batches(cubed, 4, monkeypatch, as_it_is=True) == []


def test_loops_are_evaluated_one_by_one_until_they_are_compiled(monkeypatch):
    def f(x):
        return lax.fori_loop(0, 2, lambda _, c: jnp.sin(c), x)

    monkeypatch.setattr(_primal, "_ONE_BY_ONE", 0)
    primal, compiled = primal_of(f), []
    monkeypatch.setattr(jax, "jit", lambda f: compiled.append(f) or f)
    points = np.stack([X, 2 * X])
    expected = np.sin(np.sin(points))
    np.testing.assert_allclose(primal.many(points), expected)
    assert not compiled
    primal._program.is_compiled = True
    primal._program._functions[None] = lambda args, held: [f(args[0])]
    primal._program._functions[True] = primal._program._functions[None]
    primal.many(points)
    batched = primal._batched
    primal.many(points)
    assert primal._batched is batched
    assert len(compiled) == 1
    straight = primal_of(jnp.sin)
    straight.many(points)
    assert len(compiled) == 1


def test_primitive_that_can_not_be_batched(monkeypatch):
    monkeypatch.setattr(_primal, "_ONE_BY_ONE", 0)
    primal = primal_of(jnp.sin)

    def fails(points, held):
        raise NotImplementedError

    primal._batched = fails
    np.testing.assert_allclose(primal.many(np.stack([X, X + 1])), np.sin([X, X + 1]))


# Precision


def looped(x):
    """Half of x until that is below 1."""
    return lax.while_loop(lambda x: jnp.any(x >= 1), lambda x: x / 2, x)


def foreign(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize(
    ("f", "dtype", "expected"),
    [
        (jnp.sin, "float64", FINE),
        (jnp.sin, "float32", SINGLE),
        (lambda x: x.astype("float32"), "float64", SINGLE),
        (lambda x: x.astype("bfloat16").astype(float).astype("float32"), "float64", HALF),
        (
            lambda x: lax.fori_loop(0, 2, lambda _, c: c.astype("bfloat16") * 1.5, x),
            "bfloat16",
            HALF,
        ),
        (lambda x: jnp.sin(x) * jnp.argmax(x), "float64", FINE),
    ],
)
def test_coarsest_dtype_of_a_function(f, dtype, expected):
    x = jnp.ones(2, dtype)
    primal = SimpleNamespace(
        traced=jax.make_jaxpr(f)(x), problem=SimpleNamespace(point=(x.astype(float), x))
    )
    assert coarsest_unit(primal) == expected


NOISE, ROUND = 2.0**-40, 2.0**-41


@pytest.mark.parametrize(
    ("f", "noise", "moved", "expected"),
    [
        (jnp.sin, 1.0, 1.0, (0.0, 0.0)),
        (lambda x: lax.fori_loop(0, 2, lambda _, c: 2 * c, x), 1.0, 1.0, (0.0, 0.0)),
        (foreign, NOISE, 1.0, (NOISE, NOISE)),
        (lambda x: jnp.sin(foreign(x)), NOISE, 1.0, (NOISE, NOISE)),
        (foreign, 1.0, 1.0, (_constants.MOST_NOISE,) * 2),
        # A loop that stops when it is close is right to half of the digits at most.
        (looped, NOISE, ROUND, (NOISE, _constants.STOPPING)),
        (looped, 1e-6, ROUND, (1e-6, 1e-6)),
        (looped, NOISE, 1e-6, (NOISE, _constants.ROUNDS * 1e-6)),
        (looped, NOISE, 1.0, (NOISE, _constants.MOST_NOISE)),
    ],
)
def test_noise_and_tolerance(f, noise, moved, expected, monkeypatch):
    monkeypatch.setattr(_precision, "_noise", lambda primal, direction: noise)
    monkeypatch.setattr(_precision, "_one_more_round", lambda primal: moved)
    primal = SimpleNamespace(traced=jax.make_jaxpr(f)(X))
    assert _precision._noise_and_tolerance(primal, "direction") == expected


@pytest.mark.parametrize(
    ("coarsest", "found", "tolerance", "unit", "arithmetic"),
    [
        (FINE, (0.0, 0.0), None, FINE, Arithmetic(FINE, FINE, 0.0)),
        (SINGLE, (0.0, 0.0), None, FINE, Arithmetic(SINGLE, SINGLE, 0.0)),
        (HALF, (0.0, 0.0), None, FINE, Arithmetic(SINGLE, HALF, 0.0)),
        (FINE, (1e-9, 1e-8), None, 1e-9, Arithmetic(1e-8, FINE, 1e-8)),
        (FINE, (0.0, 1e-8), None, FINE, Arithmetic(1e-8, FINE, 1e-8)),
        (SINGLE, (1e-9, 1e-8), None, SINGLE, Arithmetic(SINGLE, SINGLE, 1e-8)),
        (SINGLE, (1e-5, 1e-4), None, 1e-5, Arithmetic(1e-4, SINGLE, 1e-4)),
        # The caller knows better.
        (FINE, (1e-9, 1e-8), 1e-3, 1e-9, Arithmetic(1e-3, FINE, 1e-3)),
        (FINE, (1e-9, 1e-8), 0.0, 1e-9, Arithmetic(FINE, FINE, 0.0)),
        (HALF, (0.0, 0.0), 1e-12, FINE, Arithmetic(SINGLE, HALF, 1e-12)),
    ],
)
def test_precision_of_a_function(coarsest, found, tolerance, unit, arithmetic, monkeypatch):
    monkeypatch.setattr(_precision, "coarsest_unit", lambda primal: coarsest)
    monkeypatch.setattr(_precision, "_noise_and_tolerance", lambda primal, direction: found)
    primal = SimpleNamespace(unit=FINE, arithmetic=None)
    set_precision(primal, tolerance, None)
    assert (primal.unit, primal.arithmetic) == (unit, arithmetic)
    primal.unit = 0.5
    set_precision(primal, tolerance, None)
    assert primal.unit == 0.5


def test_change_by_one_more_round():
    """Relative to the largest value; zeros and values that are not finite do not count."""

    def of(f, x, **options):
        primal = primal_of(f, np.asarray(x))
        for name, value in options.items():
            setattr(primal, name, value)
        with np.errstate(invalid="ignore"):
            return _precision._one_more_round(primal)

    assert of(looped, [3.0, 0.5]) == pytest.approx(0.5)
    assert of(lambda x: (looped(x), 4 * x), [3.0]) == pytest.approx(0.75 / 2 / 12)
    assert of(jnp.sin, [3.0]) == 0
    assert of(lambda x: 0 * looped(x), [3.0]) == 0
    assert of(lambda x: (looped(x), -jnp.inf * looped(x)), [3.0]) == 0
    assert of(looped, [3.0], is_as_it_is=True) == 0
    large = np.full(SMALL + 1, 3.0, np.float32)  # JAX computes it
    with jax.enable_x64(False):  # in float64 all the same
        moved = of(lambda x: 1 + looped(x) * 2.0**-40, large)
    assert moved == pytest.approx(0.375 * 2.0**-40)
