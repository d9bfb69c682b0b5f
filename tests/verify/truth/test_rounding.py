"""What is measured is the rounding of the running error analysis, eps · terms · scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._rounding import Measurement, _root_mean_square, of_comparison

pytestmark = pytest.mark.usefixtures("float64")

SINGLE, HALF = (float(jnp.finfo(dtype).eps) for dtype in ("float32", "bfloat16"))
# The root mean square of the random factors: integers from 32 to 96, in units of 64.
FACTOR = np.sqrt(np.mean(np.arange(32, 97) ** 2.0)) / 64


def correlate(x, k):
    return np.asarray(jax.lax.conv(x, k, (1, 1), "VALID"))


def of_sum(a):
    """Only an addition of two numbers that are not zero rounds."""
    return np.maximum((a != 0).sum(0) - 1, 0) * abs(a).sum(0)


def error_of_sum(eps, a):
    """Sums of half precision are accumulated in float32, and rounded once."""
    return SINGLE * of_sum(a) + (eps > SINGLE) * eps * abs(a.sum(0))


# A function, the shapes of its operands, and its error.
CASES = {
    "product": (lambda a, b: a * b, [(20, 30)] * 2, lambda eps, a, b: eps * abs(a * b)),
    "two products": (
        lambda a, b: a * b * b,
        [(20, 30)] * 2,
        lambda eps, a, b: np.sqrt(2) * eps * abs(a * b * b),
    ),
    "powers of two": (lambda a: a * 4 / 2, [(20, 30)], lambda eps, a: 0 * a),
    "sum": (lambda a: a.sum(0), [(9, 600)], error_of_sum),
    "sum of few": (
        lambda a: jnp.where(a > 0, a, 0).sum(0),
        [(5, 600)],
        lambda eps, a: error_of_sum(eps, np.where(a > 0, a, 0)),
    ),
    "contraction": (
        lambda a, b: a @ b,
        [(20, 9), (9, 30)],
        lambda eps, a, b: eps * abs(a @ b) + SINGLE * 9 * abs(a) @ abs(b),
    ),
    "convolution": (
        lambda x, k: jax.lax.conv(x, k, (1, 1), "VALID"),
        [(2, 3, 12, 12), (4, 3, 2, 2)],
        lambda eps, x, k: eps * abs(correlate(x, k)) + SINGLE * 12 * correlate(abs(x), abs(k)),
    ),
    "function": (
        jnp.exp,
        [(20, 30)],
        lambda eps, a: _constants.UNITS_OF_FUNCTIONS * eps * np.exp(a),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_rounding_is_that_of_each_operation(name, dtype, normal):
    f, shapes, error = CASES[name]
    args = [normal(shape).astype(dtype) for shape in shapes]
    traced = {"f": jax.make_jaxpr(f)(*args)}
    measurement = Measurement(traced, Arithmetic(), 0, _constants.SAMPLES, {})
    measured = measurement({"f": args}, is_own=True)["f"]
    eps = SINGLE if dtype == "float32" else HALF
    expected = FACTOR * np.ravel(error(eps, *(np.float64(a) for a in args)))
    if not expected.any():
        assert not measured.rounding.any()
    np.testing.assert_allclose(
        *(np.sqrt(np.mean(a**2)) for a in (measured.rounding, expected)), rtol=0.1
    )
    coarser = measurement({"f": args}, is_own=True, coarser=True)["f"].rounding
    np.testing.assert_allclose(
        *(np.sqrt(np.mean(a**2)) for a in (coarser, _constants.COARSER * expected)), rtol=0.1
    )


@pytest.mark.parametrize(("pairs", "units"), [({}, 0.5), ({"f": "g"}, 0.0), ({"f": None}, 0.0)])
def test_constant_is_off_by_half_a_unit_unless_both_have_it(pairs, units, normal):
    x = normal((50,), "float32")
    traces = {"f": jax.make_jaxpr(lambda x: 0.3 * x)(x), "g": jax.make_jaxpr(lambda x: x * 0.3)(x)}
    measurement = Measurement(traces, Arithmetic(FINE), 0, _constants.SAMPLES, pairs)
    measured = measurement({"f": [x], "g": [x]})["f"]
    half = units * SINGLE * _constants.ROUNDED_CONSTANTS / _constants.MARGIN
    np.testing.assert_allclose(measured.rounding / abs(measured.value), half, atol=2 * FINE)


def test_root_mean_square_is_of_the_finite_samples():
    with np.errstate(all="raise", under="ignore"):
        found = _root_mean_square(
            [
                np.array([3.0, 3e-200, 0.0, np.nan, np.nan, 2e200]),
                np.array([-4.0, 4e-200, 0.0, -5.0, np.inf, 2e200]),
            ]
        )
    np.testing.assert_allclose(found, [np.sqrt(12.5), np.sqrt(12.5) * 1e-200, 0, 5, np.inf, 2e200])


def test_comparison_has_a_few_units_and_flushes_the_smallest():
    expected = np.array([0.0, -3.0, np.nan])
    units = _constants.UNITS_OF_COMPARISON
    np.testing.assert_allclose(of_comparison(expected, 1e-3), [0, 3e-3 * units, 0])
    tiny = float(jnp.finfo("float32").tiny)
    np.testing.assert_allclose(of_comparison(expected[:1], 1e-3, "float32", 5.0), 5 * tiny)


def test_values_that_no_perturbation_has_are_off_by_a_few_units():
    x = np.array([1.5, -3.25], np.float32)
    traced = jax.make_jaxpr(lambda x: jnp.where(x * 1.1 == x * 1.1, x, jnp.inf))(x)
    formulas = Arithmetic(coarsest=SINGLE)
    measured = Measurement({"f": traced}, formulas, 0, _constants.SAMPLES, {})({"f": [x]}, True)
    np.testing.assert_allclose(
        measured["f"].rounding, _constants.UNITS_OF_REFERENCE * SINGLE * 3.25
    )
