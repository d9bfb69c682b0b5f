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
    COVERING,
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
@pytest.mark.usefixtures("float64")
def test_equal_direct(case, normal):
    assert_equal_direct(case, np.dtype("float64"), normal)


# An algorithm is the same in either precision, but for what it calls. lax was wrong in float32.
IN_SINGLE = cases([(SAMPLE[3],)], [(case,) for case in SAMPLE if case != SAMPLE[3]])


@pytest.mark.parametrize("case", IN_SINGLE)
@pytest.mark.usefixtures("float64")
def test_equal_direct_in_single_precision(case, normal):
    assert_equal_direct(case, np.dtype("float32"), normal)


def plans_and_operands(case, normal, dtype):
    """For each slot, every plan and random operands; and the geometry."""
    problems = {slot: problem_of(slot, case, dtype) for slot in Slot}
    return (
        {slot: algorithms.every_plan(problem) for slot, problem in problems.items()},
        {slot: operands_of(problem, normal, dtype) for slot, problem in problems.items()},
        problems[Slot.OUTPUT].geometry,
    )


def all_direct(spec, operands):
    """For each slot, the contraction by the direct algorithm."""
    return {slot: direct(slot, spec, *of_slot) for slot, of_slot in operands.items()}


def assert_equal_direct(case, dtype, normal):
    """Every algorithm, in every slot."""
    plans, operands, geometry = plans_and_operands(case, normal, dtype)
    for slot in Slot:
        applicable = algorithms.applicable(problem_of(slot, case, dtype))
        assert {plan.name for plan in plans[slot]} == set(applicable)
    assert_plans_equal_direct(plans, operands, geometry, dtype)


def assert_plans_equal_direct(plans, operands, geometry, dtype):
    """Compare plans of each slot with the direct algorithm in float64."""
    exact = jax.jit(partial(all_direct, spec_of(geometry)))
    wide = jax.tree.map(lambda operand: np.asarray(operand, np.float64), operands)
    expected, magnitudes = exact(wide), exact(jax.tree.map(np.abs, wide))
    results = execute_all(plans, spec_of(geometry, dtype), operands)
    for slot in Slot:
        # In a Fourier basis each element is a sum over all frequencies of all products.
        of_the_norms = np.prod([np.linalg.norm(operand) for operand in wide[slot]])
        terms = max(operand.size for operand in operands[slot])
        for plan, actual in zip(plans[slot], results[slot], strict=True):
            assert actual.dtype == dtype
            magnitude = of_the_norms if plan.name == "fourier" else magnitudes[slot]
            bound = magnitude * np.finfo(dtype).eps / np.finfo(np.float64).eps
            name = f"{slot}: {plan} {dtype}"
            assert_within_rounding(
                np.asarray(actual, np.float64), expected[slot], bound, terms, name
            )


# Tests with a compilation cache do not call oneDNN. `cpu/test_onednn.py` tries it without.
@pytest.mark.parametrize("name", sorted(set(algorithms.ALGORITHMS) - {"onednn"}))
def test_every_algorithm_is_tried_above(name):
    def applies(slot, case):
        return not algorithms.why_not(name, problem_of(slot, case))

    slots = {slot for slot in Slot for case in COVERING if applies(slot, case)}
    assert slots == set(algorithms.ALGORITHMS[name].slots)


HALF = [(case, d) for case in (SAMPLE[1], SAMPLE[3], MORE[4]) for d in ("bfloat16", "float16")]


@pytest.mark.parametrize(("case", "dtype"), cases(HALF[:1], HALF[1:]))
def test_half_precision_is_added_up_in_single(case, dtype, normal):
    """Asked for by name, every algorithm rounds once, where its result is written."""
    plans, operands, geometry = plans_and_operands(case, normal, dtype)
    single = jax.tree.map(lambda operand: np.asarray(operand).astype("float32"), operands)
    in_single = spec_of(geometry, "float32", precision="highest")
    exact = jax.device_get(jax.jit(partial(all_direct, in_single))(single))
    results = execute_all(plans, spec_of(geometry, jnp.dtype(dtype), precision="highest"), operands)
    for slot in Slot:
        # What two orders of a float32 sum may differ by, and half a unit in the last place.
        of_the_norms = np.prod([np.linalg.norm(operand) for operand in single[slot]])
        half_a_unit = float(jnp.finfo(dtype).eps) / 2 * np.abs(exact[slot])
        bound = 2 * np.finfo(np.float32).eps * of_the_norms + half_a_unit
        for plan, actual in zip(plans[slot], results[slot], strict=True):
            assert actual.dtype == dtype
            error = np.abs(np.asarray(actual).astype("float32") - exact[slot])
            assert (error <= bound).all(), f"{slot}: {plan}"


# What is chosen

LARGE = Problem(Slot.OUTPUT, geometry_of((12, 12), (5, 5)), 500, 32, 32)
PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "another")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", SAMPLE, ids=str)
@pytest.mark.parametrize("slot", Slot)
def test_what_is_chosen_applies_and_keeps_to_the_definition(case, slot, platform):
    problem = problem_of(slot, case, "float32")
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
    assert not algorithms.why_not("fourier", LARGE)
    assert algorithms.why_not("fourier", LARGE._replace(dtype=np.dtype("int32")))


@pytest.mark.parametrize(
    ("chosen", "dtypes"),
    {
        "input_depth": ("float64", "float32", "bfloat16", "float16"),
        "direct": ("complex64", "int32", "float8_e4m3fn"),
    }.items(),
)
def test_estimates_are_for_floating_point_dtypes_of_16_bits_and_more(chosen, dtypes):
    for dtype in dtypes:
        problem = LARGE._replace(slot=Slot.INPUT, dtype=jnp.dtype(dtype))
        plan, _ = algorithms.choose(problem, "cpu", spec_of(LARGE.geometry, dtype))
        assert plan.name == chosen


def test_algorithms_for_gpus_must_be_asked_for_on_a_cpu():
    assert "GPU" in algorithms.why_not_by_default("cudnn", LARGE)
    assert set(algorithms.ALGORITHMS) - set(cpu.CATALOGUE.algorithms) == {
        "cudnn",
        "depth",
        "depth_of_output",
        "depthwise",
        "shifts",
    }
