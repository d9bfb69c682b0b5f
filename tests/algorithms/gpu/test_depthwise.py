"""The kernel of depthwise kernel gradients, interpreted, and its plain form are the definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms, reference
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem, gpu
from jaxconv.algorithms.gpu import _depthwise, algorithm_for
from tests.algorithms.problems import cases, geometry_of, operands_of, spec_of
from tests.oracles import assert_within_rounding

# Input, window, strides, padding, input dilation, kernel dilation, groups; c and o.
GEOMETRIES = [
    ((9, 8), (3, 2), (2, 3), ((1, 2), (-1, 1)), 1, (1, 2), 5, 5, 10),
    ((40,), (3,), 2, ((-3, 4),), 1, 3, 40, 40, 40),  # more channels than a block
    ((12, 70), (9, 9), 1, "SAME", 1, 1, 3, 3, 3),  # more taps than a thread has sums
    ((8, 9), (3, 4), 1, "FULL", 1, 1, 4, 4, 12),
    ((5, 4, 6), (3, 2, 3), (2, 1, 1), "SAME", 1, (1, 2, 1), 6, 6, 12),
    ((5, 7), (7, 3), 1, ((7, 8), (3, 3)), 1, 1, 3, 3, 3),  # windows that see padding only
    ((30, 20), (2, 2), 3, "VALID", 1, 1, 33, 33, 33),
    ((3, 2, 3, 4), (2, 1, 2, 3), 1, "SAME", 1, 1, 2, 2, 2),
]
EACH = cases([(case,) for case in GEOMETRIES[:2]], [(case,) for case in GEOMETRIES[2:]])


def gradients(problem, operands, dtype="float32"):
    """The kernel gradient by the kernel and by the plain form."""
    spec = spec_of(problem.geometry, dtype)
    kernel = jax.jit(partial(_depthwise.one_pass, spec=spec, interpret=True))
    return kernel(*operands), jax.jit(partial(_depthwise.stacked, spec=spec))(*operands)


def definition(problem, x, y):
    geometry, c, o = problem.geometry, problem.c, problem.o
    return reference.conv_kernel_vjp(
        *(np.asarray(a, np.float64) for a in (x, y)),
        (*geometry.window, c // geometry.groups, o),
        geometry.strides,
        geometry.padding,
        kernel_dilation=geometry.kernel_dilation,
        feature_group_count=geometry.groups,
    )


def problem_of(case):
    *spacing, c, o = case
    return Problem(Slot.KERNEL, geometry_of(*spacing), 3, c, o)


def test_more_taps_than_a_thread_has_sums(normal, monkeypatch):
    """Two of three rows of taps in one block, and the third in another."""
    monkeypatch.setattr(_depthwise, "MAX_SUMS", 4)
    problem = problem_of(GEOMETRIES[0])
    assert _depthwise._tiling(problem.geometry, problem.n, problem.o).tap_blocks == 2
    test_is_the_definition(GEOMETRIES[0], normal)


@pytest.mark.parametrize("case", EACH)
def test_is_the_definition(case, normal):
    problem = problem_of(case)
    assert not algorithms.why_not("depthwise", problem)
    x, y = operands_of(problem, normal, "float32")
    exact, magnitude = definition(problem, x, y), definition(problem, np.abs(x), np.abs(y))
    bound = magnitude * np.finfo(np.float32).eps / np.finfo(np.float64).eps
    for name, actual in zip(("kernel", "plain"), gradients(problem, (x, y)), strict=True):
        assert actual.dtype == np.float32
        assert_within_rounding(np.asarray(actual, np.float64), exact, bound, y.size, name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_added_up_in_single(dtype, normal):
    problem = problem_of(GEOMETRIES[0])._replace(n=40)
    operands = operands_of(problem, normal, dtype)
    exact = definition(problem, *operands)
    magnitude = definition(problem, *map(np.abs, operands))
    bound = jnp.finfo(dtype).eps / 2 * np.abs(exact) + 2 * np.finfo(np.float32).eps * magnitude
    for actual in gradients(problem, operands, jnp.dtype(dtype)):
        assert actual.dtype == dtype
        assert np.all(np.abs(np.asarray(actual, np.float64) - exact) <= bound)


def test_many_strips_make_rounds_and_few_numbers_to_write():
    """Blocks write little beside what they read, and there are enough of them."""
    for n, size, window, channels in [(16, 28, 3, 128), (64, 56, 7, 96), (1, 512, 3, 32)]:
        geometry = geometry_of((size, size), (window, window), 1, "SAME", groups=channels)
        tiling = _depthwise._tiling(geometry, n, channels)
        strips = tiling.blocks * tiling.rounds * _depthwise.STRIPS
        assert strips >= n * size * tiling.strips_in_row
        assert tiling.blocks * tiling.channel_blocks >= _depthwise.FEWEST_BLOCKS
        written = tiling.blocks * window**2
        assert written * _depthwise.READS_FOR_A_WRITE <= 2 * n * size**2


@pytest.mark.parametrize("changed", ["x", "y"])
def test_an_infinity_reaches_its_own_channel_only(changed, normal):
    """Also not the lanes and strips that fill up a block."""
    problem = problem_of(GEOMETRIES[1])
    arrays = dict(zip("xy", operands_of(problem, normal, "float32"), strict=True))
    arrays[changed] = arrays[changed].at[1, 7, 33].set(jnp.inf)
    for actual in gradients(problem, tuple(arrays.values())):
        assert np.isfinite(np.delete(actual, 33, axis=-1)).all()
        assert not np.isfinite(actual[..., 33]).all()


WRONG = {
    "no spatial axis": ((), (), 1, "VALID", 1, 1, 4, 4, 4),
    "more than one input channel": ((9,), (3,), 1, "VALID", 1, 1, 2, 4, 4),
    "dilated": ((9,), (3,), 1, "FULL", 2, 1, 4, 4, 4),
    "row of the window": ((99,), (65,), 1, "VALID", 1, 1, 4, 4, 4),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_it_is_not_for(reason):
    assert reason in algorithms.why_not("depthwise", problem_of(WRONG[reason]))
    assert algorithm_for(problem_of(WRONG[reason])) != "depthwise"


@pytest.mark.parametrize(
    ("n", "dtype", "has_kernel"),
    [
        (2**10 - 1, "float32", True),
        (2**10, "float32", False),  # elements that 32 bits can't number
        (4, "float16", True),
        (4, "int32", False),
        (4, "float64", False),
    ],
)
@pytest.mark.usefixtures("float64")
def test_which_maps_the_kernel_reads(n, dtype, has_kernel):
    geometry = geometry_of((2**10, 2**4), (3, 3), 1, "SAME", groups=2**6)
    x = jax.ShapeDtypeStruct((n, 2**10, 2**4, 2**6), dtype)
    y = jax.ShapeDtypeStruct((n, 2**10, 2**4, 2**7), dtype)
    algorithm = gpu.CATALOGUE.algorithms["depthwise"]
    spec = spec_of(geometry, dtype)
    program = jax.make_jaxpr(lambda x, y: algorithm.kernel_vjp(spec, x, y, None))(x, y)
    kernels = [e.params["kernel"] for e in program.eqns if "kernel" in e.params]
    assert kernels == ([_depthwise.one_pass] if has_kernel else [])
    (k_bar,) = program.out_avals
    assert (k_bar.shape, k_bar.dtype) == ((3, 3, 1, 2**7), dtype)


def test_is_chosen_for_depthwise_layers():
    for case in GEOMETRIES[:-2]:
        for slot, name in zip(Slot, ("shifts", "depthwise", "shifts"), strict=True):
            assert algorithm_for(problem_of(case)._replace(slot=slot)) == name
