"""What reverse and forward mode are compared with, at both sides of each bound, in NumPy.

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
from jaxconv.verify.report._contents import Mode, Subgradient
from jaxconv.verify.truth._differences import Slopes
from jaxconv.verify.truth._kinks import Kinks
from jaxconv.verify.truth._operations import FINE
from jaxconv.verify.truth._truth import Truth

from ..truth.values import Values

pytestmark = pytest.mark.usefixtures("no_type_checker")

MARGIN, ERRORS, UNITS = _constants.MARGIN, _constants.ERRORS, _constants.UNITS_OF_COMPARISON
INF, NAN = np.inf, np.nan
# z = A (x, y), linear, so that differences are exact: x is (2, 1), y is (3,) and z is (2,).
A = np.array([[1.0, 2.0, -1.0, 0.5, 3.0], [-2.0, 1.0, 4.0, 1.0, -0.5]])
LEAVES = Leaf("x", 0, (2, 1), np.dtype(float), 0), Leaf("y", 1, (3,), np.dtype(float), 2)
OUTPUTS = (Leaf("z", -1, (2,), np.dtype(float), 0),)
W = np.array([[1.0, -2.0], [0.5, 1.0], [1.5, -1.0]])
V = np.array([[1.0, 0.5, -1.0, 2.0, 0.25], [-0.5, 1.0, 3.0, -1.0, 2.0]])
REVERSE, FORWARD = W @ A, V @ A.T


def line(row, error=1e-9, left=0.0, right=0.0, side_error=1e-9, kinks=(False, False)):
    """Slopes along a direction."""
    sides = row + np.broadcast_to(left, 2), row + np.broadcast_to(right, 2)
    errors, side_errors = np.full(2, error), np.full(2, side_error)
    return Slopes(row, errors, *sides, side_errors, row, errors, np.array(kinks), row, row, ())


LINES = tuple(line(row) for row in FORWARD)


def judged(
    names=("reverse",),
    *,
    reverse=REVERSE,
    forward=FORWARD,
    rounding=0.0,
    error=0.0,
    forward_error=0.0,
    true_forward=FORWARD,
    true=REVERSE,
    lines=LINES,
    called=None,
    own=INF,
    nearby=None,
    f=lambda x: A @ x,
    leaves=LEAVES,
    outputs=OUTPUTS,
    measured=("reverse",),
    is_smooth=True,
    missing=(),
    crashed=(),
    second=None,
    is_autodiff=True,
):
    """The findings about a rule that reports the given gradients and tangents."""
    primal = Values(f, np.array([1.0, -1.0]), np.array([2.0, 0.5, 1.0]))
    primal.is_smooth = is_smooth
    problem = Problem("f", f, leaves, outputs, (), np.zeros(2))
    primal.problem = problem
    elsewhere = np.ones(5)
    draws = SimpleNamespace(cotangents=W, directions=V, second_point=elsewhere)
    rows = {
        "reverse": (reverse, np.broadcast_to(rounding, reverse.shape)),
        "forward": (forward, np.full(forward.shape, np.max(rounding))),
    }
    errors = None if true is None else np.broadcast_to(error, (3, 5))
    spread = np.broadcast_to(forward_error, (2, 2))
    truth = Truth(true, errors, true_forward, spread, lines, "", is_autodiff)
    asked = []

    def own_bound(point, more=0):
        asked.append((point, more))
        return np.broadcast_to(own(more) if callable(own) else own, (3, 5))

    def true_reverse(point, ws):
        assert point is elsewhere
        return second["true"]

    def own_rows(name, point):
        assert (name, point is elsewhere) == ("reverse", True)
        return second["formula"][None], None

    evidence = SimpleNamespace(
        **{"problem": problem, "draws": draws, "primal": primal, "truth": truth, "seed": 0},
        called=called or Called(reverse),
        measured=measured,
        derivatives=SimpleNamespace(
            missing=dict(missing), crashed=dict(crashed), true_reverse=true_reverse
        ),
        rows=rows.__getitem__,
        nearby=lambda name: None if nearby is None else nearby.get(name),
        own_bound=own_bound,
        own=own_rows,
        unit=FINE,
    )
    findings = Findings(problem)
    findings.asked = asked
    FirstOrder(evidence, findings).judge(names)
    return findings


def changed(rows, row, element, by):
    rows = rows.copy()
    rows[row, element] += by
    return rows


def places(findings, mode="reverse"):
    """What is wrong: the argument, the row, and the elements."""
    assert all(found.mode == mode for found in findings.wrong)
    return [(f.leaf.name, f.row, np.flatnonzero(f.is_wrong).tolist()) for f in findings.wrong]


def test_bound_of_reverse_mode():
    """8 times the rounding, the error of the truth, and a few units of the truth."""
    for row, element, place in ((0, 0, ("x", 0, [0])), (2, 4, ("y", 2, [2]))):
        last = UNITS * FINE * abs(REVERSE[row, element])
        rounding, error = np.zeros((3, 5)), np.zeros((3, 5))
        for of_rounding, of_error in ((0, 0), (1e-3, 0), (0, 1e-3), (1e-3, 5e-3)):
            rounding[row, element], error[row, element] = of_rounding, of_error
            bound = MARGIN * of_rounding + of_error + last
            for share, is_wrong in ((0.8, False), (1.3, True), (-0.8, False), (-1.3, True)):
                reported = changed(REVERSE, row, element, share * bound)
                found = judged(reverse=reported, rounding=rounding, error=error)
                assert places(found) == is_wrong * [place]
                assert found.modes == [
                    Mode("reverse", "wrong", f"wrong for {place[0]}")
                    if is_wrong
                    else Mode("reverse", "ok", "")
                ]
    (found,) = judged(reverse=changed(REVERSE, 1, 3, 1.0), error=0.25, rounding=0.01).wrong
    np.testing.assert_array_equal(found.reported, changed(REVERSE, 1, 3, 1.0)[1, 2:])
    np.testing.assert_array_equal(found.true, REVERSE[1, 2:])
    np.testing.assert_allclose(found.bound, 0.25 + 0.08, rtol=1e-9)


def test_gradients_below_the_smallest_number_are_flushed():
    """As many of them as the cotangents sum up, in the dtype of each argument."""
    narrow = LEAVES[0], Leaf("y", 1, (3,), np.dtype("float32"), 2)
    true, tiny = 0 * REVERSE, float(np.finfo(np.float32).tiny)
    for row, sum_of_w in enumerate(np.abs(W).sum(axis=1)):
        for element, share, is_wrong in ((2, 0.9, False), (2, 1.1, True), (0, 0.9, True)):
            reported = changed(true, row, element, share * sum_of_w * tiny)
            assert bool(judged(reverse=reported, true=true, leaves=narrow).wrong) == is_wrong


def test_only_the_first_wrong_row_of_each_argument_is_recorded():
    reported = REVERSE.copy()
    reported[1:, 0] += 1
    reported[2, 3:] += 1
    assert places(judged(reverse=reported)) == [("x", 1, [0]), ("y", 2, [1, 2])]


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


def test_elements_without_a_number_are_named():
    """Five at most; those that are NaN or infinite for one cotangent at least."""
    reported = REVERSE.copy()
    reported[1, 1], reported[2, 1], reported[2, 4] = -INF, NAN, NAN
    found = judged(reverse=reported, error=INF)
    assert found.nonfinite == ["x[1, 0]: -inf", "y[2]: nan"]
    leaves = (Leaf("x", 0, (5,), np.dtype(float), 0),)
    assert len(judged(reverse=reported * NAN, leaves=leaves).nonfinite) == 5
    many = (Leaf("x", 0, (6,), np.dtype(float), 0),)
    order = FirstOrder(
        SimpleNamespace(problem=None, draws=None, primal=None, truth=None),
        Findings(Problem("f", len, many, (), (), np.zeros(0))),
    )
    order._nonfinite(many[0], np.full((1, 6), NAN))
    assert order.findings.nonfinite == [f"x[{i}]: nan" for i in range(5)]
    assert _first_order.NAMED == 5


# Kinks

WRONG = changed(changed(REVERSE, 0, 0, 1.0), 0, 1, -1.0)


def kinks(is_subgradient, together=()):
    """What `look` says of two elements of x."""
    low, high = np.array([-1.0, -2.0]), np.array([3.0, 4.0])
    return Kinks(np.ones(2, bool), np.array(is_subgradient), low, high, together)


@pytest.mark.parametrize("row", [0, 1])
def test_subgradients_are_no_mistakes(row, monkeypatch):
    """Those of the first cotangent are reported."""
    reported = np.roll(WRONG - REVERSE, row, axis=0) + REVERSE
    near = np.arange(30.0).reshape(2, 3, 5)
    said = []

    def look(primal, leaf, elements, gradient, w, seed, nearby):
        said.append((leaf, elements.tolist(), gradient.tolist(), w.tolist(), seed))
        np.testing.assert_array_equal(nearby, near[:, row])
        return answer

    monkeypatch.setattr(_first_order._kinks, "look", look)
    options = {"reverse": reported, "is_smooth": False, "nearby": {"reverse": near}}
    for fits, wrong in (
        ([True, True], []),
        ([False, True], [0]),
        ([True, False], [1]),
        ([False, False], [0, 1]),
    ):
        answer = kinks(fits)
        found = judged(**options)
        assert places(found) == ([("x", row, wrong)] if wrong else [])
        expected = [
            Subgradient("x", (i, 0), reported[0, i], [-1.0, -2.0][i], [3.0, 4.0][i])
            for i in (0, 1)
            if fits[i] and row == 0
        ]
        assert found.subgradients == expected
        assert not found.ties
    assert said[0] == (LEAVES[0], [0, 1], reported[row].tolist(), W[row].tolist(), 0)
    answer = kinks([True, True], ((9.0, 0.0, 2.0),))  # together they don't fit
    found = judged(**options)
    assert places(found) == [("x", row, [0, 1])]
    assert found.ties == {LEAVES[0]: answer}
    assert not found.subgradients


def test_where_kinks_are_looked_for(monkeypatch):
    """In a function that is not smooth, if a direction or the neighbours show one."""
    looked = []

    def look(primal, leaf, elements, gradient, w, seed, nearby):
        looked.append(nearby)
        return kinks([False, False])

    monkeypatch.setattr(_first_order._kinks, "look", look)
    flat = np.broadcast_to(REVERSE, (4, 3, 5))
    apart = flat.copy()
    apart[2, 1, 4] *= 1 + 4 * np.sqrt(_constants.NEARBY)
    close = flat.copy()
    close[2, 1, 4] *= 1 + np.sqrt(_constants.NEARBY) / 4
    kinked = (LINES[0], line(FORWARD[1], kinks=(False, True)))
    for is_smooth, nearby, lines, is_looked_for in (
        (True, None, kinked, False),
        (False, None, LINES, True),
        (False, flat, LINES, False),
        (False, flat, kinked, True),
        (False, apart, LINES, True),
        (False, close, LINES, False),
    ):
        looked.clear()
        found = judged(
            reverse=WRONG,
            is_smooth=is_smooth,
            nearby=None if nearby is None else {"reverse": nearby},
            lines=lines,
        )
        assert places(found) == [("x", 0, [0, 1])]
        assert bool(looked) == is_looked_for


# The rule in its own dtypes


def test_rule_as_it_is_called():
    """It may be off by the rounding of its dtypes, which is estimated more closely in doubt."""
    for by, of_first, of_second, is_wrong, looks in (
        (1.0, 1.01, 0.0, False, [0]),
        (-1.0, 1.01, 0.0, False, [0]),
        (1.0, 0.99, 1.01, False, [0, 64]),
        (1.0, 0.99, 0.99, True, [0, 64]),
    ):
        found = judged(
            called=Called(changed(REVERSE, 1, 3, by)),
            own=lambda more, a=of_first, b=of_second: b if more else a,
        )
        assert places(found) == is_wrong * [("y", 1, [1])]
        assert [more for _, more in found.asked] == looks
    (wrong,) = found.wrong
    assert wrong.note == "the error is larger than float64 rounding explains"
    np.testing.assert_array_equal(wrong.reported, changed(REVERSE, 1, 3, 1.0)[1, 2:])
    np.testing.assert_array_equal(wrong.true, REVERSE[1, 2:])
    np.testing.assert_array_equal(wrong.bound, [0.99] * 3)
    # The first row that is wrong, in all arguments.
    reported = REVERSE.copy()
    reported[1:, [0, 4]] += 1
    found = judged(called=Called(reported), own=0.5)
    assert places(found) == [("x", 1, [0]), ("y", 1, [2])]
    # A wrong formula is recorded alone.
    found = judged(reverse=WRONG, called=Called(reported), own=0.5)
    assert places(found) == [("x", 0, [0, 1])]
    assert not found.asked
    assert not judged(called=Called(error=None)).wrong


# Directions, where the gradient is too large for a truth of each element


def test_slopes_along_directions_of_one_argument():
    """The bound has 8 times the rounding of the gradient, and 16 times the error of the slope."""
    rounding = np.zeros((3, 5))
    rounding[1, 3] = 0.01
    bound = MARGIN * 0.01 * abs(V[1, 3]) / abs(V[1, 2])  # the first direction shows less
    for share, place in ((0.98, []), (1.02, [("y", 1, [0])]), (-1.02, [("y", 1, [0])])):
        reported = changed(REVERSE, 1, 2, share * bound)
        found = judged(reverse=reported, true=None, rounding=rounding, error=None)
        assert places(found) == place
    gap = abs(share * bound * V[1, 2])
    (wrong,) = found.wrong
    assert wrong.note == f"the slope along a random direction is wrong by {gap:.3g}"
    np.testing.assert_allclose(wrong.true, [REVERSE[1, 2], *reported[1, 3:]], rtol=1e-9)
    np.testing.assert_array_equal(wrong.reported, reported[1, 2:])
    assert 0 < wrong.bound[0] < 1e-6
    np.testing.assert_array_equal(wrong.bound[1:], [0, 0])
    assert not judged(true=None).wrong


def test_elements_without_a_number_where_the_function_has_a_slope():
    reported = REVERSE.copy()
    reported[2, 1], reported[1, 4], reported[2, 4] = INF, NAN, NAN
    found = judged(reverse=reported, true=None)
    assert places(found) == [("x", 2, [1]), ("y", 1, [2])]
    for wrong, row in zip(found.wrong, (2, 1), strict=True):
        here = wrong.leaf.elements
        np.testing.assert_array_equal(wrong.reported, reported[row, here])
        np.testing.assert_allclose(wrong.true, REVERSE[row, here], rtol=1e-9)
        np.testing.assert_array_equal(wrong.bound > 0, wrong.is_wrong)
    # Where the function has none, nothing is known.
    unknown = judged(reverse=reported, true=None, f=lambda x: A @ x * [NAN, 1])
    assert not unknown.wrong


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
    for row, v in enumerate(V):
        for share, is_wrong in ((0.9, False), (1.1, True)):
            tangents = changed(0 * FORWARD, row, 1, share * np.abs(v).max() * tiny)
            truth = Truth(REVERSE, 0 * REVERSE, 0 * FORWARD, 0 * FORWARD, lines, "", True)
            order = FirstOrder(
                SimpleNamespace(
                    problem=SimpleNamespace(outputs=narrow),
                    draws=SimpleNamespace(directions=V),
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
