"""Plans: the cheapest chain of algorithms, each of which may finish what the one before leaves."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import Algorithm, Problem
from jaxconv.algorithms._algorithm import Remainder
from jaxconv.algorithms._catalogue import Catalogue, Plan, _every_window_meets_one
from tests.algorithms.meetings import lines, meetings, only

from .problems import SAMPLE, geometry_of, problem_of, spec_of

Y_SHAPE = (7, 4, 4, 4)
PROBLEM = Problem(Slot.OUTPUT, geometry_of((6, 5), (3, 2)), 7, 2, 4)


class Toy(Algorithm):
    """An algorithm with a price, that leaves the first of `n` examples to another, `n` times."""

    def __init__(self, name, price, *, finishes=(), remainder=None, **promises):
        self.name, self.price = name, price
        self.finishes, self.remainder = frozenset(finishes), remainder
        self.promises = promises
        self.transforms = promises.get("transforms", False)

    def cost(self, problem):
        return self.price

    def leaves(self, problem):
        return problem._replace(n=1) if self.remainder and problem.n > 1 else None

    def repeats(self, problem):
        return problem.n

    def spreads(self, problem):
        return self.promises.get("spreads", False)

    def forward(self, spec, x, kernel, solve):
        return 10 * solve(Slot.OUTPUT, spec, x, kernel) if self.remainder else jnp.ones(Y_SHAPE)


def plans(*toys, forward=Slot.OUTPUT):
    found = Catalogue(toys).plans(PROBLEM, forward)
    return [(str(plan), plan.cost) for plan in found]


def test_the_cheapest_comes_first_and_of_equal_ones_the_earlier():
    assert plans(Toy("a", 3.0), Toy("b", 2.0), Toy("c", 2.0)) == [("b", 2), ("c", 2), ("a", 3)]


def test_what_is_left_goes_to_the_cheapest_that_finishes_it():
    group, phases = Toy("loop", 1.0, remainder=Remainder.GROUP), {Remainder.PHASES}
    toys = [group, Toy("cheap", 1.0, finishes=phases), Toy("dear", 5.0, finishes=Remainder)]
    assert plans(*toys)[-1] == ("loop > dear", 1 + 7 * 5)


@pytest.mark.parametrize("promises", [{"transforms": True}, {"spreads": True}])
def test_what_breaks_a_promise_is_in_no_plan(promises):
    assert plans(Toy("a", 3.0), Toy("b", 1.0, **promises)) == [("a", 3)]
    in_gradient = plans(Toy("a", 3.0), Toy("b", 1.0, **promises), forward=Slot.INPUT)
    assert len(in_gradient) == (2 if "spreads" in promises else 1)


def test_a_plan_is_executed_from_the_outside_in():
    catalogue = Catalogue(
        [Toy("loop", 1.0, remainder=Remainder.GROUP), Toy("a", 1.0, finishes=Remainder)]
    )
    plan = catalogue.plan("loop", PROBLEM)
    x, kernel = jnp.ones((7, 6, 5, 2)), jnp.ones((3, 2, 2, 4))
    y = catalogue.execute(plan, Slot.OUTPUT, spec_of(PROBLEM.geometry), x, kernel)
    assert (y == 10).all()


@pytest.mark.parametrize("slot", Slot)
def test_there_is_a_plan_for_no_examples(slot):
    assert algorithms.plans(PROBLEM._replace(slot=slot, n=0))


@pytest.mark.parametrize("case", SAMPLE, ids=str)
@pytest.mark.parametrize("slot", Slot)
def test_every_remainder_is_a_problem_that_something_finishes(case, slot):
    for plan in algorithms.every_plan(problem_of(slot, case)):
        left = algorithms.ALGORITHMS[plan.name].leaves(problem_of(slot, case))
        assert (left is None) == (plan.rest is None)
        if plan.rest:
            assert not algorithms.why_not(plan.rest.name, left)


def test_whether_every_window_meets_an_element():
    for geometry in lines():
        axis = only(geometry)
        expected = {p for _, _, p in meetings(axis)} == set(range(axis.p))
        assert _every_window_meets_one(axis) == expected, geometry


class Skips(Toy):
    """An algorithm that leaves out the products with padding."""

    def skips_zeros(self, dtype):
        return dtype == jnp.float32


# The slot, a geometry, and whether an algorithm that skips padding, or any algorithm, may leave out
# products with zeros.
ZEROS = [
    ("y", ((6, 5), (3, 2)), (False, False)),
    ("y", ((6, 5), (3, 2), 1, ((1, 0), (0, 0))), (True, False)),
    ("y", ((6, 5), (3, 2), 1, ((0, 0), (0, 1))), (True, False)),
    ("y", ((6, 5), (3, 2), 1, ((-1, 0), (0, 0))), (False, False)),
    ("y", ((6, 5), (3, 2), 1, "VALID", (1, 2)), (True, True)),  # gaps
    ("y", ((2, 2), (3, 2), 1, ((1, 0), (0, 0))), (True, True)),  # a window larger than the map
    ("y", ((3, 2), (3, 2), 1, ((1, 0), (0, 0))), (True, False)),
    ("y", ((3, 2), (2, 2), 1, ((-3, 4), (0, 0))), (True, True)),  # nothing is left of the map
    # The transposed convolution of these has padding, gaps or neither.
    ("x", ((6, 5), (1, 1)), (False, False)),
    ("x", ((6, 5), (3, 1)), (True, True)),
    ("x", ((6, 5), (3, 1), 1, ((2, 2), (0, 0))), (False, False)),
    ("x", ((6, 5), (1, 1), (1, 2)), (True, True)),
]


@pytest.mark.parametrize(("slot", "options", "expected"), ZEROS)
def test_which_products_with_zeros_may_be_missing(slot, options, expected):
    catalogue = Catalogue([Toy("all", 1.0, remainder=Remainder.GROUP), Skips("some", 1.0)])
    spec = spec_of(geometry_of(*options), "float32")

    def skips(name, spec=spec, rest=None):
        return catalogue._skips_zeros(Plan(name, 0.0, rest), Slot(slot), spec)

    assert (skips("some"), skips("all")) == expected
    assert skips("all", rest=Plan("some", 0.0)) == expected[0]
    assert skips("some", spec=spec_of(spec.geometry, "float64")) == expected[1]


class Multiplies(Toy):
    multiplies_padding = True


@pytest.mark.parametrize(
    ("slot", "options", "skips"),
    [
        ("y", ((2, 2), (3, 2), 1, ((1, 0), (0, 0))), False),  # a window larger than the map
        ("y", ((6, 5), (3, 2), 1, "VALID", (1, 2)), True),  # gaps
        ("x", ((6, 5), (3, 1)), True),
    ],
)
def test_the_zeros_of_padding_are_not_multiplied_again(slot, options, skips):
    catalogue = Catalogue([Multiplies("one", 1.0)])
    spec = spec_of(geometry_of(*options), "float32")
    assert catalogue._skips_zeros(Plan("one", 0.0), Slot(slot), spec) == skips


def test_nothing_is_computed_where_windows_see_only_padding():
    spec = spec_of(geometry_of((3,), (2,), 1, ((-4, 5),)), "float32")
    assert spec.geometry.crops_all
    catalogue = Catalogue([Toy("raises", 1.0)])
    plan = Plan("raises", 1.0)
    for slot, first, second in (("y", (5, 3, 2), (2, 2, 4)), ("k", (5, 3, 2), (5, 3, 4))):
        operands = jnp.ones(first), jnp.ones(second)
        result = catalogue.execute(plan, Slot(slot), spec, *operands)
        expected = (5, 3, 4) if slot == "y" else (2, 2, 4)
        np.testing.assert_array_equal(result, np.zeros(expected))
