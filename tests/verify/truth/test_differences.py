"""Slopes by differences: what they say of themselves, near kinks and away from them."""

import dataclasses

import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._constants import ERRORS
from jaxconv.verify.truth import _differences
from jaxconv.verify.truth._differences import (
    all_steps,
    few_steps,
    slopes,
    slopes_of,
    taylor_slope,
)

# A function, and its derivative where it has one.
KINKED = {
    "relu": (
        lambda x: np.maximum(x, 0) + 0.1 * np.sin(3 * x),
        lambda x: (x > 0) + 0.3 * np.cos(3 * x),
    ),
    "abs": (lambda x: abs(x) * np.exp(x), lambda x: (np.sign(x) + abs(x)) * np.exp(x)),
}
SMOOTH = {
    "sin": (lambda x: np.sin(30 * x), lambda x: 30 * np.cos(30 * x)),
    "product": (lambda x: x * np.exp(x), lambda x: (1 + x) * np.exp(x)),
    "linear": (lambda x: 3 * x + 1, lambda x: 3 + 0 * x),
}


@pytest.mark.parametrize("steps", [all_steps(), few_steps()], ids=["all steps", "few steps"])
@pytest.mark.parametrize("name", [*KINKED, *SMOOTH])
def test_derivative_is_the_slope_or_between_those_of_a_kink(name, steps):
    """However near the kink: at its distance, some step always goes beyond it."""
    rng = np.random.default_rng(0)
    x = 10 ** rng.uniform(-9, -1, 20_000) * rng.choice([-1, 1], 20_000)
    direction = rng.normal(size=x.shape)
    function, derivative = (KINKED | SMOOTH)[name]
    line, true = slopes(function, x, direction, steps), derivative(x) * direction
    slack = ERRORS * (line.error + line.side_error)
    low, high = np.minimum(line.left, line.right) - slack, np.maximum(line.left, line.right) + slack
    is_slope = np.abs(line.central - true) <= ERRORS * line.error + 1e-12 * np.abs(true)
    is_between = line.is_kink & (low <= true) & (true <= high)
    assert (is_slope | is_between).all()
    assert line.is_kink.any() == (name in KINKED)


# The definition, element by element: steps t fall by four; all values are exact to `unit`.


def extrapolated(quotients, factor, noise):
    """The best extrapolation (1), its error, and those of the finest steps."""
    count = len(quotients)
    finer = [(factor * quotients[j + 1] - quotients[j]) / (factor - 1) for j in range(count - 1)]
    gaps = [abs(finer[j + 1] - finer[j]) for j in range(count - 2)]
    errors = []
    for j in range(1, count - 2):  # between two neighbours
        # The disagreement with finer ones counts in so far as rounding grows as steps get smaller.
        later = [gaps[k] / 4 ** (k - j) for k in range(j, count - 2) if not np.isnan(gaps[k])]
        neighbours = [*later, gaps[j - 1]] if later else [np.nan]
        error = max(neighbours) + max(noise[j], noise[j + 1])
        errors.append(error if np.isfinite(error) and not np.isnan(gaps[j - 1]) else np.inf)
    best = int(np.argmin(errors))
    return finer[best + 1], errors[best], finer[-2], errors[-1]


def by_definition(start, ahead, behind, steps, typical, unit):
    """All that is said of one element."""
    moved = [max(abs(a - start), abs(b - start)) for a, b in zip(ahead, behind, strict=True)]
    speed = max(m / t for m, t in zip(moved, steps, strict=True))
    size = max(abs(start), min(typical, _constants.CANCELLATION * speed))
    noise = [
        _constants.UNITS_OF_VALUES * unit * (2 * max(abs(a), abs(b)) + size) / t
        for a, b, t in zip(ahead, behind, steps, strict=True)
    ]
    count, far = len(steps), []
    for j in range(count - 1):
        later = moved[j + 1 :] if j < count - 5 else moved[j + 1 : j + 2]
        of_noise = _constants.SEEN * noise[j + 1] * steps[j + 1]
        far.append(max(later) > max(_constants.ROUGH * moved[j], of_noise))
    last = max(count - 5, 0)
    wide = far[:last] + [any(far[last:])] * (count - last)
    noise = [np.inf if is_wide else n for n, is_wide in zip(noise, wide, strict=True)]
    quotients = {
        "central": [(a - b) / (2 * t) for a, b, t in zip(ahead, behind, steps, strict=True)],
        "right": [(a - start) / t for a, t in zip(ahead, steps, strict=True)],
        "left": [(start - b) / t for b, t in zip(behind, steps, strict=True)],
    }
    central, error, finest, finest_error = extrapolated(quotients["central"], 16, noise)
    right, of_right, *_ = extrapolated(quotients["right"], 4, noise)
    left, of_left, *_ = extrapolated(quotients["left"], 4, noise)
    is_kink = abs(right - left) > _constants.KINK * (of_right + of_left)
    found = {"central": central, "error": error, "left": left, "right": right}
    return found | {
        **{"side_error": of_right + of_left, "finest": finest, "finest_error": finest_error},
        "is_kink": is_kink,
    }


@pytest.mark.parametrize("steps", [all_steps(), few_steps()], ids=["all steps", "few steps"])
@pytest.mark.parametrize("unit", [2.0**-52, 1e-9])
def test_slopes_are_those_of_the_definition(steps, unit, normal):
    x = np.concatenate([np.asarray(normal((8,))), [0, 1e-3, -1e-5, 1e-7, 3.0]])
    functions = (
        *(lambda x: np.sin(30 * x), lambda x: np.maximum(x, 0), abs, lambda x: x * np.exp(x)),
        *(lambda x: 1e6 * x**2, lambda x: x + 1e-5 * np.sin(1e4 * x), lambda x: 3 + 0 * x),
        lambda x: x + 1e-9 * np.sign(np.sin(1e9 * x)),
    )
    for f in functions:
        values = [np.array([f(x + s * t) for t in steps]) for s in (1, -1)]
        line = slopes_of(f(x), *values, steps, unit)
        typical = np.median(abs(f(x)))
        for i in range(len(x)):
            of_i = f(x)[i], values[0][:, i], values[1][:, i]
            expected = by_definition(*of_i, steps, typical, unit)
            for name, value in expected.items():
                np.testing.assert_allclose(getattr(line, name)[i], value, rtol=1e-9, err_msg=name)
        np.testing.assert_array_equal(line.start, f(x))
        np.testing.assert_array_equal(line.ahead, values[0])
        assert line.steps == steps


def test_blocks_make_no_difference(normal, monkeypatch):
    x = np.asarray(normal((3, 5)))
    whole = slopes(np.sin, x, 1 + 0 * x, all_steps())
    for block in (1, 4, 15, 16):
        monkeypatch.setattr(_differences, "_BLOCK", block)
        line = slopes(np.sin, x, 1 + 0 * x, all_steps())
        for field in dataclasses.fields(line):
            np.testing.assert_array_equal(*(getattr(a, field.name) for a in (line, whole)))
    nothing = slopes(np.sin, x[:0], x[:0], all_steps())
    assert nothing.central.shape == nothing.is_kink.shape == (0, 5)


def test_the_side_that_exists_has_the_slope():
    x, steps = np.array([0.0, 1.0]), all_steps()
    for f, end, slope in (
        (lambda x: np.where(x >= 0, 2 * x, np.nan), 0, 2),
        (lambda x: np.where(x <= 1, 3 * x, np.nan), 1, 3),
    ):
        line = slopes(f, x, np.ones(2), steps)
        assert not line.is_kink.any()
        for found in (line.central, line.left, line.right):
            np.testing.assert_allclose(found[end], slope, rtol=1e-9)
        assert line.error[end] == line.side_error[end] < 1e-6
        assert np.isnan([line.central[1 - end]]).all() == np.isnan(f(x))[1 - end]
    line = slopes(lambda x: np.where(x > 0, x, np.nan), x, np.ones(2), steps)
    assert np.isnan(line.central[0])  # the point itself does not exist


def test_steps():
    assert all_steps() == tuple(2.0 ** -(3 + 2 * j) for j in range(11))
    assert few_steps() == all_steps()[3:9]


def test_order_of_a_remainder():
    t = np.array(all_steps())
    noise = np.full(11, 1e-30)
    for order in (1, 2, 3):
        assert taylor_slope(t**order, noise) == pytest.approx(order, rel=1e-12)
    assert taylor_slope(t**2, t**2 / 64) is None  # of rounding alone
    assert taylor_slope(t**2, t**2 / 65) == pytest.approx(2)
    seen = np.where(np.arange(11) % 2, np.inf, 1e-30)
    assert taylor_slope(t**2, seen) is None  # no two neighbours are seen
    bent = np.where(t < 1e-3, t, t**2)
    assert 1 <= taylor_slope(bent, noise) < 2


def test_size_of_the_terms_of_an_element():
    """Its own size, or the typical one, but no more than a thousand times how fast it moves."""
    t = np.array([[0.5], [0.25]])
    for start, ahead, behind, typical, expected in (
        (3.0, [3.0, 3.0], [3.0, 3.0], 9.0, 3.0),
        (-3.0, [3.0, 3.0], [3.0, 3.0], 2.0, 3.0),
        (0.0, [0.0, 2.0**-12], [0.0, 0.0], 9.0, 1000 * 2.0**-10),
        (0.0, [0.0, 0.0], [2.0**-12, 0.0], 9.0, 1000 * 2.0**-11),
        (0.0, [1.0, 1.0], [0.0, 0.0], 9.0, 9.0),
        # What is not finite does not move.
        (0.0, [np.inf, 2.0**-12], [0.0, np.nan], 9.0, 1000 * 2.0**-10),
        (0.0, [np.inf, np.nan], [-np.inf, np.nan], 9.0, 0.0),
    ):
        arrays = (np.array(a)[:, None] for a in (ahead, behind))
        with np.errstate(invalid="ignore"):
            found = _differences._size(np.array([start]), *arrays, t, typical)
        np.testing.assert_array_equal(found, [expected])
