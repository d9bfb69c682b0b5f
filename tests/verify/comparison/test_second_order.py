"""Second derivatives at both sides of each bound, in NumPy."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants, _modes
from jaxconv.verify.comparison import _second_order
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._second_order import judge_second_order
from jaxconv.verify.report._contents import Mode
from jaxconv.verify.truth._differences import all_steps
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._rounding import Measured

from .findings import problem_of_pair, wrong_elements

pytestmark = pytest.mark.usefixtures("no_type_checker", "float64")

MARGIN, ERRORS, UNITS, TWO, INF, NAN = (
    _constants.MARGIN,
    _constants.ERRORS,
    _constants.UNITS_OF_COMPARISON,
    _constants.TWO_ROUNDINGS,
    np.inf,
    np.nan,
)
OK = "ok", ""
TRUE = np.array([1.5, -2.0, 0.25])
V = np.array([[2.0, -1.0, 4.0], [0.0, 1.0, 1.0]])
NAMES = ("forward over reverse", "forward over forward")


def second(
    found,
    monkeypatch,
    *,
    exact=None,
    curvature=None,
    stops=False,
    is_large=False,
    is_autodiff=True,
    measured=("true_reverse",),
    traces=True,
    wrong=(),
    fails=False,
):
    """The findings about compositions that give the `found` values and roundings."""
    asked = {}

    def measurement(traces, arithmetic, seed, samples, pairs):
        asked.update(arithmetic=arithmetic, seed=seed, samples=samples, pairs=pairs)
        asked["traces"] = dict(traces)
        known = found | {"true": exact or (NAN * TRUE, NAN * TRUE)}
        return lambda args: asked.update(args=args) or {n: Measured(*known[n]) for n in args}

    def function64(*leaves):
        if fails:
            raise _modes.Absent("no value in float64")
        return jnp.sum(leaves[0]) * leaves[1], leaves[1]

    monkeypatch.setattr(_second_order, "Measurement", measurement)
    curvature = curvature or (TRUE, np.zeros(3))
    monkeypatch.setattr(_second_order, "_curvature", lambda evidence: curvature)
    monkeypatch.setattr(_second_order, "is_large", lambda problem: is_large)
    monkeypatch.setattr(
        _second_order, "_traces", lambda f, point, findings: dict.fromkeys(found) if traces else {}
    )
    xs = np.float32([1.0, 2.0]), np.float32(3.0)
    evidence = SimpleNamespace(
        truth=SimpleNamespace(is_autodiff=is_autodiff),
        measured=measured,
        problem=problem_of_pair(),
        primal=SimpleNamespace(function64=function64, arithmetic=Arithmetic(), stops=stops),
        draws=SimpleNamespace(
            xs=xs,
            ws=[(np.float32(1.0), np.float32(2.0)), None],
            vs=[(np.float32([2.0, -1.0]), np.float32(4.0)), None],
            directions=V,
        ),
        seed=7,
        unit=FINE,
    )
    findings = Findings(evidence.problem)
    findings.wrong += wrong
    judge_second_order(evidence, findings)
    return findings, asked


def test_bound_of_second_derivatives(monkeypatch):
    """Twice 8 times the rounding, the error of the truth, and a few units."""
    zero = np.zeros(3)
    for rounding, error in ((0.0, 0.0), (1e-3, 0.0), (0.0, 1e-3), (1e-3, 5e-3)):
        bound = TWO * MARGIN * rounding + error + UNITS * FINE * 2.0
        for share, is_wrong in ((0.7, False), (1.4, True), (-0.7, False), (-1.4, True)):
            value = TRUE + np.array([0, share * bound, 0])
            found, _ = second(
                {NAMES[0]: (value, zero + rounding)}, monkeypatch, curvature=(TRUE, zero + error)
            )
            assert wrong_elements(found) == is_wrong * [("x", NAMES[0], [1])]
            status = ("wrong", "wrong for x") if is_wrong else OK
            assert found.modes == [Mode(NAMES[0], *status)]


def test_bound_of_the_second_derivative_along_the_direction(monkeypatch):
    true, error = TRUE @ V[0], np.array([1e-3, 2e-3, 0.0])
    bound = TWO * MARGIN * 1e-3 + error @ np.abs(V[0]) + UNITS * FINE * abs(true)
    for share, is_wrong in ((0.99, False), (1.01, True)):
        value = np.array([true + share * bound])
        found, _ = second(
            {NAMES[1]: (value, np.array([1e-3]))}, monkeypatch, curvature=(TRUE, error)
        )
        assert wrong_elements(found) == is_wrong * [("v H v", NAMES[1], [0])]


def test_values_beyond_the_range_are_not_compared(monkeypatch):
    """An infinite truth excuses its own element, and no rounding makes a result infinite."""
    for value, true, rounding, is_wrong in (
        *((9.0, INF, 0.0, False), (INF, INF, 0.0, False), (9.0, NAN, 0.0, False)),
        *((NAN, NAN, 0.0, False), (INF, 1.0, INF, True), (NAN, 1.0, 0.0, True)),
    ):
        arrays = [np.where(np.arange(3) == 1, a, TRUE) for a in (value, true)]
        spread = np.array([0.0, rounding, 0.0])
        found, _ = second(
            {NAMES[0]: (arrays[0], spread)}, monkeypatch, curvature=(arrays[1], np.zeros(3))
        )
        assert bool(found.wrong) == is_wrong
        arrays[0][2] += 1  # another element is still compared
        found, _ = second(
            {NAMES[0]: (arrays[0], spread)}, monkeypatch, curvature=(arrays[1], np.zeros(3))
        )
        assert wrong_elements(found)[-1] == ("y", NAMES[0], [0])


def test_where_the_true_second_derivative_is_from(monkeypatch):
    """Differences; autodiff where values are held constant, and for a large function."""
    zero, other = np.zeros(3), TRUE + 1
    found = {NAMES[0]: (other, zero)}
    for options, is_autodiff in (
        ({}, False),
        ({"stops": True}, True),
        ({"is_large": True}, True),
        ({"stops": True, "fails": True}, False),
    ):
        # Autodiff gives `other`, with a rounding that widens the bound.
        judged, asked = second(found, monkeypatch, exact=(other, zero), **options)
        assert bool(judged.wrong) == (not is_autodiff)
        assert ("true" in asked["traces"]) == ("fails" not in options)
    for gap, is_wrong in ((MARGIN * 1e-3 * 0.99, False), (MARGIN * 1e-3 * 1.01, True)):
        value = other + np.array([gap, 0, 0])
        judged, _ = second(
            {NAMES[0]: (value, zero)}, monkeypatch, exact=(other, zero + 1e-3), stops=True
        )
        assert bool(judged.wrong) == is_wrong
    both = {name: (TRUE if name == NAMES[0] else np.array([TRUE @ V[0]]), 0.0) for name in NAMES}
    both = {name: (value, np.zeros(value.shape)) for name, (value, _) in both.items()}
    _, asked = second(both, monkeypatch, exact=(TRUE, zero))
    assert asked["pairs"] == {NAMES[0]: "true", "true": None}
    assert (asked["seed"], asked["samples"]) == (7, _constants.FEW_SAMPLES)
    assert list(asked["args"]) == [*NAMES, "true"]
    flat = [np.asarray(a).tolist() for a in asked["args"]["true"]]
    assert flat == [[1.0, 2.0], 3.0, 1.0, 2.0, [2.0, -1.0], 4.0]
    traced = asked["traces"]["true"]
    assert {str(v.aval.dtype) for v in traced.jaxpr.invars} == {"float64"}


def test_second_derivatives_that_are_not_judged(monkeypatch):
    found = {NAMES[0]: (TRUE + 1, np.zeros(3))}
    unknown = [Mode("second_order", "absent", "the true second derivative is unknown")]
    for options, modes in (
        ({"is_autodiff": False}, unknown),
        ({"measured": ()}, unknown),
        ({"traces": False}, []),
    ):
        judged, asked = second(found, monkeypatch, **options)
        assert judged.modes == modes
        assert not asked
    other = SimpleNamespace(mode="jit")  # the first derivative is wrong already
    judged, asked = second(found, monkeypatch, wrong=[other])
    assert (judged.modes, judged.wrong, asked) == ([], [other], {})


def test_compositions_that_do_not_exist(monkeypatch):
    def absent(f, *args):
        raise NotImplementedError("no rule")

    def crashes(f, *args):
        raise ZeroDivisionError("in the rule")

    table = {"one": absent, "two": crashes, "three": lambda f, xs, w, v: f(*xs)}
    monkeypatch.setattr(_modes, "SECOND_ORDER", table)
    findings = Findings(problem_of_pair())
    x = np.ones(2)
    traces = _second_order._traces(lambda x: (2 * x,), ((x,), (x,), (x,)), findings)
    assert list(traces) == ["three"]
    assert findings.modes == [
        Mode("one", "absent", "no rule"),
        Mode("two", "crashed", "ZeroDivisionError: in the rule"),
    ]


def test_curvature_by_differences(monkeypatch):
    """At a kink of the gradient, half of the gap between the two sides is allowed."""
    point = np.array([0.5, 0.0, 1.0])

    def gradient(at, ws):
        assert ws == "ws"
        return np.array([np.sin(at[0]), np.abs(at[1]), 3 * at[2]])

    def of(primal_unit):
        return _second_order._curvature(
            SimpleNamespace(
                primal=SimpleNamespace(point=point, unit=primal_unit, problem=problem_of_pair()),
                draws=SimpleNamespace(cotangents="ws", directions=V),
                derivatives=SimpleNamespace(true_reverse=gradient),
            )
        )

    monkeypatch.setattr(_second_order, "step_sizes", lambda primal: all_steps())
    slope, error = of(FINE)
    np.testing.assert_allclose(slope, [2 * np.cos(0.5), 0, 12], atol=1e-7)
    assert error[0] < 1e-6 > error[2]
    np.testing.assert_allclose(error[1], 1, rtol=1e-6)
    _, coarse = of(1e-7)
    assert np.all(coarse > 100 * np.array([error[0], 0, error[2]]))
    line = _second_order.slopes(lambda at: gradient(at, "ws"), point, V[0], all_steps(), 1e-7)
    expected = ERRORS * line.error
    sides = np.abs(line.right - line.left) / 2 + ERRORS * line.side_error
    np.testing.assert_array_equal(line.is_kink, [False, True, False])
    np.testing.assert_allclose(coarse, expected + sides * line.is_kink)
