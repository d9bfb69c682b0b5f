"""The gradients for TPUs compute the right values on any platform, in the forms that lax writes.

No TPU runs here. The programs for one are lowered and read as text.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from tests.algorithms.gpu.test_cudnn import GEOMETRIES
from tests.algorithms.problems import (
    MORE,
    SAMPLE,
    cases,
    direct,
    geometry_of,
    operands_of,
    problem_of,
    shapes_of,
    spec_of,
)
from tests.algorithms.test_definition import EXACT, definition, places, seen, with_one
from tests.oracles import assert_within_rounding

run = partial(algorithms.run, platform="tpu")

# The geometries of the GPU's algorithms have neither channels nor groups as the others do.
HARD = [(*geometry, 4, 8) for geometry in GEOMETRIES]
FEW = [SAMPLE[1], SAMPLE[2], SAMPLE[4], SAMPLE[5], HARD[12]]
EACH = cases(
    [(case, slot) for case in FEW for slot in Slot],
    [(case, slot) for case in (*SAMPLE, *MORE, *HARD) if case not in FEW for slot in Slot],
)


@pytest.mark.parametrize(("case", "slot"), EACH)
@pytest.mark.usefixtures("float64")
def test_equals_the_direct_convolution(case, slot, normal):
    problem = problem_of(slot, case)
    spec, operands = spec_of(problem.geometry), operands_of(problem, normal)
    exact = jax.jit(partial(direct, slot, spec))
    expected, magnitude = exact(*operands), exact(*map(np.abs, operands))
    actual = jax.jit(lambda a, b: run(slot, spec=spec, first=a, second=b))(*operands)
    terms = max(operand.size for operand in operands)
    assert_within_rounding(actual, expected, magnitude, terms, f"{case} {slot}")


@pytest.mark.parametrize(("case", "slot"), EACH)
def test_an_element_depends_on_its_own_terms(case, slot):
    """As `tests/algorithms/test_definition.py` checks it of the other platforms' algorithms."""
    problem = problem_of(slot, case)
    geometry, rng = problem.geometry, np.random.default_rng(0)
    forward = Slot.INPUT if slot is Slot.INPUT else Slot.OUTPUT
    spec = spec_of(geometry, "float32", forward=forward)
    arrays = {
        s: rng.normal(size=shape).astype("float32") for s, shape in shapes_of(problem).items()
    }
    compiled = jax.jit(lambda a, b: run(slot, spec=spec, first=a, second=b))

    def result(arrays):
        return np.asarray(compiled(*(arrays[name] for name in slot.others)))

    before = result(arrays)
    for name in slot.others:
        for place in places(arrays[name], rng):
            sees = seen(slot, geometry, arrays, name, place)
            after = result(with_one(arrays, name, place, -1e30))
            np.testing.assert_array_equal(before[~sees], after[~sees])
            for value in (np.inf, np.nan):
                changed = with_one(arrays, name, place, value)
                expected = ~np.isfinite(definition(slot, geometry, changed))
                reached = ~np.isfinite(result(changed))
                assert reached[expected].all(), f"{value} in {name} at {place} is lost"
                if (slot, name) in EXACT:
                    assert not reached[~expected].any(), f"{value} in {name} reaches too much"


# The forms of lax

OPTIONS = {
    "plain": ((9, 8), (3, 2), 1, ((1, 1), (0, 1)), 1, 1, 1),
    "strided": ((9, 8), (3, 3), 2, ((1, 1), (0, 1)), 1, 1, 1),
    "dilated": ((9,), (3,), 1, ((4, 0),), 1, 2, 1),
    "depthwise": ((9, 8), (3, 3), 1, ((1, 1), (1, 1)), 1, 1, 4),
    "groups": ((9, 8), (3, 2), (2, 1), ((1, 1), (0, 1)), 1, 1, 2),
    "input dilation": ((5, 4), (4, 4), 1, ((2, 2), (2, 2)), 2, 1, 1),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_gradients_have_the_forms_of_lax(options):
    """XLA's TPU compiler knows them: the layouts, windows and groups are those of autodiff."""
    geometry = geometry_of(*options)
    arguments = {
        "window_strides": geometry.strides,
        "padding": geometry.padding,
        "lhs_dilation": geometry.input_dilation,
        "rhs_dilation": geometry.kernel_dilation,
        "dimension_numbers": jax.lax.conv_dimension_numbers(
            (1,) * (geometry.rank + 2),
            (1,) * (geometry.rank + 2),
            {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}[geometry.rank],
        ),
        "feature_group_count": geometry.groups,
    }
    shapes = shapes_of(Problem(Slot.OUTPUT, geometry, 3, 4, 8))
    x, k, y = (jnp.zeros(shapes[slot]) for slot in Slot)
    ours, theirs = (
        sorted(forms(lambda x, k, y, f=f: jax.vjp(partial(f, **arguments), x, k)[1](y), x, k, y))
        for f in (jaxconv.conv_general_dilated, jax.lax.conv_general_dilated)
    )
    assert len(ours) == 2
    assert ours == theirs


def forms(f, *args):
    """The layouts, windows and groups of the convolutions in a program for TPUs."""
    text = jax.jit(f).trace(*args).lower(lowering_platforms=("tpu",)).as_text()
    return re.findall(r"stablehlo\.convolution\(.*?\) (dim_numbers.*?), precision_config", text)


def results(f, *args):
    """The dtypes of the convolutions' results in a program for TPUs."""
    text = jax.jit(f).trace(*args).lower(lowering_platforms=("tpu",)).as_text()
    return re.findall(r"stablehlo\.convolution.*-> tensor<[\dx]*x(\w+)>", text)


def test_half_precision_is_widened_where_a_backend_may_not_do_it():
    """A TPU adds up in float32 in any case."""
    problem = Problem(Slot.OUTPUT, geometry_of((9, 8), (3, 2)), 3, 4, 8)
    spec, shapes = spec_of(problem.geometry, "bfloat16"), shapes_of(problem)
    x, k, y = (jnp.zeros(shapes[slot], "bfloat16") for slot in Slot)
    assert results(lambda x, k, y: jax.vjp(jaxconv.conv, x, k)[1](y), x, k, y) == ["bf16"] * 2
    assert results(jaxconv.conv, x, k) == ["bf16"]
    assert results(partial(algorithms.run, Slot.OUTPUT, "any", spec), x, k) == ["f32"]
    assert results(partial(algorithms.run, Slot.KERNEL, "any", spec), x, y) == ["f32"]
