"""The truth at points where derivatives are one-sided, tied, or of very different sizes.

Covers jaxconv/verify/truth/_truth.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import verify
from jaxconv.verify._constants import WIDER
from jaxconv.verify._problem import problem_of
from jaxconv.verify.truth._truth import (
    scales,
)

from ..rules import some, with_rule

# What depends on the point; the other modes call the same rules.
FIRST = ("reverse", "forward", "primal_value", "second_point", "cotangent_linearity")

POINTS = {
    "ties of top_k": (lambda x: lax.top_k(x, 2)[0], [1.0, 1.0, 1.0, 0.0]),
    "ties of a median": (lambda x: jnp.median(x), [0.0, 0.0, 0.0, 0.0, 1.0, -1.0]),
    "ties of quantiles": (lambda x: jnp.quantile(x, 0.3, axis=0), [[0.0, 1.0]] * 5),
    "sizes far apart": (jnp.sin, [0.0, 1.0, 1e-3, -1e-8, 1e-30, 20.0, 1e4]),
    "sizes that differences can't follow": (jnp.cos, [0.5, 1e30]),
    "ties of sort": (lambda x: jnp.sort(x), [0.0, 1.0, 0.0, 0.0]),
    "end of the domain": (lambda x: x**1.5, [0.0, 1.0]),
    "sizes in an array": (jnp.sqrt, [1e-4, 1e-2, 1.0]),
    "near the end of the domain": (jnp.log, [1e-9, 1e-3, 1.0]),
}
EXTREME = {
    "maximum": (lambda x: jnp.max(x), [1e241, 1e-310, 2e-304]),
    "sum": (lambda x: jnp.sum(x), [1e241, 1.0]),
    "sum whose square overflows": (lambda x: jnp.sum(x), [1e160, 1.0]),
    "product": (lambda x: x * jnp.array([1e-200, 1.0]), [1e200, 1.0]),
}


# Medians and quantiles have many primitives to compile.
SHORT = [name for name in POINTS if name not in ("ties of a median", "ties of quantiles")]


@pytest.mark.parametrize("x64", some([False, True], [False]))
@pytest.mark.parametrize("name", some(POINTS, SHORT))
def test_right_gradient_at_an_awkward_point(name, x64):
    f, x = POINTS[name]
    with jax.enable_x64(x64):
        report = verify.check_gradients(f, (jnp.array(x),), modes=FIRST, order=1)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", EXTREME)
def test_right_gradient_at_extreme_sizes(name, recwarn):
    f, x = EXTREME[name]
    with jax.enable_x64(True):
        report = verify.check_gradients(f, (jnp.array(x),), modes=FIRST, order=1)
    assert report.ok, str(report)
    assert not recwarn.list


# Wrong gradients are easier to see; one point of each kind is enough.
WRONG_AT = ["ties of sort", "sizes far apart", "end of the domain", "product"]


@pytest.mark.parametrize("name", some([*POINTS, *EXTREME], WRONG_AT))
def test_wrong_gradient_at_an_awkward_point(name):
    f, x = (POINTS | EXTREME)[name]
    with jax.enable_x64(True):
        x = jnp.array(x)
        wrong = with_rule(f, lambda x, y_bar: 1.01 * jax.vjp(f, x)[1](y_bar)[0] + 0.01)
        assert not verify.check_gradients(wrong, (x,), modes=FIRST, order=1).ok


def test_steps_are_between_the_size_of_an_element_and_of_its_array():
    arrays = [1.0, -4.0, 100.0], [0.0, 0.01], [0.0, 3.0], [0.0, 0.0], [1e-30, 1.0, 1.0]
    expected = [2.0, 4.0, 100.0], [0.01, 0.01], [1.0, 3.0], [1.0, 1.0], [1e-30 * WIDER, 1.0, 1.0]
    arrays = tuple(map(np.array, arrays))
    leaves = problem_of(lambda *a: a, arrays, None).leaves
    np.testing.assert_allclose(scales(leaves, np.concatenate(arrays)), np.concatenate(expected))


def test_second_point_stays_in_the_domain():
    x = jnp.array([0.999, 0.5, 0.01])
    modes = ("reverse", "second_point")
    verify.assert_gradients(jax.scipy.special.ndtri, (x,), modes=modes, order=1)


@pytest.mark.parametrize("x64", some([False, True], [False]))
def test_constant_in_the_place_of_a_removable_singularity(x64):
    """Its gradient is 0, and that of the function is pi."""
    with jax.enable_x64(x64):
        x = jnp.array([0.5, 0.001])

        def f(x):
            return jnp.where(x == 0.5, 0.0, -1 / jnp.tan(jnp.pi * x))

        report = verify.check_gradients(f, (x,), modes="reverse", order=1)
    assert report.failures[0].worst[0].index == (0,)


def test_values_inside_stop_gradient_are_constant():
    """Differences would move them; the truth holds them."""
    x = jnp.array([0.5, -1.0, 2.0, 0.1])

    def f(x):
        return x * lax.stop_gradient(jnp.sin(x))

    check = {"modes": FIRST, "order": 1}
    right = with_rule(f, lambda x, y_bar: y_bar * jnp.sin(x))
    report = verify.check_gradients(right, (x,), **check)
    assert report.ok, str(report)
    wrong = with_rule(f, lambda x, y_bar: y_bar * (jnp.sin(x) + x * jnp.cos(x)))
    assert not verify.check_gradients(wrong, (x,), **check).ok


def test_where_autodiff_is_nan_differences_are_the_truth():
    """JAX multiplies the infinite slope of the other branch by 0."""
    x = jnp.array([1.0, 0.0, 4.0])

    def f(x):
        return jnp.where(x > 0.5, jnp.sqrt(x), 2 * x)

    def slope(x):
        return jnp.where(x > 0.5, 0.5 / jnp.sqrt(jnp.maximum(x, 0.5)), 2)

    check = {"modes": FIRST, "order": 1}
    right = with_rule(f, lambda x, y_bar: y_bar * slope(x))
    report = verify.check_gradients(right, (x,), **check)
    assert report.ok, str(report)
    assert not verify.check_gradients(f, (x,), **check).ok  # NaN is not the slope
