"""Slopes by differences: what they say of themselves, near kinks and away from them."""

import numpy as np
import pytest

from jaxconv.verify._constants import ERRORS
from jaxconv.verify.truth._differences import all_steps, few_steps, slopes

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
