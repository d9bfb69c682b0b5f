"""Estimates: finite, and larger for more work. Whether they rank as measurements do is not tested.

A test that repeats what the model says would only freeze it. `python -m experiments.benchmark
--tune` compares the algorithms on a machine.

Covers jaxconv/algorithms/cpu/_rates.py.
"""

import math

import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from tests.algorithms.problems import ALL, problem_of


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("slot", Slot)
def test_more_examples_take_longer(case, slot):
    problem = problem_of(slot, case)
    few, many = (
        {plan.name: plan.cost for plan in algorithms.plans(problem._replace(n=n))}
        for n in (10_000, 40_000)
    )
    assert set(few) == set(many)
    for name, cost in few.items():
        assert 0 < cost < many[name] < math.inf, name


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("slot", Slot)
def test_a_plan_takes_longer_than_what_it_leaves(case, slot):
    for plan in algorithms.plans(problem_of(slot, case)):
        assert plan.rest is None or plan.cost > plan.rest.cost
