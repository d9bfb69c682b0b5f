"""Second derivatives, other modes and values, at both sides of each bound, in NumPy.

Covers jaxconv/verify/comparison/_second_order.py, jaxconv/verify/comparison/_other_modes.py,
jaxconv/verify/comparison/_primal_values.py.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants, _modes
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison import _other_modes, _primal_values, _second_order
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._other_modes import OtherModes
from jaxconv.verify.comparison._primal_values import judge_primal_values
from jaxconv.verify.comparison._second_order import judge_second_order
from jaxconv.verify.report._contents import Mode
from jaxconv.verify.truth._differences import all_steps
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._rounding import Measured

pytestmark = pytest.mark.usefixtures("no_type_checker", "float64")

MARGIN, ERRORS, UNITS = _constants.MARGIN, _constants.ERRORS, _constants.UNITS_OF_COMPARISON
TWO, TINY = _constants.TWO_ROUNDINGS, float(np.finfo(float).tiny)
INF, NAN = np.inf, np.nan
LEAVES = Leaf("x", 0, (2,), np.dtype(float), 0), Leaf("y", 1, (), np.dtype(float), 2)
OUTPUTS = Leaf("z", -1, (2,), np.dtype(float), 0), Leaf("u", -1, (), np.dtype(float), 2)
OK = "ok", ""


def problem_of(f=lambda: (), values=()):
    return Problem("f", f, LEAVES, OUTPUTS, (), np.asarray(values))


def places(findings):
    return [(f.leaf.name, f.mode, np.flatnonzero(f.is_wrong).tolist()) for f in findings.wrong]


# Second derivatives

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
        problem=problem_of(),
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
            assert places(found) == is_wrong * [("x", NAMES[0], [1])]
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
        assert places(found) == is_wrong * [("v H v", NAMES[1], [0])]


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
        assert places(found)[-1] == ("y", NAMES[0], [0])


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
    findings = Findings(problem_of())
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
                primal=SimpleNamespace(point=point, unit=primal_unit, problem=problem_of()),
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


# Other modes

REVERSE, FORWARD = np.array([[1.0, -2.0, 4.0], [9, 9, 9]]), np.array([[3.0, 1.0, -1.0], [8, 8, 8]])


def others(names, monkeypatch, table, *, measured=("reverse", "forward"), linear=(), **options):
    """The findings about modes, which return what `table` says."""
    options = {"rounding": (0.0, 0.0), "is_narrow": False} | options
    asked, rows = [], {"reverse": REVERSE, "forward": FORWARD}

    def own(kind, point, more):
        assert point == "point"
        asked.append((kind, more))
        rounding = options["rounding"][bool(more)]
        return rows[kind], np.stack([np.full(3, rounding), np.full(3, INF)])

    for name in ("REVERSE_LIKE", "FORWARD_LIKE"):
        monkeypatch.setattr(_modes, name, table.get(name, {}))
    monkeypatch.setattr(_other_modes, "_result", lambda mode, f, *args: mode(*args))
    evidence = SimpleNamespace(
        problem=problem_of("f"),
        draws=SimpleNamespace(xs="xs", ws=["w0", "w1"], vs=["v0", "v1"]),
        measured=measured,
        is_narrow=options["is_narrow"],
        primal=SimpleNamespace(point="point"),
        rows=lambda kind: (rows[kind], None),
        own=own,
    )
    findings = Findings(evidence.problem)
    OtherModes(evidence, findings).judge(names, linear)
    return findings, asked


def gives(row, seen=None):
    """A mode with the given result, in parts."""

    def mode(*args):
        if seen is not None:
            seen.append(args)
        return [row[:2], row[2]]

    return mode


def test_modes_that_are_asked_for(monkeypatch):
    seen = []
    table = {
        "REVERSE_LIKE": {
            "jit": gives(REVERSE[0], seen),
            "symbolic_zeros": gives(REVERSE[0]),
            "scan": gives(REVERSE[0] + 1),
        },
        "FORWARD_LIKE": {
            "linearize": gives(FORWARD[0]),
            "symbolic_zeros, tangents": gives(FORWARD[0]),
        },
    }
    found, asked = others(["jit", "symbolic_zeros"], monkeypatch, table)
    names = ["jit", "symbolic_zeros", "symbolic_zeros, tangents"]
    assert found.modes == [Mode(name, *OK) for name in names]
    assert seen == [("xs", ["w0", "w1"], ["v0", "v1"])]
    assert asked == [("reverse", 0), ("reverse", 0), ("forward", 0)]
    found, _ = others(["jit", "linearize", "symbolic_zeros"], monkeypatch, table, measured=())
    assert found.modes == [
        Mode("jit", "absent", "the function has no reverse mode"),
        Mode("linearize", "absent", "the function has no forward mode"),
    ]
    found, _ = others(["scan", "linearize"], monkeypatch, table)
    assert places(found) == [("x", "scan", [0, 1]), ("y", "scan", [0])]


@pytest.mark.parametrize("kind", ["REVERSE_LIKE", "FORWARD_LIKE"])
def test_bound_of_other_modes(kind, monkeypatch):
    """Twice the bound of the own dtypes, estimated more closely in doubt."""
    rows, name = (REVERSE, "x") if kind == "REVERSE_LIKE" else (FORWARD, "z")
    last = FINE * abs(rows[0, 1]) + TINY
    for rounding, more in ((0.0, 0.0), (1e-3, 0.0), (1e-3, 2e-3)):
        for is_narrow in (False, True):
            widest = more if is_narrow and more else rounding
            for share, is_wrong in ((0.7, False), (1.4, True)):
                value = rows[0] + [0, share * TWO * (MARGIN * widest + last), 0]
                found, asked = others(
                    ["mode"],
                    monkeypatch,
                    {kind: {"mode": gives(value)}},
                    rounding=(rounding, more or rounding),
                    is_narrow=is_narrow,
                )
                assert places(found) == is_wrong * [(name, "mode", [1])]
                is_closer = is_narrow and (is_wrong or more > 0)
                looks = [0, _constants.SECOND_LOOK] if is_closer else [0]
                assert [each for _, each in asked] == looks


def test_a_cotangent_of_zeros_gives_zeros(monkeypatch):
    for last, is_wrong in ((0.0, False), (1e-300, True)):
        mode = {"zero_cotangent": gives(np.array([0, 0, last]))}
        found, asked = others(["zero_cotangent"], monkeypatch, {"REVERSE_LIKE": mode})
        assert places(found) == is_wrong * [("y", "zero_cotangent", [0])]
        assert not asked


def test_transposes_of_linear_arguments(monkeypatch):
    """Each argument alone, with the first cotangent and its part of the gradient."""
    seen = []

    for gap, is_wrong in ((0.0, False), (1.0, True)):

        def transposed(*args, gap=gap):
            seen.append(args)
            return [REVERSE[0, 2] + gap] if args[-1] else [REVERSE[0, :2]]

        monkeypatch.setattr(_modes, "transposed", transposed)
        seen.clear()
        found, _ = others(["linear_transpose"], monkeypatch, {}, linear=LEAVES)
        assert seen == [("xs", "w0", 0), ("xs", "w0", 1)]
        assert places(found) == is_wrong * [("y", "linear_transpose, y", [0])]
        assert [mode.name for mode in found.modes] == [f"linear_transpose, {n}" for n in "xy"]
    assert not others(["jit"], monkeypatch, {}, linear=LEAVES)[0].modes


def test_other_modes_that_fail(monkeypatch):
    def fails(error):
        def mode(*args):
            raise error

        return mode

    table = {"jit": fails(_modes.Absent("no rule")), "scan": fails(ZeroDivisionError("in it"))}
    found, _ = others(["jit", "scan"], monkeypatch, {"REVERSE_LIKE": table})
    assert found.modes == [
        Mode("jit", "absent", "no rule"),
        Mode("scan", "crashed", "ZeroDivisionError: in it"),
    ]


def test_mode_that_jax_cannot_trace_is_called():
    x, calls = np.array([1.0, 2.0]), []

    def branches(f, xs, *rest):
        calls.append(isinstance(xs[0], jax.core.Tracer))
        if calls[-1]:
            raise ValueError("values are needed")
        return f(*xs, *rest)

    assert _other_modes._result(branches, lambda x, y: x + y, (x,), 2).tolist() == [3, 4]
    assert calls == [True, False]
    (found,) = _other_modes._result(lambda f, xs, y: f(*xs) + y, lambda x: 2 * x, (x,), 1)
    assert found.tolist() == [3, 5]

    def absent(f, xs):
        calls.append("absent")
        raise NotImplementedError("no rule")

    with pytest.raises(_modes.Absent):
        _other_modes._result(absent, None, (x,))
    assert calls[2:] == ["absent"]  # once


# Values

VALUES = np.array([1.0, -4.0, 2.0])


def values_of(ways, monkeypatch, rounding=0.0, values=VALUES):
    asked = []
    monkeypatch.setattr(
        _primal_values, "_WAYS", {way: (lambda f, xs, vs, r=r: r()) for way, r in ways.items()}
    )

    def measured():
        asked.append(1)
        return np.full(3, rounding)

    evidence = SimpleNamespace(
        problem=problem_of(values=values),
        draws=SimpleNamespace(xs=None, vs=None),
        rounding_of_value=measured,
    )
    findings = Findings(evidence.problem)
    judge_primal_values(evidence, findings)
    return findings, asked


def test_bound_of_values(monkeypatch):
    """Twice the rounding, but at most a sixteenth of the largest value of the array."""
    last = FINE * 4 + TINY
    for rounding, bound in (
        (0.0, TWO * last),
        (1e-3, TWO * (MARGIN * 1e-3 + last)),
        (1.0, 4 / 16 + last),
    ):
        for share, is_wrong in ((0.7, False), (1.4, True), (-1.4, True)):
            gap = np.array([0, share * bound, 0])
            found, asked = values_of(
                {"vjp": lambda: VALUES, "jvp": lambda gap=gap: VALUES + gap}, monkeypatch, rounding
            )
            assert places(found) == is_wrong * [("z", "primal_value", [1])]
            assert [f.note for f in found.wrong] == is_wrong * ["jax.jvp"]
            assert len(asked) == 1
            assert found.modes[-1].status == ("wrong" if is_wrong else "ok")
    # To the last digit.
    for units, is_wrong in ((1, False), (2, True)):
        gap = np.array([0, 0.25 + units * FINE * 4, 0])
        found, _ = values_of({"vjp": lambda gap=gap: VALUES + gap}, monkeypatch, 1.0)
        assert bool(found.wrong) == is_wrong
    # However small they are.
    small = VALUES / 64
    for share, is_wrong in ((0.9, False), (1.1, True)):
        gap = np.array([0, share * 4 / 64 / 16, 0])
        ways = {"vjp": lambda gap=gap: small + gap}
        assert bool(values_of(ways, monkeypatch, 1.0, small)[0].wrong) == is_wrong
    # The largest of each array.
    for by, name in ((0.26, "z"), (0.13, "u")):
        for share in (0.9, 1.0):
            gap = np.array([0, by * share, 0] if name == "z" else [0, 0, by * share])
            found, _ = values_of({"vjp": lambda gap=gap: VALUES + gap}, monkeypatch, 1.0)
            assert bool(found.wrong) == (share == 1)


def test_values_that_are_the_same_or_not_there(monkeypatch):
    def fails():
        raise ZeroDivisionError

    lost = np.array([1.0, NAN, 2.0])
    found, asked = values_of({"vjp": lambda: lost.copy()}, monkeypatch, values=lost)
    assert (places(found), asked, found.modes) == ([], [], [Mode("primal_value", *OK)])
    other = VALUES + 1
    found, asked = values_of({"vjp": fails, "jvp": lambda: other, "linearize": fails}, monkeypatch)
    assert [f.note for f in found.wrong] == 2 * ["jax.jvp"]
    assert len(asked) == 1
    found, _ = values_of({"vjp": lambda: other, "jvp": lambda: other}, monkeypatch)
    assert len(found.wrong) == 2  # of the first way alone


def test_ways_to_a_value():
    def f(x, y):
        return x * y, x

    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    vs = [(np.array([7.0, 7.0]), np.array([9.0, 9.0])), (x, y)]
    for call in _primal_values._WAYS.values():
        product, same = call(f, (x, y), vs)
        np.testing.assert_array_equal(product, x * y)
        np.testing.assert_array_equal(same, x)
    assert set(_primal_values._WAYS) == {"vjp", "jvp", "linearize"}
