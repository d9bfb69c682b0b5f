"""Cancellation that leaves no correct digit is reported, and small gradients are not."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify import _constants
from jaxconv.verify._problem import Leaf
from jaxconv.verify.comparison._cancellation import NOTE, judge_cancellation

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


VALUE = np.array([1e-13, 5.0, 1e-13])
X, Y = Leaf("x", 0, (2,), np.dtype(float), 0), Leaf("y", 1, (1,), np.dtype(float), 2)


def lost(rounding, *, value=VALUE, coarser=5.0, point=(1.0, 1.0, 1.0), called=None, **known):
    """The elements of x and y that have no correct digit, where the largest number is 2."""
    known = {"unit": 2.0**-52, "coarsest": 2.0**-52, "f": jnp.sin} | known
    rounding = np.array(rounding)
    evidence = SimpleNamespace(
        problem=SimpleNamespace(leaves=(X, Y)),
        primal=SimpleNamespace(
            point=np.array(point),
            unit=known["unit"],
            arithmetic=SimpleNamespace(coarsest=known["coarsest"]),
            largest=lambda: 2.0,
        ),
        own=lambda mode, at: (np.stack([value, 9 + value]), np.stack([rounding, np.zeros(3)])),
        is_narrow=called is not None,
        called=SimpleNamespace(rows=None if called is None else np.array([called])),
        derivatives=SimpleNamespace(traces={"reverse": jax.make_jaxpr(known["f"])(np.eye(2))}),
        draws=SimpleNamespace(cotangents=np.array([[1.0, -3.0]])),
        rounding_in_coarser_arithmetic=lambda: coarser * rounding,
    )
    findings = SimpleNamespace(wrong=[])
    judge_cancellation(evidence, findings)
    assert all((f.mode, f.note) == ("reverse", NOTE) for f in findings.wrong)
    return {f.leaf.name: f.is_wrong.tolist() for f in findings.wrong}


@pytest.mark.usefixtures("float64", "no_type_checker")
def test_what_is_beyond_the_unavoidable():
    """8192 units of the largest number or of the largest gradient, and in proportion to errors."""
    unit = _constants.AMPLIFIED * 2.0**-52
    natural = 4 * 2.0  # the cotangents' sum times the largest number
    assert lost([1.01 * unit * natural, 0, 0]) == {"x": [True, False]}
    assert lost([0, 0, 1.01 * unit * natural]) == {"y": [True]}
    assert lost([0.99 * unit * natural, 0, 0.99 * unit * natural]) == {}
    large = VALUE * [1, 4, 1]  # x has an element of 20
    assert lost([1.01 * unit * 20, 0, 0.99 * unit * 8], value=large) == {"x": [True, False]}
    assert lost([0.99 * unit * 20, 0, 1.01 * unit * 8], value=large) == {"y": [True]}
    rounding = [2 * unit * natural, 0, 0]
    assert lost(rounding, coarser=4.01)
    assert not lost(rounding, coarser=3.99)
    assert not lost(rounding, value=VALUE + 3 * unit * natural)  # a digit is left
    assert not lost([np.inf, 0, 0])
    assert not lost([2 * unit * natural, 0, 0], value=np.array([np.nan, 1, 1]))
    # A small argument makes more of the same error, and so does a coarser dtype.
    assert not lost(rounding, point=(0.25, 0.25, 1.0))
    assert not lost(rounding, unit=2.0**-50)
    assert not lost(rounding, coarsest=2.0**-50)
    # Where eigenvalues tie there are several decompositions.
    assert not lost(rounding, f=lambda x: jnp.linalg.eigh(x)[1])


@pytest.mark.usefixtures("float64", "no_type_checker")
def test_a_rule_of_a_narrow_dtype_shows_how_many_digits_are_left():
    value = np.array([1e-9, 5.0, 1e-9])
    for gap, is_lost in ((0.51, True), (0.49, False)):
        found = lost([1.0, 0, 0], value=value, called=value * (1 + gap))
        assert found == ({"x": [True, False]} if is_lost else {})


@pytest.mark.usefixtures("float64", "no_type_checker")
def test_limits_themselves_are_not_beyond():
    unit = _constants.AMPLIFIED * 2.0**-52
    value = np.array([2.0**-60, 5.0, 2.0**-60])
    natural = 4 * 2.0
    assert not lost([unit * natural, 0, 0], value=value)
    assert lost([unit * natural * 2, 0, 0], value=value)
    assert not lost([2 * unit * natural, 0, 0], value=value, coarser=4.0)
    large = value * [2.0**60, 1, 1]  # the rounding is as large as the value
    assert not lost([1.0, 0, 0], value=large, point=(1.0, 1.0, 1.0))
    assert not lost([1.0, 0, 0], value=value, called=value * [1.5, 1, 1])
    assert lost([1.0, 0, 0], value=value, called=value * [1.75, 1, 1])
    # The second cotangent does not count.
    assert lost([2 * unit * natural, 0, 0], value=value) == {"x": [True, False]}
