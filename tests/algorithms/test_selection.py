"""Every algorithm equals the direct convolution, and what is chosen keeps its promises.

Covers jaxconv/algorithms/cpu/, jaxconv/algorithms/gpu/, jaxconv/algorithms/tpu/,
jaxconv/algorithms/shared/.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem, cpu
from tests.oracles import assert_within_rounding

from .problems import (
    ALL,
    MORE,
    SAMPLE,
    cases,
    direct,
    execute_all,
    geometry_of,
    operands_of,
    problem_of,
    spec_of,
)


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("slot", Slot)
@pytest.mark.usefixtures("float64")
def test_equal_direct(case, slot, normal):
    assert_equal_direct(case, slot, np.dtype("float64"), normal)


# An algorithm is the same in either precision, but for what it calls. lax was wrong in float32.
IN_SINGLE = cases([(SAMPLE[3],)], [(case,) for case in SAMPLE if case != SAMPLE[3]])


@pytest.mark.parametrize("case", IN_SINGLE)
@pytest.mark.parametrize("slot", Slot)
@pytest.mark.usefixtures("float64")
def test_equal_direct_in_single_precision(case, slot, normal):
    assert_equal_direct(case, slot, np.dtype("float32"), normal)


def assert_equal_direct(case, slot, dtype, normal):
    problem = problem_of(slot, case)
    plans = algorithms.every_plan(problem)
    assert {plan.name for plan in plans} == set(algorithms.applicable(problem))
    operands = operands_of(problem, normal, dtype)
    exact = jax.jit(partial(direct, slot, spec_of(problem.geometry)))
    wide = [np.asarray(operand, np.float64) for operand in operands]
    expected, of_each_element = exact(*wide), exact(*map(np.abs, wide))
    # In a Fourier basis each element is a sum over all frequencies of all products.
    of_the_norms = np.prod([np.linalg.norm(operand) for operand in wide])
    terms = max(operand.size for operand in operands)
    results = execute_all(plans, slot, spec_of(problem.geometry, dtype), operands)
    for plan, actual in zip(plans, results, strict=True):
        assert actual.dtype == dtype
        magnitude = of_the_norms if plan.name == "fourier" else of_each_element
        bound = magnitude * np.finfo(dtype).eps / np.finfo(np.float64).eps
        assert_within_rounding(
            np.asarray(actual, np.float64), expected, bound, terms, f"{plan} {dtype}"
        )


@pytest.mark.parametrize("name", sorted(algorithms.ALGORITHMS))
def test_every_algorithm_is_tried_above(name):
    def applies(slot, case):
        return not algorithms.why_not(name, problem_of(slot, case))

    slots = {slot for slot in Slot for case in SAMPLE if applies(slot, case)}
    assert slots == set(algorithms.ALGORITHMS[name].slots)


HALF = [(case, d) for case in (SAMPLE[1], SAMPLE[3], MORE[4]) for d in ("bfloat16", "float16")]


@pytest.mark.parametrize(("case", "dtype"), cases(HALF[:1], HALF[1:]))
@pytest.mark.parametrize("slot", Slot)
def test_half_precision_is_added_up_in_single(case, dtype, slot, normal):
    """Asked for by name, every algorithm rounds once, where its result is written."""
    problem = problem_of(slot, case)
    operands = operands_of(problem, normal, dtype)
    single = [operand.astype("float32") for operand in operands]
    exact = direct(slot, spec_of(problem.geometry, "float32", precision="highest"), *single)
    # What two orders of a float32 sum may differ by, and half a unit in the last place.
    of_the_norms = np.prod([np.linalg.norm(operand) for operand in single])
    bound = 2 * np.finfo(np.float32).eps * of_the_norms + jnp.finfo(dtype).eps / 2 * np.abs(exact)
    plans = algorithms.every_plan(problem)
    spec = spec_of(problem.geometry, jnp.dtype(dtype), precision="highest")
    for plan, actual in zip(plans, execute_all(plans, slot, spec, operands), strict=True):
        assert actual.dtype == dtype
        assert jnp.all(np.abs(actual.astype("float32") - exact) <= bound), str(plan)


# What is chosen

LARGE = Problem(Slot.OUTPUT, geometry_of((12, 12), (5, 5)), 500, 32, 32)
PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "another")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", SAMPLE, ids=str)
@pytest.mark.parametrize("slot", Slot)
def test_what_is_chosen_applies_and_keeps_to_the_definition(case, slot, platform):
    problem = problem_of(slot, case)
    for forward in (Slot.INPUT, Slot.OUTPUT):
        spec = spec_of(problem.geometry, "float32", forward=forward)
        plan, _ = algorithms.choose(problem, platform, spec)
        chosen = algorithms.ALGORITHMS[plan.name]
        assert not chosen.default_refusal(problem, forward)
        assert not chosen.transforms
        assert slot != forward or not chosen.spreads(problem)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_impl_is_followed_where_it_applies(platform):
    for name in algorithms.ALGORITHMS:
        plan, reason = algorithms.choose(LARGE, platform, spec_of(LARGE.geometry, impl=name))
        applies = not algorithms.why_not(name, LARGE)
        assert (plan.name == name) or not applies
        assert applies == (reason == "asked for by impl")


def test_the_basis_of_fourier_is_for_inexact_dtypes():
    assert not algorithms.why_not("fourier", LARGE, [np.dtype("float32")])
    assert algorithms.why_not("fourier", LARGE, [np.dtype("int32")])


def test_estimates_are_for_float32_and_float64_only():
    depth = Problem(Slot.INPUT, LARGE.geometry, 500, 32, 32)
    plan, _ = algorithms.choose(depth, "cpu", spec_of(LARGE.geometry, "float32"))
    assert plan.name == "input_depth"
    for dtype in ("float16", jnp.bfloat16, "complex64", "int32"):
        plan, _ = algorithms.choose(depth, "cpu", spec_of(LARGE.geometry, dtype))
        assert plan.name == "direct"


def test_algorithms_for_gpus_must_be_asked_for_on_a_cpu():
    assert "GPU" in algorithms.why_not_by_default("cudnn", LARGE)
    assert set(algorithms.ALGORITHMS) - set(cpu.CATALOGUE.algorithms) == {"cudnn", "shifts"}
