"""True and reported derivatives at any point, by their names, and what they are measured with."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._problem import problem_of, typed
from jaxconv.verify.comparison import _derivatives
from jaxconv.verify.comparison._derivatives import Derivatives
from jaxconv.verify.truth._operations import Arithmetic
from jaxconv.verify.truth._primal import Primal

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

X, Y = np.array([0.5, -1.0]), np.array([2.0, 3.0], np.float32)
POINT = np.concatenate([X, Y])
WS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32).astype(float)
VS = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32).astype(float)


@jax.custom_vjp
def f(x, y):
    """A product and a square; the rule gives twice the gradient of x."""
    return x * y, y * y


f.defvjp(lambda x, y: (f(x, y), (x, y)), lambda r, w: (2 * w[0] * r[1], _of_y(r, w)))


def _of_y(residuals, w):
    x, y = residuals
    return (w[0] * x + 2 * w[1] * y).astype(y.dtype)


@jax.custom_jvp
def g(x, y):
    """The same; the rule gives thrice the tangent."""
    return x * y, y * y


@g.defjvp
def _(primals, tangents):
    (x, y), (v, u) = primals, tangents
    return g(x, y), (3 * (v * y + x * u), (6 * y * u).astype(y.dtype))


def reverse(point, ws, factor=1.0):
    x, y = np.split(point, 2)
    rows = [(factor * w[:2] * y, w[:2] * x + 2 * w[2:] * y) for w in ws]
    return np.stack([np.concatenate(row) for row in rows])


def forward(point, vs, factor=1.0):
    x, y = np.split(point, 2)
    rows = [(factor * (v[:2] * y + x * v[2:]), factor * 2 * y * v[2:]) for v in vs]
    return np.stack([np.concatenate(row) for row in rows])


def derivatives(function, model=None):
    problem = problem_of(function, (X, Y), None)
    draws = SimpleNamespace(
        xs=problem.point,
        ws=[typed(problem.outputs, w) for w in WS],
        vs=[typed(problem.leaves, v) for v in VS],
        cotangents=WS,
        directions=VS,
    )
    primal = Primal(problem)
    primal.arithmetic = Arithmetic(unit=2.0**-30)
    return Derivatives(problem, primal, model or primal, draws, 3)


ELSEWHERE = POINT + np.array([1.0, 2.0, 4.0, 8.0])


def test_derivatives_by_the_rules_and_true_ones():
    found = derivatives(f)
    assert set(found.traces) == {"value", "reverse", "true_reverse", "true_forward"}
    assert list(found.missing) == ["forward"]
    assert "forward-mode" in found.missing["forward"]
    assert found.crashed == {}
    for point in (POINT, ELSEWHERE):
        np.testing.assert_allclose(found.reverse(point, WS[::-1]), reverse(point, WS[::-1], 2))
        np.testing.assert_allclose(found.true(point, "reverse"), reverse(point, WS))
        np.testing.assert_allclose(found.true(point, "forward"), forward(point, VS))
        first = found.true_reverse(point, WS[[1, 0, 2]])
        np.testing.assert_allclose(first, reverse(point, WS[1:2])[0])
    measured = found(POINT, WS)
    assert set(measured) == {"reverse", "true_reverse", "true_forward"}
    np.testing.assert_allclose(measured["reverse"].value, reverse(POINT, WS, 2).ravel())
    np.testing.assert_allclose(measured["true_forward"].value, forward(POINT, VS).ravel())
    (value,) = found(POINT, WS, ["value"]).items()
    assert value[0] == "value"
    np.testing.assert_allclose(value[1].value, np.concatenate([X * Y, Y * Y]))
    assert set(found(POINT, WS, ["true_forward", "value"])) == {"true_forward", "value"}


def test_tangents_by_the_rule():
    found = derivatives(g)
    np.testing.assert_allclose(found.forward(POINT, VS), forward(POINT, VS, 3).ravel())
    np.testing.assert_allclose(found.forward(ELSEWHERE, -VS), forward(ELSEWHERE, -VS, 3).ravel())
    measured = found(POINT, WS, ["forward"], vs=2 * VS)["forward"]
    np.testing.assert_allclose(measured.value, forward(POINT, 2 * VS, 3).ravel())
    assert found.missing == found.crashed == {}


def test_what_has_no_derivative_and_what_raises(monkeypatch):
    def fails(error):
        def mode(*args):
            raise error

        return mode

    monkeypatch.setattr(_derivatives._modes, "reverse", fails(NotImplementedError("no rule")))
    monkeypatch.setattr(_derivatives._modes, "forward", fails(ZeroDivisionError("in the rule")))
    found = derivatives(lambda x, y: x * y)
    assert list(found.traces) == ["value"]
    assert found.missing == dict.fromkeys(("reverse", "true_reverse"), "no rule")
    assert {n: str(e) for n, e in found.crashed.items()} == {
        "forward": "in the rule",
        "true_forward": "in the rule",
    }


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("has_model", [False, True])
def test_what_is_measured_with(is_large, has_model, monkeypatch):
    """Constants of autodiff are exact; those of another formula are rounded."""
    made, calls = [], []

    def measurement(*args):
        made.append(args)
        return lambda *args: calls.append(args)

    monkeypatch.setattr(_derivatives, "is_large", lambda problem: is_large)
    monkeypatch.setattr(_derivatives, "Measurement", measurement)
    model = Primal(problem_of(lambda x, y: (y * x, y**2), (X, Y), None)) if has_model else None
    found = derivatives(lambda x, y: (x * y, y * y), model)
    ((traces, arithmetic, seed, samples, pairs),) = made
    assert traces is found.traces
    assert (arithmetic, seed) == (Arithmetic(unit=2.0**-30), 3)
    assert samples == (_constants.FEW_SAMPLES if is_large else _constants.SAMPLES)
    exact = "" if has_model else None
    assert pairs == {
        **{"reverse": "true_reverse", "forward": "true_forward", "value": None},
        **{"true_reverse": exact, "true_forward": exact},
    }
    found(POINT, WS, ["reverse"])
    found(POINT, WS, ["reverse"], True, 5, True)
    assert [call[1:] for call in calls] == [(False, 0, False), (True, 5, True)]
    assert [list(call[0]) for call in calls] == [["reverse"]] * 2
    wide = traces["true_reverse"].jaxpr.invars
    assert {str(v.aval.dtype) for v in wide} == {"float64"}
    narrow = traces["reverse"].jaxpr.invars
    assert {str(v.aval.dtype) for v in narrow} == {"float64", "float32"}
    # The true derivatives are those of the model.
    names = [e.primitive.name for e in traces["true_forward"].jaxpr.eqns]
    assert ("integer_pow" in names or "square" in names) == has_model


def test_a_function_without_values_in_float64():
    primal = Primal(problem_of(f, (X, Y), None))
    primal.is_as_it_is = True
    found = derivatives(f, primal)
    assert set(found.traces) == {"value", "reverse"}
    assert {"true_reverse", "true_forward"} < set(found.missing)
