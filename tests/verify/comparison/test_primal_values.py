"""A rule that returns another value than the function is found."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify import _constants
from jaxconv.verify.comparison import _primal_values
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._primal_values import judge_primal_values
from jaxconv.verify.report._contents import Mode
from jaxconv.verify.truth._operations import FINE

from .findings import problem_of_pair, wrong_elements

X = jnp.array([0.3, -1.2, 0.7, 2.0, -0.4, 0.9])


def _slope(x):
    return 1 - jnp.tanh(x) ** 2


def _vjp(value):
    f = jax.custom_vjp(jnp.tanh)
    f.defvjp(lambda x: (value(x), x), lambda x, y_bar: (y_bar * _slope(x),))
    return f


def _jvp(value):
    f = jax.custom_jvp(jnp.tanh)
    f.defjvp(lambda p, t: (value(p[0]), t[0] * _slope(p[0])))
    return f


WRONG_VALUES = {
    "twice": lambda x: 2 * jnp.tanh(x),
    "one element": lambda x: jnp.tanh(x).at[1].add(1e-3),
    "none": jnp.zeros_like,
    "the argument": lambda x: x,
}


@pytest.mark.parametrize("make", [_vjp, _jvp])
@pytest.mark.parametrize("name", WRONG_VALUES)
def test_rule_that_returns_another_value(name, make):
    modes = ["forward", "primal_value"]
    report = verify.check_gradients(make(WRONG_VALUES[name]), (X,), modes=modes, order=1)
    assert "returns another value than the function" in report.failures[0].diagnosis
    assert report.failures[0].mode == "primal_value"


@pytest.mark.parametrize("make", [_vjp, _jvp])
def test_rule_that_computes_the_value_in_another_way(make):
    f = make(lambda x: (jnp.exp(2 * x) - 1) / (jnp.exp(2 * x) + 1))
    assert verify.check_gradients(f, (X,), modes=["reverse", "primal_value"], order=1).ok


# The bound, of values in NumPy.

MARGIN, TWO = _constants.MARGIN, _constants.TWO_ROUNDINGS
TINY, OK = float(np.finfo(float).tiny), ("ok", "")
in_numpy = pytest.mark.usefixtures("no_type_checker", "float64")
VALUES = np.array([1.0, -4.0, 2.0])


def values_of(ways, monkeypatch, rounding=0.0, values=VALUES):
    asked = []
    monkeypatch.setattr(
        _primal_values, "_WAYS", {way: (lambda f, xs, vs, r=r: r()) for way, r in ways.items()}
    )

    def measured():
        asked.append(1)
        return np.full(3, rounding)

    evidence = SimpleNamespace(
        problem=problem_of_pair(values=values),
        draws=SimpleNamespace(xs=None, vs=None),
        rounding_of_value=measured,
    )
    findings = Findings(evidence.problem)
    judge_primal_values(evidence, findings)
    return findings, asked


@in_numpy
def test_bound_of_values(monkeypatch):
    """Twice the rounding, but at most a sixteenth of the largest value of the array."""
    last = FINE * 4 + TINY
    for rounding, bound in (
        (0.0, TWO * last),
        (1e-3, TWO * (MARGIN * 1e-3 + last)),
        (1.0, 4 / 16 + last),
    ):
        for share, is_wrong in ((0.7, False), (1.4, True), (-1.4, True)):
            gap = np.array([0, share * bound, 0])
            found, asked = values_of(
                {"vjp": lambda: VALUES, "jvp": lambda gap=gap: VALUES + gap}, monkeypatch, rounding
            )
            assert wrong_elements(found) == is_wrong * [("z", "primal_value", [1])]
            assert [f.note for f in found.wrong] == is_wrong * ["jax.jvp"]
            assert len(asked) == 1
            assert found.modes[-1].status == ("wrong" if is_wrong else "ok")
    # To the last digit.
    for units, is_wrong in ((1, False), (2, True)):
        gap = np.array([0, 0.25 + units * FINE * 4, 0])
        found, _ = values_of({"vjp": lambda gap=gap: VALUES + gap}, monkeypatch, 1.0)
        assert bool(found.wrong) == is_wrong
    # However small they are.
    small = VALUES / 64
    for share, is_wrong in ((0.9, False), (1.1, True)):
        gap = np.array([0, share * 4 / 64 / 16, 0])
        ways = {"vjp": lambda gap=gap: small + gap}
        assert bool(values_of(ways, monkeypatch, 1.0, small)[0].wrong) == is_wrong
    # The largest of each array.
    for by, name in ((0.26, "z"), (0.13, "u")):
        for share in (0.9, 1.0):
            gap = np.array([0, by * share, 0] if name == "z" else [0, 0, by * share])
            found, _ = values_of({"vjp": lambda gap=gap: VALUES + gap}, monkeypatch, 1.0)
            assert bool(found.wrong) == (share == 1)


@in_numpy
def test_values_that_are_the_same_or_not_there(monkeypatch):
    def fails():
        raise ZeroDivisionError

    lost = np.array([1.0, np.nan, 2.0])
    found, asked = values_of({"vjp": lambda: lost.copy()}, monkeypatch, values=lost)
    assert (wrong_elements(found), asked, found.modes) == ([], [], [Mode("primal_value", *OK)])
    other = VALUES + 1
    found, asked = values_of({"vjp": fails, "jvp": lambda: other, "linearize": fails}, monkeypatch)
    assert [f.note for f in found.wrong] == 2 * ["jax.jvp"]
    assert len(asked) == 1
    found, _ = values_of({"vjp": lambda: other, "jvp": lambda: other}, monkeypatch)
    assert len(found.wrong) == 2  # of the first way alone


@in_numpy
def test_ways_to_a_value():
    def f(x, y):
        return x * y, x

    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    vs = [(np.array([7.0, 7.0]), np.array([9.0, 9.0])), (x, y)]
    for call in _primal_values._WAYS.values():
        product, same = call(f, (x, y), vs)
        np.testing.assert_array_equal(product, x * y)
        np.testing.assert_array_equal(same, x)
    assert set(_primal_values._WAYS) == {"vjp", "jvp", "linearize"}
