"""The convolutions on which all algorithms are tried, and how to run a plan on them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._arguments import convolution_geometry
from jaxconv._spec import ConvSpec, Dtypes, Slot
from jaxconv.algorithms import Problem, cpu, gpu

EXAMPLES = 3

# Input, window, strides, padding, input dilation, kernel dilation, groups; the channels c and o.
SAMPLE = [
    ((8, 9), (3, 4), 1, "FULL", 1, 1, 1, 1, 5),
    ((9, 8), (4, 3), (2, 3), ((1, 2), (-1, 1)), 1, (1, 2), 1, 2, 4),
    ((8, 8), (4, 4), 4, "VALID", 1, 1, 1, 3, 5),
    ((9,), (4,), 1, ((-2, 1),), 1, 1, 1, 8, 16),  # wrong in float32 in lax of JAX 0.10
    ((9, 8), (3, 3), 1, ((2, 1), (1, 3)), 1, (1, 2), 4, 4, 4),
    ((5, 4, 6), (2, 2, 3), (2, 1, 1), ((1, 0), (0, 2), (-1, 1)), 1, (1, 2, 1), 1, 2, 5),
    ((), (), 1, "VALID", 1, 1, 1, 2, 5),
    ((4, 3, 5), (2, 2, 3), 1, ((1, 0), (0, 1), (2, 1)), 1, 1, 1, 1, 6),  # a volume of few channels
]
MORE = [
    ((9,), (4,), 1, "VALID", 1, 1, 1, 2, 5),
    ((9,), (4,), 1, ((2, 1),), 1, 2, 1, 2, 5),
    ((30,), (5,), 4, ((3, 1),), 1, 6, 1, 2, 3),
    ((8, 9), (3, 2), 1, "SAME", 1, 1, 1, 2, 5),
    ((8, 9), (3, 4), 1, ((-1, 2), (-2, 1)), 1, 1, 1, 2, 5),
    ((8, 9), (3, 2), (2, 1), ((1, 0), (0, 1)), 1, (2, 1), 1, 2, 5),
    ((9, 8), (3, 2), (2, 3), "SAME", 1, 1, 2, 4, 6),
    ((8, 8), (2, 2), 4, "VALID", 1, 1, 1, 3, 5),
    ((5, 4), (3, 4), 1, ((1, 2), (-1, 4)), (2, 3), (2, 1), 2, 4, 4),
    ((5, 7), (3, 4), (1, 2), "FULL", (2, 1), 1, 2, 4, 4),
    ((7, 5), (5, 5), 1, "VALID", 1, 1, 1, 2, 5),
    ((7, 8), (3, 2), 1, ((-3, 2), (1, -4)), (2, 3), 1, 1, 2, 4),
    ((9, 8), (3, 3), 2, "SAME", 1, 1, 4, 4, 8),
    ((9, 8), (3, 2), (2, 1), ((1, 1), (-1, 1)), 1, 1, 4, 4, 4),  # terms that are padded
    ((7, 9), (2, 3), 1, "SAME", 1, (1, 2), 32, 32, 32),
    ((20,), (3,), 1, ((2, 0),), 1, 4, 6, 6, 6),
    ((5, 4, 6), (2, 3, 2), 1, "SAME", 1, 1, 1, 2, 5),
    ((6, 4, 5), (2, 3, 3), 2, "SAME", 1, 1, 2, 2, 4),
    ((1, 5), (2, 2), 1, ((-3, 5), (5, -6)), 1, 1, 1, 2, 4),  # crops more than there is
]


# Together they have every algorithm, for each slot that it knows.
COVERING = [SAMPLE[2], SAMPLE[4], SAMPLE[6], SAMPLE[7]]


def cases(sample, more):
    """Parameters of a test: the default run takes the sample."""
    exhaustive = [pytest.param(*case, marks=pytest.mark.exhaustive, id=str(case)) for case in more]
    return [*(pytest.param(*case, id=str(case)) for case in sample), *exhaustive]


ALL = cases([(case,) for case in COVERING], [(c,) for c in (*SAMPLE, *MORE) if c not in COVERING])


def geometry_of(size, window, strides=1, padding="VALID", e=1, d=1, groups=1):
    return convolution_geometry("test", size, window, strides, padding, e, d, groups)


def problem_of(slot, case, dtype="float64"):
    """The problem of a case, an element of SAMPLE or MORE."""
    *spacing, c, o = case
    return Problem(Slot(slot), geometry_of(*spacing), EXAMPLES, c, o, jnp.dtype(dtype))


def spec_of(geometry, dtype="float64", **options):
    dtype = np.dtype(dtype)
    return ConvSpec(geometry, Dtypes(dtype, dtype, dtype), **options)


def shapes_of(problem):
    """The shapes of all three slots."""
    _, geometry, n, c, o, _ = problem
    return {
        Slot.INPUT: (n, *geometry.input_size, c),
        Slot.KERNEL: (*geometry.window, c // geometry.groups, o),
        Slot.OUTPUT: (n, *geometry.output_size, o),
    }


def operands_of(problem, normal, dtype="float64"):
    """Random operands of a problem."""
    return [normal(shapes_of(problem)[slot], dtype) for slot in problem.slot.others]


def catalogue_of(plan):
    """The catalogue whose algorithm a plan of `every_plan` begins with."""
    return cpu.CATALOGUE if plan.name in cpu.CATALOGUE.algorithms else gpu.CATALOGUE


def execute_all(plans, spec, operands):
    """For each slot, what each of its plans computes: one program, which is compiled once."""

    @jax.jit
    def run(operands):
        return {
            slot: [
                catalogue_of(plan).execute(plan, slot, spec, *operands[slot]) for plan in of_slot
            ]
            for slot, of_slot in plans.items()
        }

    return run(operands)


def run_all(plans, slot, spec, operands):
    """As `execute_all`, with the zeros multiplied that a forward pass skips."""
    return [catalogue_of(plan).run(plan, slot, spec, *operands) for plan in plans]


def direct(slot, spec, *operands):
    """The contraction by the direct algorithm, without hints."""
    return algorithms.run_algorithm("direct", slot, spec, *operands)


def whole_numbers(problem):
    """Small whole numbers as operands of a problem in float32: their sums are exact."""
    rng, shapes = np.random.default_rng(0), shapes_of(problem)
    return [
        jnp.asarray(rng.integers(-3, 4, shapes[slot]), jnp.float32) for slot in problem.slot.others
    ]


def equal_in_whole_numbers(name, slot, geometry, c, o):
    """Require that an algorithm computes on CPUs, bit for bit, what XLA's own convolution does."""
    problem = Problem(Slot(slot), geometry, EXAMPLES, c, o, jnp.dtype("float32"))
    spec = spec_of(geometry, "float32")

    @jax.jit
    def run(*operands):
        return [
            algorithms.run_algorithm(each, problem.slot, spec, *operands, platform="cpu")
            for each in (name, "direct")
        ]

    actual, expected = run(*whole_numbers(problem))
    assert expected.any()
    np.testing.assert_array_equal(actual, expected)


def primitives_of(name, slot, geometry, c, o):
    """The names of the primitives that an algorithm consists of on CPUs."""
    problem = Problem(Slot(slot), geometry, EXAMPLES, c, o, jnp.dtype("float32"))
    spec, operands = spec_of(geometry, "float32"), whole_numbers(problem)
    run = partial(algorithms.run_algorithm, name, problem.slot, spec, platform="cpu")
    return [str(equation.primitive) for equation in jax.make_jaxpr(run)(*operands).eqns]
