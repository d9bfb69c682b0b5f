"""Cancellation that leaves no correct digit is reported, and small gradients are not."""

import jax
import jax.numpy as jnp
import pytest

from jaxconv import verify

from ..rules import some

FIRST = ("reverse", "forward")

CANCELLED = {
    "float64": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-8),
    "float64, milder": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-5),
    "float32": (lambda x: (1 - jnp.cos(x)) / x**2, 1e-4),
    "difference of roots": (lambda x: (jnp.sqrt(1 + x) - 1 - x / 2) / x**2, 1e-7),
}
NOT_CANCELLED = {
    "zero gradient of a softmax's sum": (lambda x: jax.nn.softmax(x).sum(), [0.3, -1.0, 2.0]),
    "a difference of equals": (lambda x: jnp.tanh(x) - jnp.tanh(x), [0.3, -1.0]),
    "normalised": (lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-5), [0.3, -1.0, 2.0, 0.1]),
    "where it is well computed": (lambda x: 2 * jnp.sin(x / 2) ** 2 / x**2, [1e-3]),
}


@pytest.mark.parametrize("name", some(CANCELLED, ["float64", "float32"]))
def test_no_correct_digit(name):
    f, x = CANCELLED[name]
    with jax.enable_x64("64" in name or "roots" in name):
        report = verify.check_gradients(f, (jnp.array(x),), modes=FIRST, order=1)
    assert [failure.diagnosis for failure in report.failures] == [
        "right formula, but no correct digit here"
    ]


@pytest.mark.parametrize("dtype", some(["float64", "float32", "bfloat16"], ["float32"]))
@pytest.mark.parametrize("name", some(NOT_CANCELLED, ["a difference of equals", "normalised"]))
def test_small_gradients_of_well_computed_functions_are_right(name, dtype):
    f, x = NOT_CANCELLED[name]
    with jax.enable_x64(True):
        report = verify.check_gradients(f, (jnp.array(x, dtype),), modes=FIRST, order=1)
    assert report.ok, str(report)


WELL_COMPUTED = {
    "below the smallest number": (lambda x: jax.scipy.special.erfc(x), [1.0, 10.0, 20.0, 1e4]),
    "near the ends of the domain": (lambda x: jnp.arcsin(x), [0.5, 1 - 2.0**-20, 1e-30]),
    "far below the domain's larger part": (lambda x: jax.scipy.special.log_ndtr(x), [20.0, 1e4]),
    "saturated": (lambda x: jnp.tanh(x), [1e4]),
    "a saturated one among others": (lambda x: jnp.tanh(x), [0.5, 1e4, 1e30]),
    "pixels that are chosen": (
        lambda x: jax.image.resize(x, (4, 6), "nearest"),
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    ),
    "a period far shorter than the argument": (lambda x: jnp.sin(x), [3e5, -1e8, 0.3]),
}


# log_ndtr has many primitives to compile.
SHORT = [name for name in WELL_COMPUTED if "far below" not in name]


@pytest.mark.parametrize("x64", some([False, True], [False]))
@pytest.mark.parametrize("name", some(WELL_COMPUTED, SHORT))
def test_digits_are_there(name, x64):
    f, x = WELL_COMPUTED[name]
    with jax.enable_x64(x64):
        report = verify.check_gradients(f, (jnp.array(x),), modes=FIRST, order=1)
    assert report.ok, str(report)
