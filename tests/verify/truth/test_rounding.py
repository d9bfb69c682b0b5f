"""What is measured is the rounding of the running error analysis, eps · terms · scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify.truth import _rounding
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._rounding import (
    Measurement,
    _literals,
    _Perturbation,
    _root_mean_square,
    _size,
    of_comparison,
)

pytestmark = pytest.mark.usefixtures("float64")
no_checker = pytest.mark.usefixtures("no_type_checker")

X = np.array([0.5, -2.0, 3.0])

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


@pytest.mark.parametrize("scale", [1.0, 2.0**-6])
def test_values_that_no_perturbation_has_are_off_by_a_few_units(scale):
    x = np.array([1.5, -3.25], np.float32) * np.float32(scale)
    traced = jax.make_jaxpr(lambda x: jnp.where(x * 1.1 == x * 1.1, x, jnp.inf))(x)
    formulas = Arithmetic(coarsest=SINGLE)
    measured = Measurement({"f": traced}, formulas, 0, _constants.SAMPLES, {})({"f": [x]}, True)
    np.testing.assert_allclose(
        measured["f"].rounding, _constants.UNITS_OF_REFERENCE * SINGLE * 3.25 * scale
    )


@no_checker
def test_constants_that_may_have_been_rounded():
    """Not those of float64, whole numbers and powers of two."""

    def f(x, y):
        narrow = x * 0.1 + 3.0 - x * 0.25, -0.7 * x, y * jnp.bfloat16(0.3)
        return *narrow, x.astype(float) * 0.9, jnp.arange(3) * 2

    traced = jax.make_jaxpr(f)(np.float32(X), jnp.bfloat16(X))
    third = float(jnp.bfloat16(0.3))
    tenth, seventh = float(np.float32(0.1)), float(np.float32(0.7))
    assert _literals(traced) == {tenth: SINGLE, seventh: SINGLE, third: HALF}


def measurement(f=jnp.sin, *, samples=3, how=None, **pairs):
    traces = {"f": jax.make_jaxpr(f)(X), "g": jax.make_jaxpr(lambda x: 2 * x)(X)}
    return Measurement(traces, how or Arithmetic(), 0, samples, pairs)


@no_checker
def test_perturbations_are_as_long_as_the_longest_result():
    found = measurement(lambda x: jnp.zeros((7, 3)).sum() + x)
    assert found._length == 21 + _Perturbation.OFFSETS
    signs = found._draw()
    assert signs.shape == (found._length,)
    assert set(np.unique(np.abs(signs.astype(int)))) == set(range(32, 97))
    assert 0.4 < (signs > 0).mean() < 0.6
    assert not np.array_equal(signs, found._draw())
    nothing = Measurement({"f": jax.make_jaxpr(lambda x: x)(X)}, Arithmetic(), 0, 3, {})
    assert nothing._length == 1 + _Perturbation.OFFSETS


@no_checker
@pytest.mark.parametrize("limit", [0, 3 + _Perturbation.OFFSETS, 4 + _Perturbation.OFFSETS])
def test_number_of_perturbed_evaluations(limit, monkeypatch):
    """In threads from a size on; only what is asked for is evaluated."""
    monkeypatch.setattr(_rounding, "_LARGE", limit)
    pools, pool = [], _rounding.ThreadPoolExecutor
    monkeypatch.setattr(
        _rounding, "ThreadPoolExecutor", lambda count: pools.append(count) or pool(count)
    )
    found = measurement()
    runs, run = [], found._run
    found._run = lambda args, signs, *rest: (
        runs.append((list(args), signs)) or run(args, signs, *rest)
    )
    for more, count in ((0, 3), (5, 5)):
        runs.clear()
        pools.clear()
        value = found({"f": [X]}, more=more)["f"]
        assert [signs is None for _, signs in runs] == [True] + count * [False]
        assert all(names == ["f"] for names, _ in runs)
        assert pools == ([] if limit > 3 + _Perturbation.OFFSETS else [_rounding._THREADS])
        np.testing.assert_allclose(value.value, np.sin(X))
        assert np.all(value.rounding > 0)
    np.testing.assert_array_equal(found.values({"f": [X]})["f"], np.sin(X))
    assert list(found.values({"g": [X]})) == ["g"]


@no_checker
def test_arithmetic_of_perturbed_evaluations():
    def rounding(**options):
        how = Arithmetic(unit=2.0**-30, coarsest=2.0**-20)
        return measurement(how=how)({"f": [X]}, **options)["f"].rounding

    usual, own, coarser = rounding(), rounding(is_own=True), rounding(coarser=True)
    np.testing.assert_allclose(coarser / usual, _constants.COARSER, rtol=1e-6)
    np.testing.assert_allclose(own / usual, FINE / 2.0**-30, rtol=0.05)


@no_checker
def test_moves_of_perturbed_results():
    """Each equation reads its signs from another place."""
    signs = (np.arange(3 * _Perturbation.OFFSETS) % 251).astype(np.int16)
    moved = _Perturbation(signs, Arithmetic(), None)
    result, size = np.zeros((2, 3)), np.ones((2, 3))
    for count in (1, 2, 3, 4):
        start = 1499 * count % _Perturbation.OFFSETS
        expected = signs[start : start + 6].reshape(2, 3)
        np.testing.assert_array_equal(moved._moved(result, size), expected)
    start = 1499 * 5 % _Perturbation.OFFSETS
    imaginary = (1499 * 5 + 750) % _Perturbation.OFFSETS
    found = moved._moved(result + 0j, size)
    np.testing.assert_array_equal(found.real, signs[start : start + 6].reshape(2, 3))
    np.testing.assert_array_equal(found.imag, signs[imaginary : imaginary + 6].reshape(2, 3))


@no_checker
def test_size_of_a_move():
    """In units of 1/64: of the result, of the larger of result and scale, and the least."""
    result, scale = np.array([-2.0, 4.0, np.inf, 1.0]), np.array([3.0, 1.0, 1.0, np.nan])
    found = _size(result, scale, 0.5, 0.25, 8.0)
    np.testing.assert_array_equal(64 * found, [1 + 0.75 + 8, 2 + 1 + 8, 0, 0.5 + 0.25 + 8])
    np.testing.assert_array_equal(64 * _size(result, None, 0.5, None, 0.0), [1, 2, 0, 0.5])
    np.testing.assert_array_equal(64 * _size(np.array([3 + 4j]), None, 1.0, None, 0.0), [5])
    found = jax.jit(lambda r, s: _size(r, s, 0.5, 0.25, 8.0))(result, scale)
    np.testing.assert_array_equal(64 * found, [9.75, 11, 0, 8.75])


@no_checker
def test_sizes_are_kept_for_later_samples():
    """By equation and by the number of times that it has run."""
    (equation,) = jax.make_jaxpr(lambda x: x * 0.1)(X).jaxpr.eqns
    signs, sizes, how = np.ones(2 * _Perturbation.OFFSETS), {}, Arithmetic(unit=2.0**-20)
    first = _Perturbation(signs, how, sizes)
    for factor in (1.5, 2.5):
        (found,) = first(equation, [factor * X, np.array(0.1)], [factor * X], False)
        size = 2.0**-20 * factor * np.abs(X)
        np.testing.assert_allclose(64 * (found - factor * X), size, rtol=1e-6)
    assert set(sizes) == {(id(equation), 1), (id(equation), 2)}
    sizes[id(equation), 1] = [np.array([1.0, 2.0, 3.0])]
    sizes[id(equation), 2] = [None]
    second = _Perturbation(signs, how, sizes)
    (found,) = second(equation, None, [X], False)
    np.testing.assert_array_equal(found - X, [1, 2, 3])
    (found,) = second(equation, None, [X], False)
    assert found is X
    (equation,) = jax.make_jaxpr(lambda x: x * 0.1)(np.float32(X)).jaxpr.eqns
    x, formula = 1.1 * X, _Perturbation(signs, how, {})
    for is_narrow, unit in ((False, 2.0**-20), (True, SINGLE)):
        (found,) = formula(equation, [x, np.array(0.1)], [x], is_narrow)
        np.testing.assert_allclose(64 * (found - x), unit * np.abs(x), rtol=1e-5)
    (copy,) = jax.make_jaxpr(lambda x: -x)(X).jaxpr.eqns
    results = [X]
    assert formula(copy, [X], results, False) is results
