"""Any subgradient is right at a kink, and elements that tie must fit together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify import _constants
from jaxconv.verify.truth import _kinks
from jaxconv.verify.truth._kinks import Kinks, look, misfit, range_of

from ..rules import some, with_rule
from .values import Values

FIRST = ("reverse", "forward")


def test_ties_each_counted_in_full():
    def rule(x, y_bar):
        return y_bar * (x == x.max())

    report = verify.check_gradients(
        with_rule(lambda x: jnp.max(x), rule), (jnp.array([1.0, 1.0, 0.0]),), order=1
    )
    assert report.failures[0].diagnosis == "ties counted twice"


def test_a_kink_excuses_no_other_element():
    def f(x):
        return jnp.maximum(x, 0) + x**2

    def rule(x, y_bar):
        return y_bar * ((x > 0) + 2 * x * jnp.array([1.0, 1 + 1e-5]))

    with jax.enable_x64(True):
        wrong, x = with_rule(f, rule), jnp.array([0.0, 1.0])
        report = verify.check_gradients(wrong, (x,), modes="reverse", order=1)
    assert report.failures[0].worst[0].index == (1,)


def _softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _log_sigmoid(x):
    return -(jnp.where(-x > 0, -x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))))


@pytest.mark.parametrize("x64", some([False, True], [False]))
@pytest.mark.parametrize("f", some([_softplus, _log_sigmoid], [_softplus]))
def test_two_kinks_that_cancel_have_one_slope(f, x64):
    """Both have the slope 1/2 at 0, which JAX gives or misses as it differentiates |x| at 0."""
    with jax.enable_x64(x64):
        x = jnp.array([0.0, 1.0, -2.0])
        slope = jax.grad(lambda x: f(x).sum())(x)[0]
        assert verify.check_gradients(f, (x,), modes=FIRST, order=1).ok == bool(
            np.isclose(slope, 0.5)
        )
        right = with_rule(f, lambda x, y_bar: y_bar * jax.nn.sigmoid(x if f is _softplus else -x))
        assert verify.check_gradients(right, (x,), modes=FIRST, order=1).ok
        missed = with_rule(
            f, lambda x, y_bar: y_bar * (x != 0) * jax.nn.sigmoid(x if f is _softplus else -x)
        )
        report = verify.check_gradients(missed, (x,), modes=FIRST, order=1)
    assert report.failures[0].worst[0].index == (0,)


# The same of functions in NumPy.

POINT = np.array([0.0, 1.0, 0.0, -2.0, 3.0])
SCALE = np.array([2.0, 1.0, 0.5, 1.0, 1.0])


def leaky(x):
    """Kinks at elements 0 and 2, with the slopes 1/4 and 1 times a scale; another argument."""
    return np.append(SCALE[:4] * np.where(x[:4] > 0, x[:4], x[:4] / 4), np.maximum(x[0], x[2]))


def looked(reported, elements, nearby=None, w=(1.0, 1.0, -1.0, 1.0, 0.0), seed=0):
    primal = Values(leaky, POINT[:4], POINT[4:])
    elements = np.asarray(elements)
    gradient = np.append(np.asarray(reported, float), 0.0)
    nearby = None if nearby is None else np.asarray(nearby, float)
    leaf = primal.problem.leaves[0]
    return look(primal, leaf, elements, gradient, np.array(w), seed, nearby)


no_checker = pytest.mark.usefixtures("no_type_checker")


@no_checker
def test_slopes_to_the_sides_of_a_kink():
    found = looked([1.0, 1.0, -0.3, 0.3], [0, 1, 2, 3])
    np.testing.assert_array_equal(found.is_kink, [True, False, True, False])
    np.testing.assert_array_equal(found.is_subgradient, [True, False, True, False])
    np.testing.assert_allclose(found.low, [0.5, 1, -0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(found.high, [2, 1, -0.125, 0.25], rtol=1e-6)
    # All accepted elements together, and the whole array: with their slopes from left and right.
    (said, low, high), (all_said, all_low, all_high) = found.together
    np.testing.assert_allclose([said, low, high], [0.7, 0, 1.875], rtol=1e-6, atol=1e-6)
    scale = _kinks.scales(Values(leaky, POINT).problem.leaves, POINT)[:4].max()
    expected = scale * np.array([2.0, 0 + 1 + 0.25, 1.875 + 1 + 0.25])
    np.testing.assert_allclose([all_said, all_low, all_high], expected, rtol=1e-6)
    assert misfit(found) is None


@no_checker
@pytest.mark.parametrize(
    ("slope", "is_accepted"), [(0.5, True), (2.0, True), (0.499, False), (2.001, False)]
)
def test_the_ends_are_subgradients(slope, is_accepted):
    found = looked([slope, 0, 0, 0], [0])
    assert found.is_subgradient == [is_accepted]
    assert (found.together != ()) == is_accepted


@no_checker
def test_a_sum_that_is_no_slope_does_not_fit():
    """The maximum of the two has the slope 1 if both rise."""
    found = looked([0.9, 0, 0.9, 0], [0, 2], w=(0.0, 0.0, 0.0, 0.0, 1.0))
    np.testing.assert_array_equal(found.is_subgradient, [True, True])
    np.testing.assert_allclose(misfit(found), [1.8, 1, 1], rtol=1e-6)
    found = looked([0.4, 0, 0.6, 0], [0, 2], w=(0.0, 0.0, 0.0, 0.0, 1.0))
    assert misfit(found) is None
    assert misfit(Kinks(*4 * [np.ones(1)], ((1.0, 0.0, 2.0), (2.5, 0.0, 2.0)))) == (2.5, 0, 2)
    assert misfit(Kinks(*4 * [np.ones(1)], ((2.0, 0.0, 2.0), (0.0, 0.0, 2.0)))) is None


@no_checker
def test_gradients_next_to_a_kink_are_subgradients():
    sides = [[0.5, 1, -0.5, 0.25, 9], [2, 1, -0.125, 0.25, 9], [2, 1, -0.5, 0.25, 9]]
    found = looked(sides[2][:4], [0, 2], nearby=sides)  # a whole one
    np.testing.assert_array_equal(found.is_kink, [True, True])
    np.testing.assert_array_equal(found.is_subgradient, [True, True])
    np.testing.assert_array_equal(found.low, [0.5, -0.5])
    np.testing.assert_array_equal(found.high, [2, -0.125])
    assert found.together == ()
    slack = np.sqrt(_constants.NEARBY)
    for gap, is_one in ((0.9, True), (1.1, False)):
        moved = [2 * (1 + gap * slack), 1, -0.5, 0.25]
        assert (looked(moved, [0, 2], nearby=sides).together == ()) == is_one
    # The range is that of the neighbours or of the coordinates, whichever is wider.
    wider = [[-1.0, 1, -0.5, 0.25, 9], [3, 1, -0.125, 0.25, 9]]
    found = looked([-0.9, 1, -0.3, 0.25], [0, 3], nearby=wider)
    np.testing.assert_array_equal(found.is_kink, [True, False])
    np.testing.assert_array_equal(found.is_subgradient, [True, False])
    np.testing.assert_allclose(found.low, [-1, 0.25], rtol=1e-6)
    np.testing.assert_allclose(found.high, [3, 0.25], rtol=1e-6)
    (said, low, high), _ = found.together
    np.testing.assert_allclose([said, low, high], [-0.9, -1, 3], rtol=1e-4)
    narrower = [[1.0, 1, -0.5, 0.25, 9], [1.5, 1, -0.5, 0.25, 9]]
    found = looked([0.6, 1, -0.3, 0.25], [0], nearby=narrower)
    np.testing.assert_allclose([found.low[0], found.high[0]], [0.5, 2], rtol=1e-6)


@no_checker
def test_range_of_neighbours():
    points = np.array([[1.0, np.nan, -3.0], [4.0, 2.0, np.inf], [2.0, np.nan, -1.0]])
    least, most, slack = range_of(points)
    np.testing.assert_array_equal(least, [1, 2, -3])
    np.testing.assert_array_equal(most, [4, 2, -1])
    np.testing.assert_allclose(slack, np.sqrt(_constants.NEARBY) * np.array([4, 2, 3]))


@no_checker
@pytest.mark.parametrize("batch", [1, 1 << 22])
def test_of_many_elements_a_sample_is_tried(batch, monkeypatch):
    monkeypatch.setattr(_kinks, "BATCH", batch)
    monkeypatch.setattr(_constants, "KINK_ELEMENTS", 2)
    both = looked([1.0, 0, -0.3, 0], [0, 2])
    assert np.isfinite(both.low).all()
    elements = [0, 2, 0, 2, 0]
    found = looked([1.0, 0, -0.3, 0], elements)
    tried = np.isfinite(found.low)
    assert tried.sum() == 2
    assert found.is_subgradient.all()  # if all of the sample are, all are
    assert found.is_kink.all()
    found = looked([9.0, 0, 9.0, 0], elements)
    assert not found.is_subgradient.any()
    np.testing.assert_array_equal(found.is_kink, tried)
