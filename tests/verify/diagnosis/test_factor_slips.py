"""The elementwise factors that rules multiply by: all that are tried, each under its own name."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._problem import problem_of
from jaxconv.verify.diagnosis._factor_slips import factors, fit, multiple, products
from jaxconv.verify.truth._primal import Primal

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

FORMS = {
    "{}": lambda a: a,
    "{}**2": lambda a: a**2,
    "{}**3": lambda a: a**3,
    "|{}|": abs,
    "the sign of {}": np.sign,
    "1 - {}": lambda a: 1 - a,
    "1 - {}**2": lambda a: 1 - a**2,
    "{} (1 - {})": lambda a: a * (1 - a),
    "1 + {}**2": lambda a: 1 + a**2,
}


@pytest.fixture
def case(normal):
    """Evidence on a function, the second row of its cotangents, and the true gradient of x."""
    x, scale = (np.asarray(normal(shape)) for shape in ((3, 4), (4,)))
    problem = problem_of(lambda x, scale: jnp.tanh(x) * scale, (x, scale), None)
    w = np.asarray(normal((2, 12)))
    evidence = SimpleNamespace(
        problem=problem, primal=Primal(problem), draws=SimpleNamespace(cotangents=w)
    )
    y, w = np.tanh(x) * scale, w[1].reshape(3, 4)
    arrays = {"x": x, "scale": scale + 0 * x, "y": y, "the cotangent of y": w}
    return evidence, problem.leaves[0], arrays, w * scale * (1 - np.tanh(x) ** 2)


def names(found, reported):
    return {slip for slip, _, array in found if np.allclose(array, reported.ravel(), rtol=1e-12)}


@pytest.mark.parametrize("times", [1.0, 0.5, -3.0])
def test_factors_have_their_names(times, case):
    evidence, leaf, arrays, true = case

    def found(reported):
        return names(factors(evidence, leaf, reported.ravel(), true.ravel(), 1), reported)

    for array, values in arrays.items():
        for form, change in FORMS.items():
            name = form.format(array, array)
            assert f"a factor of {name} too many" in found(times * true * change(values))
            assert f"a factor of {name} is missing" in found(times * true / change(values))
    assert "the derivative is missing" in found(times * arrays["the cotangent of y"])
    assert "gradient squared" in found(true**2)


def test_terms_have_their_names(case):
    evidence, leaf, arrays, _ = case
    for array, values in arrays.items():
        for form, change in FORMS.items():
            reported = 0.5 * arrays["the cotangent of y"] * change(values)
            found = list(products(evidence, leaf, reported.ravel(), 1))
            assert "a term is missing" in names(found, reported)
            said = f"0.5 times the cotangent of y times {form.format(array, array)}, "
            assert any(what.startswith(said) for _, what, _ in found)


def test_few_numbers_are_fitted_by_no_constant(case):
    """Any two numbers are a multiple of others by chance."""
    evidence = case[0]
    leaf = problem_of(lambda x: x, (np.array([2.0, 3.0]),), None).leaves[0]
    true = np.array([1.0, 2.0])
    found = list(factors(evidence, leaf, 0.5 * true, true, 1))
    assert names(found, 0.5 * true) == set()


@pytest.mark.parametrize("row", [0, 1])
def test_all_factors_are_tried_in_this_order(row, case):
    evidence, leaf, arrays, _ = case
    w = evidence.draws.cotangents[row].reshape(3, 4)
    arrays = arrays | {"the cotangent of y": w}
    true = np.sin(np.arange(12.0))
    forms = [
        (form.format(array, array), change(values).ravel())
        for array, values in arrays.items()
        for form, change in FORMS.items()
    ]
    wanted = [
        ("gradient squared", "the square of the true gradient", true**2),
        ("a constant added", "the true gradient plus 0", true),
        ("the derivative is missing", "the cotangent of y", w.ravel()),
    ]
    for name, factor in forms:
        wanted += [
            (f"a factor of {name} too many", f"the true gradient times {name}", true * factor),
            (
                f"a factor of {name} is missing",
                f"the true gradient divided by {name}",
                true / factor,
            ),
        ]
    found = list(factors(evidence, leaf, true, true, row))
    assert_same(
        found, wanted, true, ("gradient squared", "a constant added", "the derivative is missing")
    )
    wanted = [
        (
            "a term is missing",
            f"the cotangent of y times {name}, without other terms",
            w.ravel() * factor,
        )
        for name, factor in forms
    ]
    assert_same(list(products(evidence, leaf, true, row)), wanted, true, ())


def assert_same(found, wanted, reported, plain):
    """The slips, each as the multiple that is closest to what is reported."""
    assert len(found) == len(wanted)
    for (slip, what, actual), (name, said, candidate) in zip(found, wanted, strict=True):
        assert slip == name
        scale = reported @ candidate / (candidate @ candidate)
        if slip == "gradient squared":
            scale = 1
        assert what == (said if slip in plain else f"{scale:.6g} times {said}")
        np.testing.assert_allclose(actual, scale * candidate, rtol=1e-12, atol=1e-15)


def test_arrays_that_do_not_reach_the_argument_are_no_factors(normal):
    """A number, an array of another shape, one that is not finite where it is used."""
    x = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    args = x, np.ones((2, 1)), np.ones(2), np.array(2.0), np.ones((1, 2, 3))
    problem = problem_of(lambda x, a, b, c, d: (x * a, b, c), args, None)
    w = np.asarray(normal((1, problem.output_size)))
    evidence = SimpleNamespace(
        problem=problem, primal=Primal(problem), draws=SimpleNamespace(cotangents=w)
    )
    true = np.ones(6)
    found = list(factors(evidence, problem.leaves[0], true, true, 0))
    many = {slip for slip, *_ in found if slip.startswith("a factor of ") and "too" in slip}
    named = {slip.removeprefix("a factor of ").removesuffix(" too many") for slip in many}
    assert {name for name in named if f"|{name}|" in named} == {
        *("x", "a", "y[0]", "the cotangent of y[0]")
    }
    missing = {slip for slip, *_ in found if slip.endswith("is missing")}
    assert "a factor of x is missing" not in missing  # x is zero somewhere
    assert "a factor of 1 + x**2 is missing" in missing
    last = list(factors(evidence, problem.leaves[-1], true, true, 0))
    assert not any("derivative" in slip for slip, *_ in last)
    assert "a factor of d too many" in {slip for slip, *_ in last}
    assert "a factor of x too many" in {slip for slip, *_ in last}  # x is broadcast


def test_multiples_are_fitted_from_three_elements_on():
    three, two = np.array([1.0, 2.0, -1.0]), np.array([1.0, 2.0])
    cases = (
        (2.5 * three, three, "2.5 times it", 2.5),
        (2 * (1 + 0.9e-8 / 2) * three, three, "2 times it", 2),  # a whole number
        (2 * (1 + 1.1e-8 / 2) * three, three, "2 times it", 2 * (1 + 1.1e-8 / 2)),
        (three, three, "it", 1),
        (2 * two, two, "it", 1),
        (three, 0 * three, "it", 1),
    )
    for reported, candidate, what, scale in cases:
        ((slip, said, fitted),) = multiple("a slip", "it", reported, candidate)
        assert (slip, said) == ("a slip", what)
        np.testing.assert_allclose(fitted, scale * candidate, rtol=1e-12)
    assert not list(multiple("a slip", "it", three, np.array([1.0, np.nan, 1.0])))
    assert not list(multiple("a slip", "it", three, np.array([1.0, np.inf, 1.0])))
    huge = 1e200 * three
    with np.errstate(over="ignore"):
        ((_, said, fitted),) = multiple("a slip", "it", three, huge)  # its square overflows
    assert said == "it"
    np.testing.assert_array_equal(fitted, huge)
    assert _constants.SLIP_FITTED == 3


def test_factors_that_are_finite_in_some_elements_alone(normal):
    x = np.array([1e200, 1.0, 2.0])
    problem = problem_of(lambda x: x * 1e-200, (x,), None)
    w = np.asarray(normal((1, 3)))
    evidence = SimpleNamespace(
        problem=problem, primal=Primal(problem), draws=SimpleNamespace(cotangents=w)
    )
    with np.errstate(over="ignore"):
        changed = list(factors(evidence, problem.leaves[0], np.ones(3), np.ones(3), 0))
    found = {slip for slip, *_ in changed}
    assert "a factor of x too many" in found
    assert not any("x**2" in slip or "x**3" in slip or "x (1" in slip for slip in found)


def test_whole_numbers_at_the_limit():
    three = np.array([0.5, 0.5, 0.5])
    for scale, whole in ((1e-8, 1e-8), (0.99e-8, 0.0)):
        found, fitted = fit(scale * three, three)
        assert found == pytest.approx(whole, rel=1e-9)
        np.testing.assert_allclose(fitted, whole * three, rtol=1e-9)
