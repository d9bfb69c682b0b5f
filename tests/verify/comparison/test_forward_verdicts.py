"""Forward mode, the dot test and the second point at both sides of each bound, in NumPy.

Covers jaxconv/verify/comparison/_first_order.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison import _first_order
from jaxconv.verify.comparison._evidence import Called
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._first_order import FirstOrder
from jaxconv.verify.report._contents import Mode
from jaxconv.verify.truth._operations import FINE
from jaxconv.verify.truth._truth import Truth

from .findings import FORWARD, LINES, REVERSE, WRONG, V, W, changed, judged, line, places

pytestmark = pytest.mark.usefixtures("no_type_checker")

ERRORS = _constants.ERRORS
INF = np.inf
MARGIN = _constants.MARGIN
NAN = np.nan
UNITS = _constants.UNITS_OF_COMPARISON


def test_modes_that_cannot_be_judged():
    error = ZeroDivisionError("in the rule")
    both = ("reverse", "forward")
    right = Mode("reverse", "ok", ""), Mode("forward", "ok", "")
    crash = "ZeroDivisionError: in the rule"
    for options, modes, plain in (
        ({}, right, []),
        ({"missing": {"forward": "why"}}, (right[0], Mode("forward", "absent", "why")), []),
        ({"missing": {"reverse": "why"}}, (Mode("reverse", "absent", "why"), right[1]), []),
        ({"crashed": {"forward": error}}, (right[0], Mode("forward", "crashed", crash)), 1),
        ({"crashed": {"reverse": error}}, (Mode("reverse", "crashed", crash), right[1]), 1),
        # The call is that of the reverse rule.
        ({"called": Called(error=error)}, (Mode("reverse", "crashed", crash), right[1]), 1),
    ):
        found = judged(both, **options)
        assert found.modes == list(modes)
        assert len(found.plain) == (plain or 0)
    assert judged(("forward",), measured=()).modes == [right[1]]
    assert judged((), measured=()).modes == []
    missing = {"reverse": "no rule", "forward": "none either"}
    found = judged(both, missing=missing, measured=())
    (failure,) = found.plain
    assert failure.mode == "reverse, forward"
    assert failure.diagnosis == "JAX has no derivative of the function"
    assert failure.evidence == "no rule"
    assert [mode.status for mode in found.modes] == ["absent", "absent"]


def test_what_calls_of_the_rule_show():
    names = ("cotangent_dtype", "determinism")
    good, bad = Called(REVERSE), Called(REVERSE, REVERSE[0], False, ("x: one", "y: two"))
    assert judged(names, called=good).modes == [Mode(name, "ok", "") for name in names]
    found = judged(names, called=bad)
    repeated = "the same call returned different values"
    assert found.modes == [
        Mode("cotangent_dtype", "wrong", "x: one; y: two"),
        Mode("determinism", "wrong", repeated),
    ]
    assert [failure.diagnosis for failure in found.plain] == ["x: one", repeated]
    assert judged(names[:1], called=bad).modes == found.modes[:1]
    assert judged(names[1:], called=bad).modes == found.modes[1:]
    assert judged(names, called=Called()).modes == []  # the call raised


# Forward mode


def test_bound_of_forward_mode():
    for row, element in ((0, 1), (1, 0)):
        last = UNITS * FINE * abs(FORWARD[row, element])
        for rounding, error in ((0, 0), (1e-3, 0), (0, 1e-3), (1e-3, 5e-3)):
            bound = MARGIN * rounding + error + last
            for share, is_wrong in ((0.7, False), (1.4, True), (-0.7, False), (-1.4, True)):
                found = judged(
                    ("forward",),
                    forward=changed(FORWARD, row, element, share * bound),
                    rounding=rounding,
                    forward_error=error,
                )
                assert places(found, "forward") == is_wrong * [("z", row, [element])]
                assert found.modes[0].status == ("wrong" if is_wrong else "ok")
    reported = changed(changed(FORWARD, 0, 0, 1.0), 1, 1, 1.0)
    (wrong,) = judged(("forward",), forward=reported).wrong  # the first
    np.testing.assert_array_equal(wrong.reported, reported[0])
    np.testing.assert_array_equal(wrong.true, FORWARD[0])
    assert wrong.bound.max() < 1e-12


def test_tangents_below_the_smallest_number_are_flushed():
    narrow = (Leaf("z", -1, (2,), np.dtype("float32"), 0),)
    tiny, lines = float(np.finfo(np.float32).tiny), tuple(line(np.zeros(2)) for _ in V)
    small = V * [[1 / 64], [1]]
    for row, v in enumerate(small):
        for share, is_wrong in ((0.9, False), (1.1, True)):
            tangents = changed(0 * FORWARD, row, 1, share * np.abs(v).max() * tiny)
            truth = Truth(REVERSE, 0 * REVERSE, 0 * FORWARD, 0 * FORWARD, lines, "", True)
            order = FirstOrder(
                SimpleNamespace(
                    problem=SimpleNamespace(outputs=narrow),
                    draws=SimpleNamespace(directions=small),
                    primal=SimpleNamespace(is_smooth=True),
                    truth=truth,
                    rows=lambda name, rows=tangents: (rows, 0 * rows),
                    unit=FINE,
                ),
                Findings(Problem("f", len, (), narrow, (), np.zeros(0))),
            )
            order._forward()
            assert bool(order.findings.wrong) == is_wrong


@pytest.mark.parametrize("is_turned", [False, True])
def test_tangents_between_the_slopes_of_a_kink(is_turned):
    """Up to the bound and 16 times the error of the slopes."""
    sides = {"left": 2.0, "right": -1.0} if is_turned else {"left": -1.0, "right": 2.0}
    for side_error in (0.0, 0.01):
        slack = ERRORS * side_error + MARGIN * 0.001
        for by, is_wrong in (
            *((-1 - 0.99 * slack, False), (-1 - 1.01 * slack, True)),
            *((2 + 0.99 * slack, False), (2 + 1.01 * slack, True), (0.5, False)),
        ):
            for has_kink in (True, False):
                kink = line(FORWARD[1], **sides, side_error=side_error, kinks=(False, has_kink))
                reported = changed(FORWARD, 1, 1, by)
                found = judged(
                    ("forward",), forward=reported, lines=(LINES[0], kink), rounding=0.001
                )
                assert bool(found.wrong) == (is_wrong or not has_kink)


@pytest.mark.parametrize("end", [-1.0, 2.0])
def test_the_slopes_of_a_kink_themselves_are_tangents(end):
    """Where nothing rounds: the true tangent is zero."""
    zero = 0 * FORWARD
    kink = line(zero[1], left=-1.0, right=2.0, side_error=0.0, kinks=(False, True))
    options = {"true_forward": zero, "lines": (line(zero[0]), kink)}
    assert not judged(("forward",), forward=changed(zero, 1, 1, end), **options).wrong
    assert judged(("forward",), forward=changed(zero, 1, 1, end * 1.001), **options).wrong


def test_tangents_between_those_of_the_neighbours():
    near = np.stack([FORWARD - 1, FORWARD + np.diag([0.0, 2.0])])
    for by, is_wrong in ((-1, False), (-1.01, True), (2, False), (2.01, True), (0.5, False)):
        reported = changed(FORWARD, 1, 1, by)
        for options, is_known in (
            ({"nearby": {"forward": near}, "is_smooth": False}, True),
            ({"nearby": {"forward": near}}, False),  # a smooth function has no sides
            ({"is_smooth": False}, False),
        ):
            found = judged(("forward",), forward=reported, **options)
            assert places(found, "forward") == ([("z", 1, [1])] if is_wrong or not is_known else [])
    slack = np.sqrt(_constants.NEARBY) * np.abs(near[:, 1, 1]).max()
    for end in (near[1, 1, 1] + slack, near[0, 1, 1] - slack):  # the ends are accepted
        reported = FORWARD.copy()
        reported[1, 1] = end
        options = {"nearby": {"forward": near}, "is_smooth": False}
        assert not judged(("forward",), forward=reported, **options).wrong
    for by, is_wrong in (
        *((2 + 0.9 * slack, False), (2 + 1.1 * slack, True)),
        *((-1 - 0.9 * slack, False), (-1 - 1.1 * slack, True)),
    ):
        reported = changed(FORWARD, 1, 1, by)
        found = judged(("forward",), forward=reported, nearby={"forward": near}, is_smooth=False)
        assert bool(found.wrong) == is_wrong


def test_dot_test_of_the_two_modes():
    """The bound has 8 times the rounding of each; it is a failure if nothing else is wrong."""
    both = {"measured": ("reverse", "forward"), "rounding": 0.001}
    assert judged((), **both).modes == [
        Mode("dot_test", "ok", "<w, J v> and <Jᵀ w, v> differ by 0.0e+00 of their size")
    ]
    assert judged((), measured=("reverse",)).modes == judged((), measured=("forward",)).modes == []
    bound = MARGIN * 0.001 * (np.abs(W).sum(axis=1)[:, None] + np.abs(V).sum(axis=1))
    for share, is_off in ((0.99, False), (1.01, True), (-1.01, True)):
        # A tangent that is off changes the products of its column.
        least = (bound[:, 1] / np.abs(W[:, 0])).min()
        tangents = changed(FORWARD, 1, 0, share * least)
        found = judged((), forward=tangents, **both)
        gaps = np.abs(W[:, 0] * share * least)
        size = (gaps / (np.abs(W) @ np.abs(tangents[1]))).max()
        said = f"<w, J v> and <Jᵀ w, v> differ by {size:.1e} of their size"
        assert found.modes == [Mode("dot_test", "wrong" if is_off else "ok", said)]
        assert [(f.diagnosis, f.evidence) for f in found.plain] == is_off * [
            ("forward and reverse disagree", said)
        ]
    wrong = {"measured": both["measured"], "forward": changed(FORWARD, 1, 0, 1.0)}
    assert not judged(("forward",), **wrong).plain  # the gradient is named instead


@pytest.mark.parametrize(("gap", "is_off"), [(1.0, False), (-1.0, False), (1.0 + FINE, True)])
def test_a_gap_may_be_as_large_as_its_bound(gap, is_off, monkeypatch):
    """In the dot test, and along a direction of one argument."""
    gaps = np.zeros((3, 2))
    gaps[2, 1] = gap
    monkeypatch.setattr(_first_order, "dot_gap", lambda *_: (gaps, np.ones((3, 2))))
    found = judged((), measured=("reverse", "forward"))
    assert (found.modes[0].status == "wrong") == is_off
    monkeypatch.setattr(_first_order, "dot_gap", lambda *_: (gaps[:, 1:], np.ones((3, 1))))
    found = judged(true=None)
    assert [place[:2] for place in places(found)] == is_off * [("x", 2), ("y", 2)]


# The second point


def of_second_point(values, *, true=REVERSE[0], formula=REVERSE[0], own=0.0, is_autodiff=True):
    called = Called(REVERSE, values)
    second = {"true": true, "formula": formula}

    def first_alone(more):  # the second point has the first cotangent alone
        return np.array([[own(more) if callable(own) else own], [INF], [INF]])

    options = {"called": called, "second": second, "own": first_alone, "is_autodiff": is_autodiff}
    return judged(("second_point",), **options)


def test_bound_at_the_second_point():
    """Two bounds of the rule's own dtypes, and a few units."""
    first = REVERSE[0]
    last = UNITS * FINE * abs(first[3])
    for of_first, of_second, by, is_wrong, looks in (
        *((0.0, 0.0, 0.8 * last, False, [0]), (0.0, 0.0, 1.2 * last, True, [0, 64])),
        *((0.5, 0.0, 0.99, False, [0]), (0.4, 0.5, 0.99, False, [0, 64])),
        *((0.4, 0.5, 1.01, True, [0, 64]), (0.4, 0.5, -1.01, True, [0, 64])),
    ):
        values = first.copy()
        values[3] += by
        found = of_second_point(values, own=lambda more, a=of_first, b=of_second: b if more else a)
        assert places(found, "second_point") == is_wrong * [("y", 0, [1])]
        assert [more for _, more in found.asked] == looks
        assert found.modes == [
            Mode("second_point", "wrong", "wrong for y")
            if is_wrong
            else Mode("second_point", "ok", "")
        ]


def test_truth_at_the_second_point():
    first = REVERSE[0]
    other = first + 1
    assert not of_second_point(first, formula=other).wrong  # autodiff is the truth
    assert of_second_point(other, formula=other).wrong
    # Without it, the formula is: it is known to be right at the first point.
    assert not of_second_point(other, formula=other, is_autodiff=False).wrong
    assert of_second_point(first, formula=other, is_autodiff=False).wrong
    for value, formula, true, is_wrong in (
        (INF, 1.0, 1.0, True),
        (1.0, INF, 1.0, False),
        (1.5, INF, 1.0, True),  # an infinite formula is not off by rounding
        (1.5, 1.0, 1.0, False),
        (1.5, 1.0, NAN, False),  # the truth is unknown there
        (NAN, 1.0, NAN, False),
    ):
        arrays = [np.where(np.arange(5) == 2, a, first) for a in (value, true, formula)]
        found = of_second_point(arrays[0], true=arrays[1], formula=arrays[2], own=0.5)
        assert bool(found.wrong) == is_wrong


def test_second_point_of_a_gradient_that_is_wrong_at_the_first():
    called = Called(REVERSE, REVERSE[0] + 1)
    found = judged(("reverse", "second_point"), reverse=WRONG, called=called)
    assert places(found) == [("x", 0, [0, 1])]
    assert found.modes[-1] == Mode("second_point", "ok", "")
    assert not judged(("second_point",), measured=(), called=called).modes
