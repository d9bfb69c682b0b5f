"""What `check_gradients` says of small functions: modes, kinks, references, sizes.

Covers jaxconv/verify/comparison/, jaxconv/verify/_modes.py, jaxconv/verify/_draws.py,
jaxconv/verify/_progress.py.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify import _check, _constants
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.truth._operations import FINE, Arithmetic
from jaxconv.verify.truth._primal import Primal

from .rules import conv, with_jvp, with_vjp

pytestmark = pytest.mark.usefixtures("float64")

FIRST = ("reverse", "forward")


def statuses(report):
    return {mode.name: mode.status for mode in report.modes}


def test_every_mode_of_a_right_function(normal):
    x, kernel = normal((1, 3, 4, 1)), normal((2, 2, 1, 2))
    report = verify.check_gradients(conv, (x, kernel), linear_in=(0, 1))
    assert report.ok, str(report)
    found = statuses(report)
    assert set(found.values()) == {"ok"}
    asked = {name.split(",")[0] for name in found} | {"second_order"}
    assert set(verify.MODES) <= asked
    assert "every coordinate of x, kernel" in report.truth


def test_what_a_function_cannot_do_is_absent(normal):
    f = with_vjp(jnp.sin, lambda true, args, y_bar: true)
    report = verify.check_gradients(f, (normal((3,)),))
    assert report.ok, str(report)
    absent = {name for name, status in statuses(report).items() if status == "absent"}
    assert absent == {"forward", "linearize", "reverse over forward", "forward over forward"}


def test_a_mode_that_crashes_is_a_failure(normal):
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    def backward(x, y_bar):
        if isinstance(y_bar, jax.core.Tracer):
            raise RuntimeError("not while it is traced")
        return (jnp.cos(x) * y_bar,)

    f.defvjp(lambda x: (f(x), x), backward)
    report = verify.check_gradients(f, (normal((3,)),), modes=("reverse", "jit"), order=1)
    assert not report.ok
    assert "not while it is traced" in str(report)


def test_a_cotangent_of_another_shape_is_named(normal):
    f = with_vjp(lambda x, b: x + b, lambda true, args, y_bar: (true[0], y_bar))
    report = verify.check_gradients(f, (normal((4, 3)), normal((3,))), modes="reverse", order=1)
    (failure, *_) = report.failures
    assert "is a sum over the batch missing" in failure.diagnosis


def test_subgradients_are_accepted_and_reported():
    report = verify.check_gradients(
        jax.nn.relu, (jnp.array([0.0, 1.0, -1.0]),), modes=FIRST, order=1
    )
    assert report.ok, str(report)
    (found,) = report.subgradients
    assert (found.argument, found.index, found.reported) == ("x", (0,), 0.0)
    assert min(abs(found.low), abs(found.high)) < 1e-9 < max(abs(found.low), abs(found.high))


def test_what_is_no_subgradient_is_rejected():
    f = with_vjp(jnp.abs, lambda true, args, y_bar: (jnp.where(args[0] == 0, 2 * y_bar, true[0]),))
    report = verify.check_gradients(f, (jnp.array([0.0, 1.0]),), modes="reverse", order=1)
    assert not report.ok
    assert report.failures[0].worst[0].index == (0,)


def test_nan_is_reported_with_its_place(normal):
    f = with_vjp(jnp.sin, lambda true, args, y_bar: (true[0].at[1, 2].set(jnp.nan),))
    report = verify.check_gradients(f, (normal((2, 3)),), modes="reverse", order=1)
    assert report.failures[0].diagnosis == "NaN in the gradient"
    assert report.nonfinite == ("x[1, 2]: nan",)


def test_taylor_slope_is_two_for_a_right_gradient_and_one_for_a_wrong(normal):
    right = verify.check_gradients(jnp.sin, (normal((5,)),), modes="reverse", order=1)
    doubled = with_vjp(jnp.sin, lambda true, args, y_bar: (2 * true[0],))
    wrong = verify.check_gradients(doubled, (normal((5,)),), modes="reverse", order=1)
    assert right.taylor["x"] == pytest.approx(2, abs=0.1)
    assert wrong.taylor["x"] == pytest.approx(1, abs=0.1)


def test_a_reference_is_the_truth(normal):
    x = normal((4,))
    with_loop = jax.custom_vjp(lambda x: jax.lax.while_loop(lambda s: s[0] < 2, _step, (0, x))[1])
    with_loop.defvjp(lambda x: (with_loop(x), x), lambda x, y_bar: (4 * y_bar,))
    report = verify.check_gradients(
        with_loop, (x,), reference=lambda x: 4 * x, modes="reverse", order=1
    )
    assert report.ok, str(report)
    assert "reference" in report.truth
    with pytest.raises(ValueError, match="reference must have the values of"):
        verify.check_gradients(
            with_loop, (x,), reference=lambda x: 4 * x + 1e-6, modes="reverse", order=1
        )


def _step(state):
    return state[0] + 1, 2 * state[1]


def test_without_autodiff_differences_are_the_truth(normal):
    def loop(x):
        return jax.lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[
            1
        ]

    right = jax.custom_vjp(loop)
    right.defvjp(
        lambda x: (loop(x), x), lambda x, y_bar: (y_bar * jnp.cos(jnp.sin(x)) * jnp.cos(x),)
    )
    report = verify.check_gradients(right, (normal((4,)),), modes="reverse", order=1)
    assert report.ok, str(report)
    assert report.truth == "finite differences along every coordinate"
    wrong = jax.custom_vjp(loop)
    wrong.defvjp(
        lambda x: (loop(x), x),
        lambda x, y_bar: (y_bar * jnp.cos(jnp.sin(x)) * jnp.cos(x).at[2].multiply(1.01),),
    )
    report = verify.check_gradients(wrong, (normal((4,)),), modes="reverse", order=1)
    assert [element.index for element in report.failures[0].worst] == [(2,)]


def test_one_wrong_element_of_a_hundred_thousand_is_found(normal, monkeypatch):
    """By bisection: the function is evaluated some hundred times, not once per element."""
    x, evaluate, evaluations = normal((250, 400), np.float32), Primal.__call__, []

    def counted(self, flat):
        evaluations.append(1)
        return evaluate(self, flat)

    def wrong(true, args, y_bar):
        return (true[0].at[123, 356].multiply(1.01),)

    monkeypatch.setattr(Primal, "__call__", counted)
    report = verify.check_gradients(with_vjp(jnp.tanh, wrong), (x,), modes="reverse", order=1)
    assert [element.index for element in report.failures[0].worst] == [(123, 356)]
    assert len(evaluations) < 1000


def test_forward_mode_is_not_forgiven_for_its_size(normal):
    zero = with_jvp(conv, lambda y_dot, args, dots: 0 * y_dot)
    args = normal((1, 28, 28, 1)), normal((3, 3, 1, 2))
    report = verify.check_gradients(zero, args, modes="forward", order=1)
    assert not report.ok
    assert statuses(report)["forward"] == "wrong"


def test_assertion_has_the_report_as_its_message(normal):
    f = with_vjp(jnp.sin, lambda true, args, y_bar: (-true[0],))
    verify.assert_gradients(jnp.sin, (normal((2,)),), modes="reverse", order=1)
    with pytest.raises(AssertionError, match="wrong sign"):
        verify.assert_gradients(f, (normal((2,)),), modes="reverse", order=1)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("unit", [FINE, 1e-6])
def test_a_reference_has_the_values_of_the_function(unit):
    """Up to 64 units of the largest finite element, or of the element itself."""
    problem = SimpleNamespace(name="f")

    def compared(ours, theirs):
        ours, theirs = np.array(ours), np.array(theirs)
        primal = SimpleNamespace(point=None, arithmetic=Arithmetic(unit=unit))
        first, second = (lambda point: ours), (lambda point: theirs)
        with np.errstate(invalid="ignore"):
            _check._check_reference(problem, _of(first, primal), _of(second, primal))

    units = _constants.UNITS_OF_REFERENCE * unit
    compared([1.0, 4.0, np.inf], [1.0 + 3.9 * units, 4.0 * (1 + 0.9 * units), np.inf])
    compared([1.0, 4.0], [1.0 - 3.9 * units, 4.0])
    compared([1.0, np.nan], [1.0, np.nan])
    said = "reference must have the values of f, but element 1 of its result is 6 instead of 4"
    with pytest.raises(ValueError, match=said):
        compared([1.0, 4.0, 2.0], [1.0, 6.0, 3.0])
    for wrong in (1.0 + 4.1 * units, np.nan, np.inf):
        for last in (4.0, -np.inf):  # an infinite element excuses no other
            with pytest.raises(ValueError, match="element 0 of its result is"):
                compared([1.0, 4.0, last], [wrong, 4.0, last])
    with pytest.raises(ValueError, match="element 1 of its result is 4 instead of inf"):
        compared([1.0, np.inf], [1.0, 4.0])
    with pytest.raises(ValueError, match="must return 2 values, as f does, but it returns 1"):
        compared([1.0, 4.0], [1.0])


def _of(function, primal):
    class Called(SimpleNamespace):
        def __call__(self, point):
            return function(point)

    return Called(**vars(primal))


@pytest.mark.usefixtures("no_type_checker")
def test_order_of_the_remainder_of_each_argument():
    """Of the first cotangent and direction, with the gradient that is reported."""
    leaves = Leaf("x", 0, (2,), np.dtype(float), 0), Leaf("y", 1, (1,), np.dtype(float), 2)
    outputs = (Leaf("z", -1, (2,), np.dtype(float), 0),)
    problem = Problem("f", lambda: (), leaves, outputs, (), np.zeros(2))

    def values(point):
        return np.array([point[0] ** 2 + 3 * point[2], point[1] * point[0]])

    primal = _of(values, SimpleNamespace(point=np.array([1.0, 2.0, 3.0]), problem=problem))
    w = np.array([[1.0, -2.0], [9.0, 9.0]])
    draws = SimpleNamespace(cotangents=w, directions=np.array([[0.5, 1.0, 2.0], [0.0, 0, 0]]))
    right = np.array([2 * 1 - 2 * 2, -2 * 1, 3.0])
    reported = SimpleNamespace(value=np.concatenate([right, 9 * right]))
    found = _check._taylor(problem, primal, reported, draws)
    assert found["x"] == pytest.approx(2, abs=1e-3)
    assert found["y"] is None  # linear: rounding alone is left
    reported = SimpleNamespace(value=right + np.array([0, 0, 1e-3]))
    found = _check._taylor(problem, primal, reported, draws)
    assert found["x"] == pytest.approx(2, abs=1e-3)
    assert found["y"] == pytest.approx(1, abs=1e-3)
    assert _check._taylor(problem, primal, None, draws) == {}


BAD_OPTIONS = [
    ({"seed": -1}, "seed must be an int of at least 0, got -1"),
    ({"seed": 0.5}, "seed must be an int of at least 0, got 0.5"),
    ({"directions": 0}, "directions must be an int of at least 1, got 0"),
    ({"tolerance": 1}, "tolerance must be None or a number from 0 to below 1, got 1"),
    ({"tolerance": -1e-9}, "tolerance must be None or a number from 0 to below 1"),
    ({"tolerance": "1"}, "tolerance must be None or a number"),
    ({"order": 0}, "order must be 1 or 2, got 0"),
    ({"order": 3}, "order must be 1 or 2, got 3"),
    ({"modes": ("reverse", "x")}, "modes must be .* got 'x'"),
]


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize(("options", "said"), BAD_OPTIONS)
def test_options_are_refused_before_anything_runs(options, said):
    def never(x):
        raise AssertionError("must not run")

    with pytest.raises(ValueError, match=said):
        verify.check_gradients(never, (1.0,), **options)


@pytest.mark.usefixtures("no_type_checker")
def test_options_that_are_accepted():
    for seed, directions, tolerance, order in ((0, 1, None, 1), (5, 3, 0, 2), (0, 1, 0.999, 1)):
        _check._check_options(order, seed, directions, tolerance)
    assert _check._mode_names("all") == verify.MODES
    assert _check._mode_names("jit") == ("jit",)
    assert _check._mode_names(["jit", "vmap"]) == ("jit", "vmap")
