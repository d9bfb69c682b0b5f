"""Each algorithm leaves the contraction for which its plan was made, and no other.

Covers jaxconv/algorithms/_algorithm.py, jaxconv/algorithms/cpu/, jaxconv/algorithms/gpu/,
jaxconv/algorithms/shared/.
"""

import jax
import jax.numpy as jnp
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms._problem import problem_of as solved
from jaxconv.algorithms.shared._direct import as_forward
from tests.algorithms.problems import SAMPLE, catalogue_of, problem_of, shapes_of, spec_of


def left(algorithm, problem):
    """The contractions that an algorithm asks another one for while it runs."""
    found, spec = [], spec_of(problem.geometry, problem.dtype)

    def solve(slot, inner, first, second):
        found.append(solved(slot, (first.shape, second.shape), inner))
        shape = inner.shape_of(slot, first.shape, second.shape)
        return jnp.zeros(shape, inner.dtypes.of(slot))

    shapes = shapes_of(problem)
    operands = [jax.ShapeDtypeStruct(shapes[slot], problem.dtype) for slot in problem.slot.others]
    y = jax.eval_shape(lambda *a: algorithm.run(problem.slot, spec, *a, solve), *operands)
    assert y.shape == shapes[problem.slot]
    return found


def forward(problem):
    """An input gradient as the forward pass that it is."""
    if problem.slot != Slot.INPUT:
        return problem
    geometry = as_forward(problem.slot, problem.geometry)
    return problem._replace(slot=Slot.OUTPUT, geometry=geometry, c=problem.o, o=problem.c)


@pytest.mark.parametrize("case", SAMPLE, ids=str)
@pytest.mark.parametrize("slot", Slot)
def test_what_is_left_is_what_was_said(slot, case):
    problem = problem_of(slot, case, "float32")
    for plan in algorithms.every_plan(problem):
        algorithm = catalogue_of(plan).algorithms[plan.name]
        said = algorithm.leaves(problem)
        assert (plan.rest is None) == (said is None)
        expected = [] if said is None else [forward(said)]
        assert [forward(found) for found in left(algorithm, problem)] == expected, plan


@pytest.mark.parametrize("n", [1, 7, 4000, 4001])  # with and without a rest
def test_blocks_of_examples_are_counted(n):
    """All blocks but the last have as many examples as the problem that is left says."""
    for case in (SAMPLE[0], SAMPLE[4]):
        for slot in Slot:
            problem = problem_of(slot, case, "float32")._replace(n=n)
            for name in ("input_patches", "output_patches", "split_patches"):
                algorithm = algorithms.ALGORITHMS[name]
                if algorithm.refusal(problem):
                    continue
                each, count = algorithm.leaves(problem).n, algorithm.repeats(problem)
                one = algorithm.leaves(problem._replace(n=1)).n
                rest = n * one - (count - 1) * each
                assert 0 < rest <= each
                assert {found.n for found in left(algorithm, problem)} == {each, rest}
