"""A slip has one name, whether lax or jaxconv computes the function; noise has none.

The default run plants a slip on two operations; the exhaustive suite plants all on each.
"""

import numpy as np
import pytest

from experiments.verifier import functions as F
from experiments.verifier.wrong.geometry import OPERATIONS, RULES
from jaxconv import verify

from ....verify.rules import some

pytestmark = pytest.mark.usefixtures("float64")


def diagnoses(f, rule, args):
    """What is said of each argument's gradient."""
    report = verify.check_gradients(F.with_vjp(f, rule), args, modes="reverse", order=1)
    return [failure.diagnosis for failure in report.failures]


def _cases():
    """Every slip of each operation; the first ones of two operations run by default."""
    for operation, rules in RULES.items():
        for i, name in enumerate(rules):
            is_sampled = i == 0 and operation in ("channels first", "average")
            marks = () if is_sampled else pytest.mark.exhaustive
            yield pytest.param(operation, name, id=f"{operation}: {name}", marks=marks)


@pytest.mark.parametrize(("operation", "name"), list(_cases()))
def test_geometry_has_the_same_name_in_lax_and_in_jaxconv(operation, name, normal):
    of_lax, ours, shapes = OPERATIONS[operation]
    rule, slip = RULES[operation][name]
    args = tuple(normal(shape) for shape in shapes)
    found = diagnoses(ours, rule, args)
    assert found
    assert all(slip in said for said in found)
    assert diagnoses(of_lax, rule, args) == found


@pytest.mark.parametrize("operation", some(OPERATIONS, ["convolution"]))
def test_noise_is_no_slip(operation, normal):
    f, _, shapes = OPERATIONS[operation]
    args = tuple(normal(shape) for shape in shapes)
    noise = [np.random.default_rng(0).normal(size=shape) for shape in shapes]

    def rule(true, args, w):
        return tuple(bar * (1 + 0.01 * n) for bar, n in zip(true, noise, strict=True))

    assert set(diagnoses(f, rule, args)) == {"explained by no known slip"}
