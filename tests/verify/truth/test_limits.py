"""Every limit of the truth at the limit itself, with numbers that are exact.

Covers jaxconv/verify/truth/_truth.py, jaxconv/verify/truth/_differences.py,
jaxconv/verify/truth/_kinks.py, jaxconv/verify/truth/_precision.py,
jaxconv/verify/truth/_search.py, jaxconv/verify/truth/_linear_truth.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify.truth import _linear_truth, _precision, _truth
from jaxconv.verify.truth._differences import _too_wide, all_steps, slopes, slopes_of
from jaxconv.verify.truth._kinks import Kinks, look, misfit
from jaxconv.verify.truth._operations import FINE
from jaxconv.verify.truth._search import worst_by_halves
from jaxconv.verify.truth._truth import _agrees, is_adjoint, scales

from .values import Values

pytestmark = pytest.mark.usefixtures("no_type_checker")

RNG = np.random.default_rng(0)
KNOWN, ERRORS = _constants.KNOWN, _constants.ERRORS


def too_wide(moves, noise):
    """Which steps of one element are too wide, by the definition."""
    count = len(moves)

    def is_far(later, j):
        return later > _constants.ROUGH * moves[j] and later > _constants.SEEN * noise[j + 1]

    last = max(count - 5, 0)
    far = [is_far(max(moves[j + 1 :]), j) for j in range(last)]
    tail = any(is_far(moves[j + 1], j) for j in range(last, count - 1))
    return far + [tail] * (count - last)


@pytest.mark.parametrize("count", [3, 5, 6, 9])
def test_steps_that_are_too_wide(count):
    """Powers of two, of which many are equal to a limit."""
    moves = 2.0 ** RNG.integers(-2, 3, (count, 3000)) * RNG.integers(0, 2, (count, 3000))
    noise = moves[RNG.permutation(count)] / 16 * RNG.choice([0, 0.5, 1, 2], (count, 3000))
    found = _too_wide(moves, noise)
    expected = np.stack([too_wide(*both) for both in zip(moves.T, noise.T, strict=True)], 1)
    np.testing.assert_array_equal(found, expected)
    assert {False, True} <= set(found.ravel().tolist())


def test_equal_slopes_to_both_sides_are_no_kink():
    steps = all_steps()
    line = slopes(lambda x: 2 * x, np.array([0.0, 1.0]), np.ones(2), steps, 0.0)
    np.testing.assert_array_equal(line.side_error, [0, 0])
    np.testing.assert_array_equal(line.left, line.right)
    assert not line.is_kink.any()
    line = slopes(np.abs, np.array([0.0, 1.0]), np.ones(2), steps, 0.0)
    np.testing.assert_array_equal(line.is_kink, [True, False])


def test_typical_size_of_no_values():
    nothing = np.zeros((0,))
    line = slopes_of(nothing, np.zeros((11, 0)), np.zeros((11, 0)), all_steps())
    assert line.central.shape == (0,)


def line_of(central, left, right, finest, error=0.0, finest_error=0.0, is_kink=False):
    arrays = (np.array([float(a)]) for a in (central, left, right, finest, error, finest_error))
    names = "central", "left", "right", "finest", "error", "finest_error"
    return SimpleNamespace(**dict(zip(names, arrays, strict=True)), is_kink=np.array([is_kink]))


@pytest.mark.parametrize(
    ("row", "line", "rounding", "agrees"),
    [
        (1, line_of(1, 9, 9, 9), 0, True),
        (2, line_of(1, 9, 9, 9), 1, True),  # the slope, up to the rounding
        (2, line_of(1, 9, 9, 9), 0.875, False),
        (2, line_of(1, 9, 9, 9, error=1 / 16), 0, True),  # up to 16 times its error
        (0, line_of(1, 9, 9, 9, error=1 / 16), 0, True),
        (2.125, line_of(1, 9, 9, 9, error=1 / 16), 0, False),
        # The slope along the finest steps, known to a share of it.
        (65, line_of(1, 9, 9, 64, finest_error=1 / 16), 0, True),
        (63, line_of(1, 9, 9, 64, finest_error=1 / 16), 0, True),
        (65.125, line_of(1, 9, 9, 64, finest_error=1 / 16), 0, False),
        (65, line_of(1, 9, 9, 64), 1, True),
        (-63, line_of(1, 9, 9, -64), 1, True),
        (65, line_of(1, 9, 9, 64), 1.125, False),
        # Between the slopes of a kink, to the ends.
        (2, line_of(9, 1, 2, 9, is_kink=True), 0, True),
        (1, line_of(9, 2, 1, 9, is_kink=True), 0, True),
        (1.5, line_of(9, 2, 1, 9, is_kink=True), 0, True),
        (1.5, line_of(9, 2, 1, 9), 0, False),
        (2.125, line_of(9, 1, 2, 9, is_kink=True), 0, False),
        (0.875, line_of(9, 1, 2, 9, is_kink=True), 0, False),
        (0.875, line_of(9, 1, 2, 9, is_kink=True), 0.125, True),
        (2.125, line_of(9, 1, 2, 9, is_kink=True), 0.125, True),
        (2.25, line_of(9, 1, 2, 9, is_kink=True, error=1 / 128), 0.125, True),
        # Both may have no slope, but not one alone.
        (np.nan, line_of(np.nan, 1, 2, 9), 0, True),
        (np.inf, line_of(np.nan, 1, 2, 9), 0, True),
        (np.nan, line_of(1, 1, 2, 9), 0, False),
        (1, line_of(np.nan, 1, 2, 9), 0, False),
    ],
)
def test_autodiff_agrees_with_differences(row, line, rounding, agrees):
    with np.errstate(invalid="ignore"):
        assert _agrees(np.array([float(row)]), np.array([float(rounding)]), line, 0.0) == agrees


def test_one_element_that_disagrees_is_enough():
    two = SimpleNamespace(
        **{
            name: np.concatenate([getattr(line_of(1, 1, 1, 1), name)] * 2)
            for name in ("central", "left", "right", "finest", "error", "finest_error", "is_kink")
        }
    )
    zero = np.zeros(2)
    assert _agrees(np.array([1.0, 1.0]), zero, two, 0.0)
    assert not _agrees(np.array([1.0, 2.0]), zero, two, 0.0)
    unit = 0.25  # a few units of the values
    gap = _constants.UNITS_OF_COMPARISON * unit * 1.0
    assert _agrees(np.array([1.0, 1.0]), zero, two, unit)
    assert not _agrees(np.array([1.0, 1.0 - gap]), zero, two, 0.0)
    assert _agrees(np.array([1.0, 2.0]), zero, two, 1 / 8)  # 4 units of 2 are 1
    assert not _agrees(np.array([1.0, 2.0]), zero, two, 1 / 9)
    fine = line_of(1, 1, 1, 64)
    assert _agrees(np.array([64.5]), zero[:1], fine, 2.0**-9)
    assert not _agrees(np.array([64.5]), zero[:1], fine, 2.0**-10)


def test_the_dot_test_at_its_bound():
    forward, reverse = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0, 0.0]])
    w, v = np.array([[1.0, 1.0]]), np.ones((1, 3))
    zero, error = np.zeros((1, 3)), np.array([[1 - 3 * FINE, 0.0]])
    assert is_adjoint(forward, error, reverse, zero, w, v)
    assert not is_adjoint(forward, error - FINE, reverse, zero, w, v)


def test_scale_of_each_element():
    """Zeros have the typical size, and do not count for it."""
    point = np.array([0.0, 4.0, 16.0, 64.0, 0.0, 0.0, 0.0, 0.25, 2.0**-40])
    primal = Values(lambda x: x, point[:6], point[6:7], point[7:])
    found = scales(primal.problem.leaves, point)
    typical = (0.25 + 2.0**-40) / 2
    wider = _constants.WIDER
    expected = [1.0, 8, 16, 64, 1, 1, 1, 0.25, wider * 2.0**-40]
    np.testing.assert_allclose(found, expected)
    both = Values(lambda x: x, np.array([0.0, 0.25]))
    np.testing.assert_array_equal(scales(both.problem.leaves, both.point), [0.25, 0.25])
    assert np.sqrt(2.0**-40 * typical) > wider * 2.0**-40


def test_steps_of_noisy_values():
    primal = Values(lambda x: x, np.ones(2))
    assert len(_truth.coordinate_steps(primal)) == _constants.STEP_COUNT - 2
    primal.unit = 2 * FINE
    assert len(_truth.coordinate_steps(primal)) == _constants.STEP_COUNT


# Kinks


def looked(gradient, nearby=None, f=lambda x: 2 * x, unit=0.0):
    point = np.array([0.0, 1.0])
    primal = Values(f, point, unit=unit)
    nearby = None if nearby is None else np.array(nearby, float)
    gradient, w = np.array(gradient, float), np.ones(2)
    (leaf,) = primal.problem.leaves
    return look(primal, leaf, np.arange(2), gradient, w, 0, nearby)


def bent(x):
    return np.where(x > 0, x, x / 4)


def test_kinks_at_their_limits():
    assert not looked([2, 2]).is_kink.any()
    for reported, is_between in ((1.0, True), (0.25, True), (0.2499, False), (1.0001, False)):
        found = looked([reported, 1], f=bent)
        np.testing.assert_array_equal(found.is_kink, [True, False])
        np.testing.assert_array_equal(found.is_subgradient, [is_between, False])
    # Next to it: a distance of 2⁻¹⁵ of the larger gradient is none.
    share = 2.0**-15
    assert np.sqrt(_constants.NEARBY) == share
    equal = [[1 - share, 1], [1, 1]]
    for reported in ([9, 1], [1, 1]):
        assert not looked(reported, equal).is_kink.any()
    apart = [[1 - 1.5 * share, 1], [1, 1]]
    assert looked([1 + share, 1], apart).is_subgradient.tolist() == [True, False]
    assert looked([1 + share, 1], apart).together == ()
    assert looked([1 + 1.5 * share, 1], apart).together != ()
    assert looked([9, 1], apart).is_kink.tolist() == [True, False]


def test_directions_that_do_not_fit():
    kinks = Kinks(*4 * [np.ones(1)], ((1.0, 1.0, 2.0), (2.0, 1.0, 2.0)))
    assert misfit(kinks) is None
    for wrong in ((0.5, 1.0, 2.0), (2.5, 1.0, 2.0), (float("nan"), 1.0, 2.0)):
        kinks = Kinks(*4 * [np.ones(1)], ((1.0, 1.0, 2.0), wrong, (9.0, 1.0, 2.0)))
        assert misfit(kinks) is wrong


# Jumps


def jump(f, low, high, element=0):
    primal = Values(f, np.zeros(1))
    return _precision._jump(primal, np.ones(1), element, low, high)


def test_bisection_of_a_jump():
    def equal(x):
        """A jump of 1 below zero and as long a slope above it."""
        return (x > -0.5) + np.clip(x, 0, 1)

    assert jump(equal, -1.0, 1.0) == 1  # the lower half comes first
    assert jump(lambda x: equal(-x), -1.0, 1.0) == 0
    assert jump(lambda x: np.append(0 * x, equal(x)), -1.0, 1.0, 1) == 1
    # It ends at 1e-14, and at neighbouring numbers.
    assert jump(lambda x: x / 1e-14, 0.0, 1e-14) == 1
    assert jump(lambda x: x / 1e-14, 0.0, 2e-14) == 1
    for start in (1e3, float(np.nextafter(1e3, 2e3))):
        end = float(np.nextafter(start, 2e3))
        assert jump(lambda x, start=start: (x > start) * 1.0, start, end) == 1
    # What rounding moves is none.
    least = _constants.JUMP * FINE
    for size, found in ((least, 0.0), (2 * least, 2 * least)):
        assert jump(lambda x, size=size: 1 - size * (x < 0.25), 0.0, 1.0) == found
        assert jump(lambda x, size=size: -1 + size * (x < 0.25), 0.0, 1.0) == found


def test_noise_is_relative_to_the_largest_value():
    """It is the largest of those at three distances, among the values that are finite."""
    many = []

    def values(f):
        primal = Values(f, np.zeros(1))
        each = primal.many
        primal.many = lambda points: many.append(np.ravel(points)) or each(points)
        return _precision._noise(primal, np.array([2.0]))

    edge = _constants.DISTANCE / 8

    def noisy(x):
        return np.append(4 + 0 * x, 1 + 1e-6 * (x > edge))

    np.testing.assert_allclose(values(noisy), 0.25e-6, rtol=1e-6)
    expected = [_constants.DISTANCE * 1e-3**i * np.arange(-4, 5) * 2 for i in range(3)]
    np.testing.assert_allclose(many, expected)
    near = _constants.DISTANCE * 1e-3 / 8
    assert values(lambda x: 1 + 1e-6 * (x > near) + 1e-9 * (x > edge)) > 0.9e-6
    assert values(lambda x: 0 * x) == 0
    # Nothing is known where the values are not finite, but nearer to the point it is.
    lost = _constants.DISTANCE * 2e-3

    def inside(x):
        return np.where(np.abs(x) < lost * 4.5, 1 + 1e-6 * (x > near), np.nan)

    np.testing.assert_allclose(values(inside), 1e-6, rtol=1e-5)
    assert values(lambda x: x * np.nan) == 0


# Bisection


def test_bisection_of_equal_errors():
    primal = Values(lambda x: 2 * x, np.ones(8))
    (leaf,) = primal.problem.leaves
    w = np.ones(8)
    ((element, slope, _),) = worst_by_halves(primal, leaf, 2 * w, w, 0)
    assert (element, slope) == (0, 2)
    # A slope that is unknown counts as zero.
    primal = Values(lambda x: np.where(np.arange(8) == 5, np.nan, 2 * x), np.ones(8))
    ((element, _, _),) = worst_by_halves(primal, leaf, 2 * w, w, 0)
    assert element == 5


# Linear arguments


def test_linearity_at_its_bound():
    """f(u + v) - f(u) - f(v) + f(0), relative to the sum of their sizes."""
    drawn = SimpleNamespace(directions=np.array([[1.0], [9.0]]))

    def f(x, gap):
        return np.append(np.where(x == 2, 2 + gap, x), 4 * x)

    unit = FINE * 3 * 16  # three elements; the largest values are 0, 4, 4 and 8
    for gap, is_linear in (
        (unit, True),
        (1.25 * unit, False),
        (-unit, True),
        (-1.25 * unit, False),
    ):
        primal = Values(lambda x, gap=gap: f(x, gap), np.array([1.0]))
        (leaf,) = primal.problem.leaves
        if is_linear:
            _linear_truth._check_linear(primal, leaf, drawn)
        else:
            with pytest.raises(ValueError, match="is not linear in it"):
                _linear_truth._check_linear(primal, leaf, drawn)


def test_linearity_is_tried_along_the_first_direction():
    drawn = SimpleNamespace(directions=np.array([[1.0, 5.0], [3.0, 5.0]]))
    asked = []
    primal = Values(lambda x: asked.append(x.copy()) or x, np.array([2.0]), np.array([7.0]))
    asked.clear()
    _linear_truth._check_linear(primal, primal.problem.leaves[0], drawn)
    np.testing.assert_array_equal(asked, [[0, 7], [2, 7], [1, 7], [3, 7]])


def test_the_noisiest_element_has_the_largest_fourth_difference():
    """Those of a step by 1 and of a single value of 0.55 are 3 and 3.3."""
    unit = 2 * _constants.DISTANCE

    def f(x):
        spike = 0.55 * (np.abs(x - unit) < unit / 4)
        return np.concatenate([1 + (x > unit / 2), 1 + spike])

    found = _precision._noise(Values(f, np.zeros(1)), np.array([2.0]))
    np.testing.assert_allclose(found, 0.55 / 2)


def test_the_side_that_exists_need_not_be_wide():
    """The finest steps decide, and the slope is that along them."""
    for sign in (1.0, -1.0):
        line = slopes(
            lambda x, sign=sign: np.where((sign * x >= 0) & (sign * x < 1e-3), 2 * x, np.nan),
            np.zeros(1),
            np.ones(1),
            all_steps(),
        )
        for slope in (line.central, line.left, line.right):
            np.testing.assert_allclose(slope, [2.0], rtol=1e-9)
        assert not line.is_kink.any()


def test_numbers_that_differences_do_not_have_either():
    """A slope that is not finite, or whose error is not, replaces nothing."""
    primal = SimpleNamespace()
    truth = _truth.Truth(
        np.array([[np.nan, np.inf, 3.0, np.nan]]), np.full((1, 4), 0.5), *4 * [None], True
    )
    found = np.array([[np.nan, 7.0, 8.0]]), np.array([[1.0, np.inf, 2.0]])
    asked = []

    def by_coordinates(given, lost, cotangents):
        asked.append((given, lost.tolist(), cotangents))
        return found

    before, _truth.by_coordinates = _truth.by_coordinates, by_coordinates
    try:
        settled = _truth._with_numbers(primal, truth, "cotangents")
    finally:
        _truth.by_coordinates = before
    assert asked == [(primal, [0, 1, 3], "cotangents")]
    np.testing.assert_array_equal(settled.reverse, [[np.nan, np.inf, 3.0, 8.0]])
    np.testing.assert_array_equal(settled.reverse_error, [[0.5, 0.5, 0.5, 2.0]])
    np.testing.assert_array_equal(truth.reverse_error, np.full((1, 4), 0.5))


@pytest.mark.parametrize(("batch", "chunks"), [(1, [1, 1, 1]), (9 * 8, [2, 1]), (9 * 12, [3])])
def test_coordinates_of_kinks_are_tried_in_batches(batch, chunks, monkeypatch):
    monkeypatch.setattr("jaxconv.verify.truth._kinks.BATCH", batch)
    primal = Values(lambda x: 2 * x[:1], np.ones(3))
    count, asked, many = len(_truth.coordinate_steps(primal)), [], primal.many
    assert count == 9
    primal.many = lambda points: asked.append(len(points) // count) or many(points)
    (leaf,) = primal.problem.leaves
    look(primal, leaf, np.arange(3), np.zeros(3), np.ones(1), 0)
    assert asked == [chunk for chunk in chunks for _ in range(2)]


def test_bisection_moves_each_element_by_its_scale():
    """In a random direction, and no others."""
    point = np.array([1.0, 4.0, 0.5, 2.0, 8.0, 3.0])
    asked = []
    primal = Values(lambda x: asked.append(x - point) or np.array([0.0]), point[:5], point[5:])
    asked.clear()
    leaf = primal.problem.leaves[0]
    worst_by_halves(primal, leaf, np.arange(6.0), np.ones(1), 0)
    size = scales(primal.problem.leaves, point)
    moves = np.array([move for move in asked if move.any()]) / size
    assert not moves[:, 5].any()
    step = np.abs(moves).max(axis=1, keepdims=True)
    assert set(np.ravel(np.round(np.log2(step), 6))) == set(np.log2(all_steps()))
    assert set(np.ravel(np.round(moves / step, 6))) == {-1, 0, 1}
    # Halves of halves: the first of five elements has three.
    counts = [int(np.count_nonzero(move)) for move in moves[:: 2 * len(all_steps())]]
    assert counts[:2] == [3, 2]
