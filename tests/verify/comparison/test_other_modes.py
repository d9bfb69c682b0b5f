"""Each other mode at both sides of its bound, in NumPy."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxconv.verify import _constants, _modes
from jaxconv.verify.comparison import _other_modes
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._other_modes import OtherModes
from jaxconv.verify.report._contents import Mode
from jaxconv.verify.truth._operations import FINE

from .findings import PAIR, problem_of_pair, wrong_elements

pytestmark = pytest.mark.usefixtures("no_type_checker", "float64")

MARGIN, TWO, TINY, INF = (
    _constants.MARGIN,
    _constants.TWO_ROUNDINGS,
    float(np.finfo(float).tiny),
    np.inf,
)
OK = "ok", ""
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
        problem=problem_of_pair("f"),
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
    assert wrong_elements(found) == [("x", "scan", [0, 1]), ("y", "scan", [0])]


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
                assert wrong_elements(found) == is_wrong * [(name, "mode", [1])]
                is_closer = is_narrow and (is_wrong or more > 0)
                looks = [0, _constants.SECOND_LOOK] if is_closer else [0]
                assert [each for _, each in asked] == looks


def test_a_cotangent_of_zeros_gives_zeros(monkeypatch):
    for last, is_wrong in ((0.0, False), (1e-300, True)):
        mode = {"zero_cotangent": gives(np.array([0, 0, last]))}
        found, asked = others(["zero_cotangent"], monkeypatch, {"REVERSE_LIKE": mode})
        assert wrong_elements(found) == is_wrong * [("y", "zero_cotangent", [0])]
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
        found, _ = others(["linear_transpose"], monkeypatch, {}, linear=PAIR)
        assert seen == [("xs", "w0", 0), ("xs", "w0", 1)]
        assert wrong_elements(found) == is_wrong * [("y", "linear_transpose, y", [0])]
        assert [mode.name for mode in found.modes] == [f"linear_transpose, {n}" for n in "xy"]
    assert not others(["jit"], monkeypatch, {}, linear=PAIR)[0].modes


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
