"""Each elementwise factor that rules multiply by is tried, under its own name."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify._problem import problem_of
from jaxconv.verify.diagnosis._factor_slips import factors, products
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
