"""The truth by differences, its fallbacks and linear arguments, of functions in NumPy.

Covers jaxconv/verify/truth/_linear_truth.py, jaxconv/verify/truth/_search.py.
"""

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._constants import ERRORS, MARGIN
from jaxconv.verify.truth import _linear_truth, _truth
from jaxconv.verify.truth._differences import all_steps, few_steps, slopes
from jaxconv.verify.truth._linear_truth import with_linear_rows
from jaxconv.verify.truth._operations import FINE
from jaxconv.verify.truth._rounding import Measured
from jaxconv.verify.truth._search import worst_by_halves
from jaxconv.verify.truth._truth import (
    Truth,
    by_coordinates,
    coordinate_slopes,
    coordinate_steps,
    dot_gap,
    is_adjoint,
    is_large,
    scales,
    settle,
    step_sizes,
)

from .values import Values

MATRIX = np.random.default_rng(1).normal(size=(3, 5))
POINT = np.array([0.5, -2.0, 30.0]), np.array([1e-3, 4.0])
W = np.array([[1.0, -2.0, 0.5], [0.25, 1.0, 3.0], [1.25, -1.0, 3.5]])
no_checker = pytest.mark.usefixtures("no_type_checker")


def curved(x):
    return np.sin(MATRIX @ x) + np.abs(x[1] + 2) * np.array([1, 0, 2])


def jacobian(x):
    return np.cos(MATRIX @ x)[:, None] * MATRIX


@no_checker
def test_slopes_along_coordinates_are_those_along_lines():
    primal, steps = Values(curved, *POINT), all_steps()[2:]
    sizes = scales(primal.problem.leaves, primal.point)
    assert len(set(sizes)) > 2
    found = coordinate_slopes(primal, np.array([4, 1]), steps)
    for row, i in enumerate((4, 1)):
        line = slopes(curved, primal.point, sizes[i] * np.eye(5)[i], steps)
        for name in ("central", "error", "left", "right", "side_error"):
            expected = getattr(line, name) / sizes[i]
            np.testing.assert_allclose(getattr(found, name)[row], expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found.is_kink[row], line.is_kink)
        np.testing.assert_array_equal(line.is_kink, [i == 1, False, i == 1])


@no_checker
def test_gradients_along_coordinates(monkeypatch):
    primal = Values(curved, *POINT)
    elements = np.array([0, 2, 3, 4])
    rows, errors = by_coordinates(primal, elements, W)
    true = W @ jacobian(primal.point)[:, elements]
    assert np.all(np.abs(rows - true) <= errors)
    assert np.all(errors < 1e-4)
    columns = coordinate_slopes(primal, elements, coordinate_steps(primal))
    np.testing.assert_allclose(errors, ERRORS * np.abs(W) @ columns.error.T)
    # Few at a time, if a batch has no room for all.
    asked = []
    many = primal.many
    primal.many = lambda points: asked.append(len(points)) or many(points)
    steps = len(coordinate_steps(primal))
    for batch, chunks in ((1, [1] * 4), (steps * 8 * 3, [3, 1]), (steps * 8 * 3 - 1, [2, 2])):
        del asked[:]
        monkeypatch.setattr(_truth, "BATCH", batch)
        again, _ = by_coordinates(primal, elements, W)
        np.testing.assert_allclose(again, rows, rtol=1e-12)
        assert asked == [steps * chunk for chunk in chunks for _ in range(2)]


@no_checker
def test_a_slope_that_is_unknown_has_an_infinite_error():
    primal = Values(lambda x: np.array([x[0], np.nan * x[0]]), np.array([2.0]))
    with np.errstate(invalid="ignore"):
        rows, errors = by_coordinates(primal, np.array([0]), np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert np.isnan(rows).all()
    np.testing.assert_array_equal(errors, np.full((2, 1), np.inf))


@no_checker
def test_steps_of_a_function():
    primal = Values(curved, *POINT)
    assert step_sizes(primal) == all_steps()
    assert coordinate_steps(primal) == all_steps()[2:]
    primal.unit = 1e-6  # noise hides small steps
    assert coordinate_steps(primal) == all_steps()
    for size, is_so in ((100_000 - 3, False), (100_000 - 2, True)):
        primal.problem = SimpleNamespace(size=size, output_size=3)
        assert is_large(primal.problem) == is_so
        assert step_sizes(primal) == (few_steps() if is_so else all_steps())


@no_checker
def test_the_dot_test():
    forward, reverse = np.array([[1.0, 2.0]]), np.array([[3.0, -1.0, 0.5]])
    w, v = np.array([[2.0, -1.0]]), np.array([[0.5, 2.0, 4.0]])
    errors = np.array([[0.1, 0.2]]), np.array([[0.01, 0.02, 0.04]])
    gap, bound = dot_gap(forward, errors[0], reverse, errors[1], w, v)
    np.testing.assert_allclose(gap, [[0 - 1.5]])
    sums = 4 + 5.5
    np.testing.assert_allclose(bound, [[0.4 + 0.205 + FINE * 3 * sums]], rtol=1e-15)
    nothing = dot_gap(forward, 0 * errors[0], reverse, 0 * errors[1], w, v)[1]
    np.testing.assert_allclose(nothing, [[FINE * 3 * sums]])
    assert not is_adjoint(forward, errors[0], reverse, errors[1], w, v)
    assert is_adjoint(forward, errors[0] * 4, reverse, errors[1], w, v)
    # Elements without a derivative are left out, and an unknown bound forbids nothing.
    lost = np.array([[np.nan, 2.0]])
    np.testing.assert_allclose(dot_gap(lost, errors[0], reverse, errors[1], w, v)[0], [[-3.5]])
    assert is_adjoint(forward, np.nan * errors[0], reverse, errors[1], w, v)


def measured(value, rounding=0.0):
    return Measured(np.ravel(value), np.full(np.size(value), float(rounding)))


V = np.random.default_rng(2).normal(size=(2, 5))
SOURCE = "autodiff"


def smooth(x):
    return np.sin(MATRIX @ x)


SMALL_POINT = np.array([0.5, -0.2, 0.3]), np.array([0.1, 0.4])


def settled(f=smooth, *, change=1.0, forward=True, reverse=True, rounding=0.0, unit=2.0**-52):
    primal = Values(f, *SMALL_POINT, unit=unit)
    j = jacobian(primal.point)
    back = measured(W @ j * change, rounding) if reverse else None
    ahead = measured(V @ j.T * change, rounding) if forward else None
    return primal, j, settle(primal, (back, ahead), W, V, SOURCE)


@no_checker
def test_autodiff_that_differences_confirm_is_the_truth():
    for forward in (True, False):
        _, j, truth = settled(forward=forward)
        assert truth.is_autodiff
        assert truth.source == SOURCE
        np.testing.assert_array_equal(truth.reverse, W @ j)
        np.testing.assert_allclose(truth.forward, V @ j.T, rtol=1e-9)
        assert len(truth.slopes) == 2
        _, _, truth = settled(forward=forward, rounding=0.25)
        np.testing.assert_array_equal(truth.reverse_error, np.full((3, 5), 0.25 * MARGIN))
        if forward:
            np.testing.assert_array_equal(truth.forward_error, np.full((2, 3), 0.25 * MARGIN))
        else:
            errors = [ERRORS * line.error for line in truth.slopes]
            np.testing.assert_array_equal(truth.forward_error, np.stack(errors))


@no_checker
@pytest.mark.parametrize("forward", [True, False])
def test_otherwise_differences_are(forward, monkeypatch):
    for options in ({"change": 1.001}, {"reverse": False}):
        _, j, truth = settled(forward=forward, **options)
        assert not truth.is_autodiff
        assert truth.source == "differences along every coordinate"
        assert np.all(np.abs(truth.reverse - W @ j) <= truth.reverse_error)
        assert np.all(np.abs(truth.forward - V @ j.T) <= truth.forward_error)
    assert settled(forward=forward, change=1.001, rounding=0.01)[-1].is_autodiff
    for most, is_known in ((5, True), (4, False)):
        monkeypatch.setattr(_constants, "COORDINATES", most)
        _, _, truth = settled(forward=forward, change=1.001)
        assert (truth.reverse is not None) == is_known
        if not is_known:
            assert truth.reverse_error is None
            assert truth.source == "differences along random directions"


@no_checker
def test_autodiff_may_lie_between_the_slopes_of_a_kink():
    def kinked(x):
        return smooth(x) + np.maximum(x[0] - 0.5, 0)

    for share, is_between in ((0.0, True), (0.3, True), (1.0, True), (-0.01, False), (1.01, False)):
        primal = Values(kinked, *SMALL_POINT)
        j = jacobian(primal.point)
        j[:, 0] += share
        found = measured(W @ j), measured(V @ j.T)
        assert settle(primal, found, W, V, SOURCE).is_autodiff == is_between


@no_checker
def test_values_inside_of_stop_gradient_are_held_if_that_confirms_autodiff():
    class Held(Values):
        can_hold, is_held = True, False

        def __call__(self, flat):
            return super().__call__(flat) + (0 if self.is_held else flat.sum())

        def hold(self):
            self.is_held = True

        def let_go(self):
            self.is_held = False

    for change, is_autodiff in ((1.0, True), (1.001, False)):
        primal = Held(smooth, *SMALL_POINT)
        j = jacobian(primal.point) * change
        truth = settle(primal, (measured(W @ j), measured(V @ j.T)), W, V, SOURCE)
        assert truth.is_autodiff == primal.is_held == is_autodiff
        if not is_autodiff:
            moving = jacobian(primal.point) + 1
            assert np.all(np.abs(truth.reverse - W @ moving) <= truth.reverse_error)


@no_checker
def test_where_autodiff_has_no_number_differences_have_one(monkeypatch):
    primal = Values(smooth, *SMALL_POINT)
    j = jacobian(primal.point)
    back = W @ j
    back[1, 3] = np.nan
    back[0, 1] = np.inf
    found = measured(back, 1e-9), measured(V @ j.T, np.inf)
    for most, are_replaced in ((2, True), (1, False)):
        monkeypatch.setattr(_constants, "COORDINATES", most)
        truth = settle(primal, found, W, V, SOURCE)
        assert truth.is_autodiff
        kept = [0, 2, 4]
        np.testing.assert_array_equal(truth.reverse[:, kept], back[:, kept])
        np.testing.assert_array_equal(truth.reverse_error[:, kept], np.full((3, 3), 1e-9 * MARGIN))
        assert np.isfinite(truth.reverse).all() == are_replaced
        if are_replaced:
            np.testing.assert_allclose(truth.reverse, W @ j, rtol=1e-6)
            assert np.all(truth.reverse_error[:, [1, 3]] != 1e-9 * MARGIN)


# Linear arguments


def bilinear(x):
    return np.outer(x[:3], x[3:]).ravel() + 7.0


def draws():
    w = np.random.default_rng(3).normal(size=(3, 6))
    return SimpleNamespace(cotangents=w, directions=V)


UNKNOWN = Truth(None, None, np.zeros((2, 6)), np.zeros((2, 6)), (), "differences", False)


@no_checker
def test_gradients_of_linear_arguments(monkeypatch):
    primal = Values(bilinear, *POINT)
    a, b = primal.problem.leaves
    x, y = POINT
    w = draws().cotangents.reshape(3, 3, 2)
    of_a, of_b = w @ y, np.einsum("nij,i->nj", w, x)
    known = dataclasses.replace(
        UNKNOWN, reverse=np.full((3, 5), 9.0), reverse_error=np.ones((3, 5))
    )
    truth = with_linear_rows(primal, known, [a], draws())
    np.testing.assert_allclose(truth.reverse, np.concatenate([of_a, np.full((3, 2), 9)], 1))
    np.testing.assert_array_equal(truth.reverse_error[:, 3:], np.ones((3, 2)))
    # Rounding of the values at the unit vectors, and at zero.
    ahead = np.stack([bilinear(np.concatenate([e, y])) for e in np.eye(3)])
    sums = np.abs(draws().cotangents) @ (np.abs(ahead) + 7).T
    np.testing.assert_allclose(truth.reverse_error[:, :3], FINE * 6 * sums, rtol=1e-12)
    source = "f(x + v) - f(x) along every coordinate of"
    assert truth.source == f"{source} x0; differences"
    np.testing.assert_array_equal(known.reverse, np.full((3, 5), 9.0))  # is left as it was
    truth = with_linear_rows(primal, UNKNOWN, [a, b], draws())
    np.testing.assert_allclose(truth.reverse, np.concatenate([of_a, of_b], 1), rtol=1e-12)
    assert truth.source == f"{source} x0, x1"
    assert with_linear_rows(primal, UNKNOWN, [a], draws()) is UNKNOWN
    assert with_linear_rows(primal, known, [], draws()) is known
    for name, least in (("LINEAR_COORDINATES", 3), ("LINEAR_NUMBERS", 3 * 11)):
        monkeypatch.setattr(_constants, name, least)
        assert with_linear_rows(primal, known, [a], draws()) is not known
        monkeypatch.setattr(_constants, name, least - 1)
        assert with_linear_rows(primal, known, [a], draws()) is known
        truth = with_linear_rows(primal, known, [a, b], draws())
        assert truth.source == f"{source} x1; differences"
        monkeypatch.undo()
    whole = with_linear_rows(primal, known, [a], draws()).reverse
    for batch in (1, 11 * 2):
        monkeypatch.setattr(_linear_truth, "BATCH", batch)
        np.testing.assert_array_equal(with_linear_rows(primal, known, [a], draws()).reverse, whole)


@no_checker
def test_an_argument_in_which_the_function_is_not_linear():
    def nearly(x, gap):
        return x[:3] * x[3] + gap * x[:3] ** 2 + 1.0

    x, y = np.ones(3), np.ones(1)
    drawn = SimpleNamespace(cotangents=np.ones((3, 3)), directions=np.full((1, 4), 2.0))
    for gap, is_linear in ((0.0, True), (1e-16, True), (1e-13, False)):
        primal = Values(partial(nearly, gap=gap), x, y)
        leaf, other = primal.problem.leaves
        if is_linear:
            with_linear_rows(primal, UNKNOWN, [leaf], drawn)
        else:
            with pytest.raises(ValueError, match="linear_in names x0, but f is not linear in it"):
                with_linear_rows(primal, UNKNOWN, [leaf], drawn)
        with_linear_rows(primal, UNKNOWN, [other], drawn)


@no_checker
@pytest.mark.parametrize("wrong", [0, 3, 5])
def test_bisection_finds_the_wrong_element(wrong):
    scale = np.arange(1.0, 9)

    def f(x):
        return np.sin(scale * x[:8]) + x[8]

    x = np.linspace(0.1, 0.8, 8)
    primal = Values(f, x, np.ones(1))
    w = np.linspace(-1, 1, 8) + 0.05
    true = np.append(w * scale * np.cos(scale * x), w.sum())
    reported = true.copy()
    reported[wrong] *= 1.5
    ((element, slope, error),) = worst_by_halves(primal, primal.problem.leaves[0], reported, w, 0)
    assert element == wrong
    assert abs(slope - true[wrong]) <= error < 1e-6
    reported = true.copy()
    reported[8] += 1
    ((element, slope, _),) = worst_by_halves(primal, primal.problem.leaves[1], reported, w, 0)
    assert element == 0
    np.testing.assert_allclose(slope, true[8], rtol=1e-6)
