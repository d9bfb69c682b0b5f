"""A slip is named where it explains the gradient, and nothing else is called a slip.

Covers jaxconv/verify/diagnosis/.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import verify

from ..rules import with_vjp

pytestmark = pytest.mark.usefixtures("float64")


def diagnoses(f, rule, args):
    """The diagnosis of each argument's gradient."""
    report = verify.check_gradients(with_vjp(f, rule), args, modes="reverse", order=1)
    return [failure.diagnosis for failure in report.failures]


def _noisy(size):
    def rule(true, args, w):
        rng = np.random.default_rng(0)
        return tuple(bar + size * rng.normal(size=bar.shape) for bar in true)

    return rule


def test_small_noise_is_no_constant_factor(normal):
    x = normal((4, 5))
    assert diagnoses(jnp.tanh, _noisy(1e-10), (x,)) == ["off by 1e-10 of its size"]


def test_noise_at_ties_is_no_slip():
    def f(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    x = jnp.zeros((2, 4, 4, 1)).at[:, 0, 0].set(1.0)
    assert diagnoses(f, _noisy(0.1), (x,)) == ["explained by no known slip"]


def test_a_number_has_no_factor_that_changes_with_the_cotangent():
    def squared(true, args, w):
        return (true[0] * w**2,)

    assert diagnoses(jnp.tanh, squared, (jnp.asarray(0.5),)) == ["a single element is wrong"]
    assert diagnoses(jnp.tanh, lambda true, args, w: (3 * true[0],), (jnp.asarray(0.5),)) == [
        "a constant factor of 3"
    ]


def _scaled(x, k):
    return jnp.tanh(x) * k


def _k(change):
    """A rule that is wrong for k, whose gradient is summed over the batch and two axes."""
    return lambda true, args, w: (true[0], change(true[1], w))


EXPLAINED = {
    "the gradient is zero": _k(lambda bar, w: 0 * bar),
    "wrong sign": _k(lambda bar, w: -bar),
    "mean for sum over the batch, a factor of 0.5": _k(lambda bar, w: bar / 2),
    "mean for sum over positions, a factor of 0.0833333": _k(lambda bar, w: bar / 12),
    "mean for sum over batch and positions, a factor of 0.0416667": _k(lambda bar, w: bar / 24),
    "mean for sum over the results, a factor of 0.00833333": _k(lambda bar, w: bar / 120),
    "sum for mean over positions, a factor of 12": _k(lambda bar, w: bar * 12),
    "a constant factor of 0.7": _k(lambda bar, w: bar * 0.7),
    "a constant added": _k(lambda bar, w: bar + w.mean()),
    "zero where the true gradient is not": _k(lambda bar, w: bar.at[1:3].set(0)),
    "wrong sign in some elements": _k(lambda bar, w: bar.at[1:3].multiply(-1)),
    "a constant factor of 0.7 in some elements": _k(lambda bar, w: bar.at[1:3].multiply(0.7)),
    "a single element is wrong": _k(lambda bar, w: bar.at[2].multiply(3)),
    "cotangent ignored": _k(lambda bar, w: jnp.arange(5.0) + 1),
    "NaN in the gradient": _k(lambda bar, w: bar.at[2].set(jnp.nan)),
    "inf in the gradient": _k(lambda bar, w: bar.at[2].set(jnp.inf)),
    "explained by no known slip": _k(lambda bar, w: bar + jnp.sin(jnp.arange(5.0) * w.sum())),
}


@pytest.mark.parametrize("diagnosis", EXPLAINED)
def test_what_is_wrong_is_said(diagnosis, normal):
    args = normal((2, 3, 4, 5)), normal((5,))
    assert diagnoses(_scaled, EXPLAINED[diagnosis], args) == [diagnosis]


def _two(x):
    return jnp.sin(x), jnp.exp(x)


def _of_cotangents(change):
    """A rule that is right but for the cotangents of the two results."""
    return lambda true, args, w: jax.vjp(_two, *args)[1](change(*w))


COTANGENTS = {
    "cotangents of two results exchanged": lambda a, b: (b, a),
    "cotangent of one result used twice": lambda a, b: (b, b),
    "cotangents of the results added": lambda a, b: (a + b, a + b),
    "cotangent of a result ignored": lambda a, b: (a, 0 * b),
    "cotangent of one result carried back as that of another": lambda a, b: (a + b, 0 * b),
    "wrong sign in the cotangent of one result": lambda a, b: (a, -b),
    "a factor of 0.3 in the cotangent of one result": lambda a, b: (0.3 * a, b),
    "end of the cotangent ignored, as by a range that is too short": lambda a, b: (
        a.at[:, -1].set(0),
        b,
    ),
    "cotangent clipped": lambda a, b: (a, jnp.clip(b, -1, 1)),
    "cotangent squared": lambda a, b: (a**2, b),
    "absolute value of the cotangent": lambda a, b: (jnp.abs(a), b),
    "sign of the cotangent": lambda a, b: (a, jnp.sign(b)),
}


@pytest.mark.parametrize("diagnosis", COTANGENTS)
def test_cotangents_of_two_results(diagnosis, normal):
    rule = _of_cotangents(COTANGENTS[diagnosis])
    assert diagnoses(_two, rule, (normal((3, 4)),)) == [diagnosis]
