"""A slip has one name, whether lax computes the function or jaxconv does; noise has none.

Here is one of each diagnosis on each operation; with VERIFY_CATALOGUE=all every slip is planted.
"""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.verifier import functions as F
from experiments.verifier.wrong_geometry import OPERATIONS, RULES
from jaxconv import verify

pytestmark = pytest.mark.usefixtures("float64")


def diagnoses(f, rule, args):
    """What is said of each argument's gradient."""
    report = verify.check_gradients(F.with_vjp(f, rule), args, modes="reverse", order=1)
    return [failure.diagnosis for failure in report.failures]


CASES = {(case[1], case[3]): case for case in reversed(RULES)}
if os.environ.get("VERIFY_CATALOGUE") == "all":
    CASES = {case[:2]: case for case in RULES}


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: f"{case[1]}: {case[0]}")
def test_geometry_has_the_same_name_in_lax_and_in_jaxconv(case, normal):
    _, operation, rule, name = case
    of_lax, ours, shapes = OPERATIONS[operation]
    args = tuple(normal(shape) for shape in shapes)
    found = diagnoses(ours, rule, args)
    assert found
    assert all(name in said for said in found)
    assert diagnoses(of_lax, rule, args) == found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_noise_is_no_slip(operation, normal):
    f, _, shapes = OPERATIONS[operation]
    args = tuple(normal(shape) for shape in shapes)
    noise = [np.random.default_rng(0).normal(size=shape) for shape in shapes]

    def rule(true, args, w):
        return tuple(bar * (1 + 0.01 * n) for bar, n in zip(true, noise, strict=True))

    assert set(diagnoses(f, rule, args)) == {"no slip that is known"}


def _noisy(size):
    def rule(true, args, w):
        rng = np.random.default_rng(0)
        return tuple(bar + size * rng.normal(size=bar.shape) for bar in true)

    return rule


def test_small_noise_is_no_constant_factor(normal):
    x = normal((4, 5))
    assert diagnoses(jnp.tanh, _noisy(1e-10), (x,)) == ["off by 1e-10 of its size"]


def test_noise_at_ties_is_no_slip():
    x = jnp.zeros((2, 4, 4, 1)).at[:, 0, 0].set(1.0)
    f = OPERATIONS["maximum"][0]
    assert diagnoses(f, _noisy(0.1), (x,)) == ["no slip that is known"]


def test_a_number_has_no_factor_that_changes_with_the_cotangent():
    def squared(true, args, w):
        return (true[0] * w**2,)

    assert diagnoses(jnp.tanh, squared, (jnp.asarray(0.5),)) == ["a single element is off"]
    assert diagnoses(jnp.tanh, lambda true, args, w: (3 * true[0],), (jnp.asarray(0.5),)) == [
        "a constant factor of 3"
    ]
