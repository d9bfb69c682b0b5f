"""A contraction, its sizes, and how many operations its sum has."""

import jax
import numpy as np
import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms._problem import problem_of
from tests.algorithms.problems import geometry_of, shapes_of, spec_of

N, C, O = 3, 4, 6


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        (((), ()), 1),
        (((9,), (3,), 1, 1), 3 * 9),  # a tap and an output; padding is met, too
        (((9,), (3,), 2, "VALID"), 3 * 4),
        (((9,), (3,), 1, "FULL", 2), 3 * 9),  # a tap and an input
        (((9,), (3,), 3, "VALID", 2), 3 * 9),
        (((9, 5), (3, 2), (2, 1), "VALID", (1, 2), 1, 2), 3 * 4 * 2 * 5 / 2),
    ],
)
@pytest.mark.parametrize("slot", Slot)
def test_the_operations_of_a_sum(slot, options, pairs):
    assert Problem(slot, geometry_of(*options), N, C, O).operations == 2 * N * C * O * pairs


@pytest.mark.parametrize("slot", Slot)
def test_the_problem_of_two_operands(slot):
    geometry = geometry_of((9, 8), (3, 2), groups=2)
    problem = Problem(slot, geometry, N, C, O, np.dtype("float16"))
    shapes = [shapes_of(problem)[other] for other in slot.others]
    assert problem_of(slot, shapes, spec_of(geometry, "float16")) == problem
    assert problem.sizes == (N, C, O)


@pytest.mark.usefixtures("no_type_checker")
def test_an_open_number_of_examples_counts_as_many():
    (n,) = jax.export.symbolic_shape("n")
    geometry = geometry_of((9,), (3,))
    problem = Problem(Slot.OUTPUT, geometry, N, C, O)
    shapes = [(n, 9, C), shapes_of(problem)[Slot.KERNEL]]
    assert problem_of(Slot.OUTPUT, shapes, spec_of(geometry, "float32")).n == 256
