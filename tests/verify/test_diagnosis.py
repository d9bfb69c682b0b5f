"""A slip has one name, whether lax computes the function or jaxconv does; noise has none.

Here is one of each diagnosis on each operation; with VERIFY_CATALOGUE=all every slip is planted.
"""

import os

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
