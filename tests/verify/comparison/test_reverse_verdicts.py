"""Reverse mode at both sides of each bound: gradients, subgradients and slopes, in NumPy.

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
from jaxconv.verify.truth._kinks import Kinks
from jaxconv.verify.truth._operations import FINE

from .findings import FORWARD, LEAVES, LINES, REVERSE, WRONG, A, V, W, changed, judged, line, places

pytestmark = pytest.mark.usefixtures("no_type_checker")

INF = np.inf
MARGIN = _constants.MARGIN
NAN = np.nan
UNITS = _constants.UNITS_OF_COMPARISON


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
    at_limit = np.ones((4, 3, 5))
    at_limit[2, 1, 4] -= np.sqrt(_constants.NEARBY)  # 2⁻¹⁵: exactly the tolerance
    looked.clear()
    judged(reverse=WRONG, is_smooth=False, nearby={"reverse": at_limit})
    assert not looked


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
